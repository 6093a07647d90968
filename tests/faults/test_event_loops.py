"""Programs whose main is an event loop: reliability.md case 15.

asyncio.run, a loop closed by hand, anyio on both backends and plain trio, each leaving the session in four ways: a with
block with awaited appends, no close at all (the loop is closed before the interpreter ends), two closes, an error.
Nothing is lost, and nothing is on stderr but the program's own error. Loops that are interrupted, and coroutines that
are dropped, leave no thread behind that hangs the exit.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.children import Child, ended
from tests.faults.evidence import check_points, document, journals, log_lines, points, run_folder

MAINS = ["asyncio_main", "asyncio_loop_closed", "anyio_main", "anyio_on_trio_main", "trio_main"]
WAYS = {
    "logs": ("done", "closed"),
    "leaves_open": ("done", "exit"),
    "closes": ("done", "closed"),
    "fails": ("error", "exception"),
}


def loops(folder: Path, main: str, way: str, times: int) -> None:
    for turn in range(times):
        root = folder / str(turn)
        child = ended(folder, "eventloops", main, root, way)
        assert child.status == (1 if way == "fails" else 0), child.stderr
        if way == "fails":
            assert child.stderr.count("Traceback") == 1, child.stderr
            assert child.stderr.rstrip().endswith("ValueError: this is the reason"), child.stderr
        else:
            assert not child.stderr
        run = run_folder(root)
        assert check_points(points(run, "loss"), {0: 100}, extra=0) == 100
        assert not journals(run)
        found = document(run)
        assert (found["status"], found["exit"]["reason"]) == WAYS[way]
        if way == "logs":
            assert [line["message"] for line in log_lines(run)] == ["saved"]
        if way == "leaves_open":
            assert [row["data"] for row in points(run, "val/acc")] == [{"value": 0.5, "step": 1}]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("main", MAINS)
def test_an_event_loop_as_main_loses_nothing_and_says_nothing(tmp_path: Path, main: str, way: str) -> None:
    loops(tmp_path, main, way, 1)


@pytest.mark.parametrize("main", MAINS)
def test_an_interrupted_event_loop_closes_the_run_as_aborted(tmp_path: Path, main: str) -> None:
    with Child(tmp_path, "eventloops", main, tmp_path, "waits") as child:
        assert child.hear() == "waiting"
        child.send(signal.SIGINT)
        assert child.end() == -signal.SIGINT, child.stderr()
        assert child.stderr().rstrip().endswith("KeyboardInterrupt")
    run = run_folder(tmp_path)
    assert check_points(points(run, "loss"), {0: 100}, extra=0) == 100
    assert not journals(run)
    assert (document(run)["status"], document(run)["exit"]["reason"]) == ("error", "aborted")


def test_a_coroutine_that_is_dropped_closes_its_run(tmp_path: Path) -> None:
    child = ended(tmp_path, "eventloops", "dropped", tmp_path, "")
    assert (child.status, child.stderr) == (0, "")
    run = run_folder(tmp_path)
    assert check_points(points(run, "loss"), {0: 100}, extra=0) == 100
    assert not journals(run)
    assert (document(run)["status"], document(run)["exit"]["reason"]) == ("error", "aborted")


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("main", MAINS)
def test_event_loops_as_main_lose_nothing_many_times(tmp_path: Path, main: str, way: str) -> None:
    loops(tmp_path, main, way, 25)
