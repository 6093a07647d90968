"""A process that is killed has lost nothing: reliability.md cases 1, 4 and 12.

1: loggers (1 to 8 threads; large and tiny rings; at full speed and paced) are killed with SIGKILL at random instants,
from before the session opens to long after; every append that had returned is counted outside the process. 4: a logger
of three points is killed after the third. 12: os._exit, abort, a real segmentation fault, SIGBUS and SIGILL end a
process whose threads have just logged.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

import penstock
from tests.faults.children import Child, ended
from tests.faults.evidence import WORKSPACE, Counters, check_points, document, journals, line_files, points, run_folder

SLOTS = 8
LATEST_KILL_S = 0.35  # a child needs about 0.1 s to open; the rest it spends logging


def recovered(root: Path, *, reopen: bool) -> dict[int, int]:
    """Recover the killed run in one of the two ways; returns what was appended meanwhile, by logger."""
    run = run_folder(root)
    if not reopen:
        if run.is_dir():
            penstock.recover(run)
            assert penstock.recover(run).points == 0, "what was recovered once is recovered again"
        return {}
    with penstock.Session("run", WORKSPACE, local_path=root) as session:
        track = session.track("loss")
        for n in range(10):
            track.append(value=n / 2, who=SLOTS, n=n)
    assert document(run)["status"] == "done"
    return {SLOTS: 10}


def one_kill(folder: Path, number: int) -> int:
    """Kill one logger at a random instant, recover, check. Returns how many points its appends had stored."""
    chance = random.Random(number)
    threads = chance.choice([1, 1, 1, 2, 4, 8])
    ring_bytes = chance.choice([64 << 10, 256 << 10, 8 << 20])
    interval_s = chance.choice([0.01, 0.05, 0.3])
    pause_s = chance.choice([0.0, 0.0002, 0.0005, 0.0005, 0.002, 0.002])  # mostly paced: every point is read back
    root, file = folder / "runs", folder / "counters"
    counters = Counters(file, SLOTS)
    with Child(folder, "loggers", "endless", root, file, threads, ring_bytes, interval_s, pause_s) as child:
        assert child.hear() == "ready"
        time.sleep(chance.uniform(0, LATEST_KILL_S))  # the random instant itself
        child.send(signal.SIGKILL)
        assert child.end() == -signal.SIGKILL
        assert not child.stderr()
    appended = recovered(root, reopen=bool(number % 2))
    run = run_folder(root)
    assert not journals(run), "a journal is left after recovery"
    assert set(line_files(run, "loss")) <= {"data.jsonl"}, "one writer at a time, but several line files"
    stored = check_points(points(run, "loss"), counters.counted() | appended)
    shutil.rmtree(folder)  # a thousand of them fill a disk
    return stored


def kills(folder: Path, count: int) -> None:
    stored = sum(one_kill(folder / str(number), number) for number in range(count))
    sys.stdout.write(f"{count} kills, {stored} points, none lost, none doubled\n")
    assert stored > 1000 * count, "the loggers were killed before they logged: these kills say nothing"


def test_nothing_is_lost_or_doubled_by_kills_at_random_instants(tmp_path: Path) -> None:
    kills(tmp_path, 52)


@pytest.mark.long
def test_nothing_is_lost_or_doubled_by_a_thousand_kills(tmp_path: Path) -> None:
    kills(tmp_path, 1000)


def slow_kills(folder: Path, count: int, longest_pause_s: float) -> None:
    for number in range(count):
        place = folder / str(number)
        root, file = place / "runs", place / "counters"
        counters = Counters(file, 1)
        with Child(place, "loggers", "slow", root, file, longest_pause_s * number / count) as child:
            assert child.hear() == "logged"
            child.send(signal.SIGKILL)
            assert child.end() == -signal.SIGKILL
        assert counters.counted() == {0: 3}
        recovered(root, reopen=False)
        assert check_points(points(run_folder(root), "loss"), {0: 3}, extra=0) == 3


def test_a_slow_logger_that_is_killed_has_every_point(tmp_path: Path) -> None:
    slow_kills(tmp_path, 6, longest_pause_s=0.4)


@pytest.mark.long
def test_a_hundred_slow_loggers_that_are_killed_have_every_point(tmp_path: Path) -> None:
    slow_kills(tmp_path, 100, longest_pause_s=1.0)


@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("os._exit", 7),
        ("os.abort", -signal.SIGABRT),
        ("segfault", -signal.SIGSEGV),
        ("SIGBUS", -signal.SIGBUS),
        ("SIGILL", -signal.SIGILL),
    ],
)
def test_an_end_that_no_exit_handler_sees_loses_nothing(tmp_path: Path, way: str, status: int) -> None:
    root, file = tmp_path / "runs", tmp_path / "counters"
    counters = Counters(file, 2)
    assert ended(tmp_path, "loggers", "burst", root, file, way).status == status
    assert counters.counted() == {0: 3000, 1: 3000}
    recovered(root, reopen=False)
    assert check_points(points(run_folder(root), "loss"), counters.counted(), extra=0) == 6000
