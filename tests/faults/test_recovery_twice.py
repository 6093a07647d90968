"""Reliability case 64: recovery run twice, by two processes at once, and killed at each of its steps on the disk,
changes nothing in what it brings back. The dead run is made by a child that ends with ``os._exit``.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock import Session
from tests.faults import diskbooks, recoveries

TRACKS = 4
POINTS = 1000

DYING = """
import os, sys
from penstock import Session
session = Session("run", "w", local_path=sys.argv[1], ring_bytes=1 << 20, flush_interval_s=60).open()
for place in range(1000):
    session.track(f"t{place % 4}").append(value=float(place), step=place)
    if place % 10 == 0:
        session.log(f"line {place}")
        session.track("texts").append(text=f"text {place}")
    if place == 500:
        session.flush("disk")
        session._engine.logged = lambda: None  # the writer sleeps from here on: nobody else writes while we tear lines
for track in range(4):  # a torn last line, as a kill in the middle of a write leaves it
    with open(session.folder_path / f"tracks/t{track}/data.jsonl", "ab") as file:
        file.write(b'{"index":126,"data":{"val')
os._exit(3)
"""


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dead")
    done = subprocess.run([sys.executable, "-c", DYING, str(root)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    run = root / "w/run"
    assert len(diskbooks.journals(run)) == 1
    return run


def contents(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = {track: diskbooks.points(run, track) for track in diskbooks.tracks(run)}
    return {**found, "": diskbooks.log_lines(run)}


def complete(run: Path) -> None:
    for track in range(TRACKS):
        assert diskbooks.data(run, f"t{track}") == [
            {"value": float(place), "step": place} for place in range(track, POINTS, TRACKS)
        ]
    assert [data["text"] for data in diskbooks.data(run, "texts")] == [f"text {n}" for n in range(0, POINTS, 10)]
    assert [line["message"] for line in diskbooks.log_lines(run)] == [f"line {n}" for n in range(0, POINTS, 10)]
    assert diskbooks.journals(run) == []


def test_recovery_brings_everything_back_and_a_second_one_changes_nothing(dead: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(dead, run)
    report = penstock.recover(run)
    complete(run)
    assert report.recovered == 1
    assert report.refused == ()
    before = contents(run)
    again = penstock.recover(run)
    assert (again.recovered, again.points, again.logs) == (0, 0, 0)
    assert contents(run) == before


def test_a_journal_whose_lines_are_all_there_adds_nothing(dead: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(dead, run)
    penstock.recover(run)
    before = contents(run)
    (journal,) = diskbooks.journals(dead)
    for _ in range(2):
        shutil.copy(journal, run / ".journal" / journal.name)  # as if the kill came before the unlink
        report = penstock.recover(run)
        assert (report.recovered, report.points, report.logs) == (1, 0, 0)
        assert contents(run) == before


def test_two_recoveries_at_once_are_as_good_as_one(dead: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(dead, run)
    command = [sys.executable, "-W", "error", recoveries.__file__, str(run), "1000000"]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for child in children:
        _out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
    complete(run)


def _killed_at_steps(dead: Path, tmp_path: Path, *, then_again: bool, stride: int = 1) -> int:
    """``then_again``: the same run is killed again and again at later steps; else each step has a fresh copy."""
    steps = 0
    run = tmp_path / "run"
    shutil.copytree(dead, run)
    for nth in range(1, 200, stride):
        done = subprocess.run(
            [sys.executable, "-W", "error", recoveries.__file__, str(run), str(nth)],
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        steps += 1
        if not then_again:
            penstock.recover(run)
            complete(run)
            shutil.rmtree(run)
            shutil.copytree(dead, run)
    penstock.recover(run)
    complete(run)
    return steps


def test_recovery_killed_again_and_again_ends_with_everything_once(dead: Path, tmp_path: Path) -> None:
    assert _killed_at_steps(dead, tmp_path, then_again=True) >= 3


def test_recovery_killed_at_a_step_is_completed_by_the_next(dead: Path, tmp_path: Path) -> None:
    assert _killed_at_steps(dead, tmp_path, then_again=False, stride=5) >= 5


@pytest.mark.long
def test_recovery_killed_at_any_step_is_completed_by_the_next(dead: Path, tmp_path: Path) -> None:
    assert _killed_at_steps(dead, tmp_path, then_again=False) >= 25


def test_opening_the_run_recovers_it_and_continues_it(dead: Path, tmp_path: Path) -> None:
    shutil.copytree(dead, tmp_path / "w/run")
    with Session("run", "w", local_path=tmp_path) as session:
        session.track("t0").append(value=-1.0)
        assert session.stats().appended == 1, "what was recovered is not counted as appended by this session"
    run = tmp_path / "w/run"
    found = diskbooks.points(run, "t0")
    assert found[-1]["index"] == len(found) - 1 == POINTS // TRACKS
    assert found[-1]["data"] == {"value": -1.0}


def test_a_journal_of_another_version_is_left_alone_and_said(
    dead: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import struct
    import zlib

    from penstock._store import notices

    notices._process.reset()
    run = tmp_path / "w/run"
    shutil.copytree(dead, run)
    (journal,) = diskbooks.journals(run)
    raw = bytearray(journal.read_bytes())
    at = raw.index(b"PENSTOCK", 4096)  # the copy among the definitions
    for place in (0, at):
        raw[place + 8] = 9
        struct.pack_into("<I", raw, place + 148, zlib.crc32(bytes(raw[place : place + 148])))
    start = at - 16
    size = struct.unpack_from("<I", raw, start)[0]
    struct.pack_into("<I", raw, start + size - 8, zlib.crc32(bytes(raw[start : start + size - 8])))
    journal.write_bytes(raw)
    with Session("run", "w", local_path=tmp_path) as session:
        session.track("t0").append(value=-1.0)
    assert journal.read_bytes() == raw
    assert diskbooks.said(caplog, "of version 9")
    lines = list((run / "tracks/t0").glob("data.*.jsonl"))
    assert [line["data"] for path in lines for line in diskbooks.lines(path)] == [{"value": -1.0}]
