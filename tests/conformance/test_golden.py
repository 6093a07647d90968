"""Reliability case 68: a run folder and the half-written journals of each released version are read for ever. ``v1``
was made once by golden.py; today's code must find in it what its expected.json says, with readers, with recovery, and
on reopening.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock import Session
from penstock._codec.values import to_stored
from penstock._journal import recovery
from penstock._store.layout import RunFolder
from penstock.query import points
from tests.conformance import golden
from tests.faults import diskbooks

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.glob("v*") if path.is_dir())


@pytest.fixture(params=VERSIONS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copytree(HERE / request.param, tmp_path / "golden")
    return tmp_path / "golden" / "run"


def expected(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.parent / "expected.json").read_text(encoding="utf-8"))
    return found


def check(run: Path) -> None:
    for name, content in expected(run).items():
        lines = diskbooks.lines(run / name)
        key = "sequenceNumber" if name.startswith("logs/") else "index"
        assert [line[key] for line in lines] == list(range(len(content))), name
        if key == "index":
            assert repr([line["data"] for line in lines]) == repr(content), name
        else:
            assert [{k: line[k] for k in ("level", "message", "metadata")} for line in lines] == content
    assert {str(path.relative_to(run)) for path in run.rglob("*.jsonl")} == expected(run).keys()


def test_there_is_a_golden_run_of_every_version() -> None:
    assert VERSIONS == ["v1"]
    for version in VERSIONS:
        assert len(list((HERE / version / "run" / ".journal").glob("*.ring"))) == 2


def test_recovery_finds_everything(run: Path) -> None:
    report = penstock.recover(run)
    assert (report.recovered, report.unreadable, report.refused) == (2, 0, ())
    check(run)
    assert diskbooks.journals(run) == []
    again = penstock.recover(run)
    assert (again.recovered, again.points) == (0, 0)
    check(run)


def test_readers_find_everything_and_change_nothing(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    folder = RunFolder(run)
    contents = expected(run)
    page = points.page(folder, "special", folder.journal, 0, 1000)
    assert repr([to_stored(point["data"]) for point in page["data"]]) == repr(contents["tracks/special/data.jsonl"])
    both = [content for name, part in contents.items() if name.startswith("tracks/train/loss/") for content in part]
    page = points.page(folder, "train/loss", folder.journal, 0, 1000)
    assert sorted(map(repr, (point["data"] for point in page["data"]))) == sorted(map(repr, both))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_opening_continues_it(run: Path) -> None:
    with Session("run", "golden", local_path=run.parents[1]) as session:
        session.track("train/loss").append(value=9.0)
    lines = diskbooks.lines(run / "tracks/train/loss/data.jsonl")
    count = len(expected(run)["tracks/train/loss/data.jsonl"])
    assert (lines[-1]["index"], lines[-1]["data"]) == (count, {"value": 9.0})
    assert json.loads((run / "session.json").read_text())["created_at"] == "2026-03-01T12:00:00.000000Z"


def test_today_the_same_journals_are_written(tmp_path: Path) -> None:
    golden.make(tmp_path / "run")
    for path in sorted((HERE / "v1" / "run" / ".journal").glob("*.ring")):
        assert (tmp_path / "run/.journal" / path.name).read_bytes() == path.read_bytes()
        salvage = recovery.scan(path)
        assert salvage.header.host == "golden-host"
        assert salvage.header.owner == (path.stem == golden.OWNER.hex())
    assert json.loads((tmp_path / "expected.json").read_text()) == json.loads((HERE / "v1/expected.json").read_text())
