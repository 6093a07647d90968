"""Signals: reliability.md cases 5, 6, 7 and 8.

5 and 8: SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 with their default dispositions end a logger of several threads at once, with
the status that they have without penstock. 6: a user's SIGTERM handler, which logs in the middle of an append, is
called once. 7: SIGINT once, and twice in quick succession. After each the run is recovered and holds every point whose
append had returned.
"""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest

import penstock
from tests.faults.children import Child, ended
from tests.faults.evidence import Counters, check_points, document, journals, points, run_folder


def check_run(root: Path, counters: Counters, slots: int) -> None:
    run = run_folder(root)
    penstock.recover(run)
    assert not journals(run)
    counted = {who: count for who, count in counters.counted().items() if who < slots}
    assert check_points(points(run, "loss"), counted) > 0


def killed_by(folder: Path, number: signal.Signals, times: int) -> None:
    for turn in range(times):
        root, file = folder / str(turn) / "runs", folder / str(turn) / "counters"
        counters = Counters(file, 3)
        with Child(folder, "loggers", "endless", root, file, 3, 256 << 10, 0.01, 0.0005) as child:
            assert child.hear() == "ready"
            while min(counters.counted().values()) < 500:
                assert child.running(), child.stderr()
            child.send(number)
            assert child.end() == -number, child.stderr()
            assert not child.stderr()
        check_run(root, counters, 3)
        shutil.rmtree(root)


DEADLY = [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1]


@pytest.mark.parametrize("number", DEADLY)
def test_a_deadly_signal_keeps_its_status_and_loses_nothing(tmp_path: Path, number: signal.Signals) -> None:
    killed_by(tmp_path, number, 2)


@pytest.mark.long
@pytest.mark.parametrize("number", DEADLY)
def test_a_deadly_signal_loses_nothing_many_times(tmp_path: Path, number: signal.Signals) -> None:
    killed_by(tmp_path, number, 200 if number == signal.SIGTERM else 50)


def test_penstock_installs_no_signal_handler_and_no_wakeup_descriptor(tmp_path: Path) -> None:
    child = ended(tmp_path, "loggers", "handlers", tmp_path / "runs")
    assert (child.status, child.stdout) == (0, "([], -1)\n"), child.stderr


def handled(folder: Path, then: str, times: int) -> None:
    for turn in range(times):
        root, file = folder / str(turn) / "runs", folder / str(turn) / "counters"
        counters = Counters(file, 3)
        with Child(folder, "loggers", "with_handler", root, file, int(signal.SIGTERM), then) as child:
            assert child.hear() == "logging"
            child.send(signal.SIGTERM)
            assert child.end() == (-signal.SIGTERM if then == "die" else 128 + signal.SIGTERM), child.stderr()
            assert not child.stderr()
        counted = counters.counted()
        assert counted[2] == 1, "the user's handler was called more than once"
        assert counted[1] == 5
        if then != "die":
            assert not journals(run_folder(root)), "the exit did not close the books"
            assert document(run_folder(root))["status"] == "done"
        check_run(root, counters, 2)


HANDLERS = ["die", "exit", "close and exit"]


@pytest.mark.parametrize("then", HANDLERS)
def test_a_users_sigterm_handler_runs_once_and_may_log(tmp_path: Path, then: str) -> None:
    handled(tmp_path, then, 3)


@pytest.mark.long
@pytest.mark.parametrize("then", HANDLERS)
def test_a_users_sigterm_handler_runs_once_many_times(tmp_path: Path, then: str) -> None:
    handled(tmp_path, then, 50)


def interrupt(folder: Path, style: str, times: int, *, twice: bool) -> None:
    chance = random.Random(style)
    for turn in range(times):
        root, file = folder / str(turn) / "runs", folder / str(turn) / "counters"
        counters = Counters(file, 1)
        with Child(folder, "loggers", "interrupted", root, file, style) as child:
            assert child.hear() == "logging"
            child.send(signal.SIGINT)
            if twice:
                child.running(chance.uniform(0, 0.03))  # the second one falls into the closing of the session
                child.send(signal.SIGINT)
            assert child.end() == -signal.SIGINT, child.stderr()
            assert "KeyboardInterrupt" in child.stderr()
        found = document(run_folder(root))
        if not twice:
            assert not journals(run_folder(root))
            assert (found["status"], found["exit"]["reason"], found["exit"]["code"]) == ("error", "aborted", 130)
        check_run(root, counters, 1)


@pytest.mark.parametrize("style", ["with", "open"])
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_a_keyboard_interrupt_ends_the_run_and_loses_nothing(tmp_path: Path, style: str, *, twice: bool) -> None:
    interrupt(tmp_path, style, 3 if twice else 1, twice=twice)


@pytest.mark.long
@pytest.mark.parametrize("style", ["with", "open"])
def test_two_keyboard_interrupts_lose_nothing_many_times(tmp_path: Path, style: str) -> None:
    interrupt(tmp_path, style, 100, twice=True)
