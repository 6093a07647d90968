"""What a run holds, read with the standard library only, and whether it is what was logged.

Loggers number their points: logger ``who`` logs n = 0, 1, 2, ... with value n / 2, and after each append that returned
it stores n + 1 in its slot of a shared mapped file. That file survives any death of the logger, so afterwards it says
what must be there: every n below the slot exactly once, and at most one more (stored, but not yet returned from).
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
WORKSPACE = "faults"


def run_folder(root: Path | str, name: str = "run") -> Path:
    return Path(root) / WORKSPACE / name


class Counters:
    """Slots of 8 bytes in a mapped file: written by children, read by the test."""

    def __init__(self, path: Path | str, slots: int) -> None:
        file = Path(path)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bytes(8 * slots))
        with file.open("r+b") as stream:
            mapped = mmap.mmap(stream.fileno(), 8 * slots)
        self.slots = memoryview(mapped).cast("Q")

    def counted(self) -> dict[int, int]:
        return dict(enumerate(self.slots.tolist()))


def each_line(path: Path, key: str = "index") -> Iterator[Row]:
    """The lines of one file: whole, JSON, and numbered 0, 1, 2, ... without gap or repetition."""
    place = 0
    with path.open("rb") as stream:
        while block := stream.readlines(1 << 20):
            assert block[-1].endswith(b"\n"), f"{path} ends in a torn line: {block[-1]!r}"
            for row in json.loads(b"[" + b",".join(block) + b"]"):
                assert row[key] == place, f"{path}: line {place} says it is number {row[key]}: {row}"
                place += 1
                yield row


def lines(path: Path, key: str = "index") -> list[Row]:
    return list(each_line(path, key))


def line_files(run: Path, track: str) -> dict[str, list[Row]]:
    """The points of a track by line file (one per writer); empty without any."""
    return {path.name: lines(path) for path in sorted((run / "tracks" / track).glob("data*.jsonl"))}


def log_lines(run: Path) -> list[Row]:
    return [row for path in sorted((run / "logs").glob("logs*.jsonl")) for row in lines(path, "sequenceNumber")]


def points(run: Path, track: str) -> list[Row]:
    return [row for rows in line_files(run, track).values() for row in rows]


def check_points(rows: Iterable[Row], counted: Mapping[int, int], extra: int = 1) -> int:
    """Every counted point of every logger once, in its logger's order, bit-equal; at most ``extra`` more per logger.

    Returns how many points there are.
    """
    found: dict[int, list[int]] = {}
    for row in rows:
        data = row["data"]
        assert data["value"] == data["n"] / 2, f"a point that nobody logged: {row}"
        found.setdefault(data["who"], []).append(data["n"])
    strangers = found.keys() - counted.keys()
    assert not strangers, f"points of loggers that there were not: {strangers}"
    for who, count in counted.items():
        check_numbers(found.get(who, []), count, extra, f"logger {who}")
    return sum(map(len, found.values()))


def check_numbers(found: list[int], count: int, extra: int, who: str) -> None:
    if found != list(range(len(found))):
        missing = sorted(set(range(max(found) + 1)) - set(found))
        twice = sorted({n for n in found if found.count(n) > 1}) if len(found) < 10_000 else "?"
        raise AssertionError(f"{who}: out of order, doubled ({twice}) or lost ({missing[:10]}) of {count}")
    assert count <= len(found) <= count + extra, f"{who}: {count} appends returned, {len(found)} points are there"


def document(run: Path) -> Row:
    found: Row = json.loads((run / "session.json").read_bytes())
    return found


def journals(run: Path) -> list[str]:
    """The journals of a run. (What a kill leaves of one that is not finished yet is swept later: test_kill_points.)"""
    return sorted(path.name for path in (run / ".journal").glob("*.ring"))
