"""What is on disk, counted with the standard library alone, and the books of a session compared with it.

Shared by tests of invariants, faults and models. Nothing here imports what it checks, so that one mistake cannot hide
another.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def parsed(line: bytes) -> dict[str, Any]:
    """One line, strictly: RFC 8259, no NaN."""
    value = json.loads(line.decode("utf-8"), parse_constant=_refuse)
    assert isinstance(value, dict)
    return value


def lines(path: Path) -> list[dict[str, Any]]:
    """Every line of a line file; the file must end in a newline and hold nothing that is no line."""
    if not path.exists():
        return []
    raw = path.read_bytes()
    assert raw == b"" or raw.endswith(b"\n"), f"{path} ends in {raw[-40:]!r}"
    return [parsed(line) for line in raw.split(b"\n")[:-1]]


def points(run: Path, track: str) -> list[dict[str, Any]]:
    """The points of a track, one line file after the other; within each, indices must ascend by one."""
    found = []
    for path in sorted((run / "tracks" / track).glob("data*.jsonl")):
        part = lines(path)
        indices = [point["index"] for point in part]
        assert indices == list(range(indices[0], indices[0] + len(indices))) if indices else True, path
        found += part
    return found


def data(run: Path, track: str) -> list[dict[str, Any]]:
    return [point["data"] for point in points(run, track)]


def log_lines(run: Path) -> list[dict[str, Any]]:
    return [line for path in sorted((run / "logs").glob("logs*.jsonl")) for line in lines(path)]


def tracks(run: Path) -> Iterator[str]:
    root = run / "tracks"
    for folder in sorted({path.parent for path in root.rglob("data*.jsonl")}):
        yield folder.relative_to(root).as_posix()


def counted(run: Path) -> int:
    """All points and log lines of a run."""
    return sum(len(points(run, track)) for track in tracks(run)) + len(log_lines(run))


def balance(books: Any) -> None:
    """``appended == written + waiting + dropped``, of a Receipt or SessionStats."""
    assert books.appended == books.written + books.waiting + books.dropped, books
    assert 0 <= books.synced <= books.written, books
    assert books.waiting >= 0, books
    assert sum(books.reasons.values()) == books.dropped, books


def journals(run: Path) -> list[Path]:
    return sorted((run / ".journal").glob("*.ring"))


def crashed(run: Path, copy: Path) -> Path:
    """The run as a kill at this moment would leave it. A copy takes time and the writer goes on meanwhile, so the
    journals come first: what leaves them after that is in the line files by then.
    """
    shutil.copytree(run / ".journal", copy / ".journal")
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns(".journal", ".*.tmp"), dirs_exist_ok=True)
    return copy


def said(caplog: pytest.LogCaptureFixture, text: str = "") -> list[str]:
    """What the library said through logging "penstock", WARNING and above, that contains ``text``."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "penstock" and record.levelno >= logging.WARNING and text in record.getMessage()
    ]
