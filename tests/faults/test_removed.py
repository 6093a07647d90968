"""Reliability case 36: journal, line files or the whole run folder are removed while a session logs; a truncated
journal kills the process, which is the documented limit of a mapping, and loses only what was not yet written.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import penstock
from penstock import Session
from penstock._store import notices
from tests.faults import diskbooks

WAIT_S = 20.0

TRUNCATING = """
import os, sys
from penstock import Session
session = Session("run", "w", local_path=sys.argv[1], ring_bytes=1 << 20).open()
track = session.track("t")
for place in range(100):
    track.append(value=float(place))
session.flush("disk")
(journal,) = (session.folder_path / ".journal").glob("*.ring")
print("flushed", flush=True)
os.truncate(journal, 4096)
for place in range(100_000):
    track.append(value=float(place))
print("alive", flush=True)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    notices._process.reset()
    monkeypatch.setattr("penstock.limits.HEARTBEAT_S", 0.05)


def until(what: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.005)


def opened(tmp_path: Path) -> Session:
    return Session("run", "w", local_path=tmp_path, ring_bytes=1 << 16, flush_interval_s=0.02).open()


def salvaged(run: Path, copy: Path) -> list[float]:
    """The values that are found when the run, as it lies there now, is recovered."""
    penstock.recover(diskbooks.crashed(run, copy))
    return [point["value"] for point in diskbooks.data(copy, "t")]


def test_a_removed_journal_is_replaced_and_its_points_are_safe_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "w/run"
    session = opened(tmp_path)
    track = session.track("t")
    total = 0
    for lap in range(3):
        for _ in range(50):
            track.append(value=float(total))
            total += 1
        (old,) = diskbooks.journals(run)
        old.unlink()
        until(lambda: diskbooks.journals(run))
        assert diskbooks.journals(run) != [old]
        for _ in range(50):
            track.append(value=float(total))
            total += 1
        assert session.durability == "journal"
        assert salvaged(run, tmp_path / f"copy{lap}") == [float(place) for place in range(total)]
    assert session.flush("disk", timeout=WAIT_S).reached
    session.close()
    assert [point["value"] for point in diskbooks.data(run, "t")] == [float(place) for place in range(total)]
    assert len(diskbooks.said(caplog, "a new journal was made")) == 1
    assert diskbooks.journals(run) == []


def test_a_further_writer_whose_journal_is_removed_keeps_its_line_file(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    first.track("t").append(value=-1.0)
    run = tmp_path / "w/run"
    track = second.track("t")
    for place in range(100):
        track.append(value=float(place))
        if place == 50:
            journal = run / ".journal" / f"{second.stats().writer}.ring"
            journal.unlink()
            until(journal.exists)
    second.close()
    first.close()
    (suffixed,) = (run / "tracks/t").glob("data.*.jsonl")
    assert [line["data"]["value"] for line in diskbooks.lines(suffixed)] == [float(place) for place in range(100)]


def test_a_removed_run_folder_is_made_again_and_logging_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "w/run"
    session = opened(tmp_path)
    track = session.track("t")
    for place in range(100):
        track.append(value=float(place))
    session.log("before")
    assert session.flush("disk", timeout=WAIT_S).reached
    shutil.rmtree(run)
    for place in range(100, 200):
        track.append(value=float(place))
    session.log("after")
    until(lambda: diskbooks.journals(run))
    receipt = session.flush("disk", timeout=WAIT_S)
    diskbooks.balance(receipt)
    assert receipt.reached
    assert receipt.dropped == 0
    session.close()
    found = diskbooks.points(run, "t")
    assert [point["data"]["value"] for point in found] == [float(place) for place in range(100, 200)]
    assert [point["index"] for point in found] == list(range(100, 200))
    assert [line["message"] for line in diskbooks.log_lines(run)] == ["after"]
    assert len(diskbooks.said(caplog, "was removed while it was being written")) == 1
    with opened(tmp_path) as again:
        again.track("t").append(value=200.0)
    assert diskbooks.points(run, "t")[-1]["index"] == 200


def test_a_removed_line_file_is_begun_again(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.track("t").append(value=0.0)
    session.flush("disk", timeout=WAIT_S)
    path = tmp_path / "w/run/tracks/t/data.jsonl"
    path.unlink()
    session.track("t").append(value=1.0)
    assert session.flush("disk", timeout=WAIT_S).reached
    session.close()
    assert [(line["index"], line["data"]["value"]) for line in diskbooks.lines(path)] == [(1, 1.0)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="SIGBUS of a truncated mapping is Linux's")
def test_a_truncated_journal_kills_the_process_but_not_what_was_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TRUNCATING, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "flushed\n"
    assert done.returncode == -signal.SIGBUS
    run = tmp_path / "w/run"
    values = [point["value"] for point in diskbooks.data(run, "t")]
    assert values[:100] == [float(place) for place in range(100)]
    with opened(tmp_path) as session:
        session.track("t").append(value=-1.0)
    assert diskbooks.data(run, "t")[:100] == [{"value": float(place)} for place in range(100)]
    assert diskbooks.data(run, "t")[-1] == {"value": -1.0}


def test_whoever_opens_a_run_whose_folder_was_made_again_finds_it_owned(tmp_path: Path) -> None:
    session = opened(tmp_path)
    track = session.track("t")
    track.append(value=0.0)
    session.flush("disk")
    shutil.rmtree(tmp_path / "w/run")
    until(lambda: track.append(value=1.0) or diskbooks.journals(tmp_path / "w/run"))
    with opened(tmp_path) as other:
        for _ in range(10):
            other.track("t").append(value=2.0)
        session.flush("disk")
        assert other._engine is not None
        assert not other._engine.owner
    session.close()
    places = [(point["value"], file.name) for file in (tmp_path / "w/run/tracks/t").glob("data*.jsonl")
              for point in map(_data, file.read_text("utf-8").splitlines())]  # fmt: skip
    assert {name == "data.jsonl" for value, name in places if value == 1.0} == {True}
    assert [name == "data.jsonl" for value, name in places if value == 2.0] == [False] * 10


def _data(line: str) -> dict[str, float]:
    fields: dict[str, float] = json.loads(line)["data"]
    return fields
