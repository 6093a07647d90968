"""Ends of the interpreter: reliability.md cases 10, 11, 16 and 17.

10: exits without close lose nothing and close the books. 11: session.json says how the run ended: DONE, ERROR with
the exception and its traceback, the exit code, "aborted". 16 (there is no network here): sessions used and opened by
users' exit hooks, and exits while the writer's thread is still starting, lose nothing and leave nothing on stderr.
17: sessions of daemon threads and of objects that are finalised while the modules are torn down. Every child has a
time limit; what it logged is read back from the files.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple

import pytest

import penstock
from penstock import limits
from penstock._store.locks import FileLock
from tests.faults.children import Child, Ended, ended
from tests.faults.evidence import Counters, check_points, document, journals, points, run_folder


class Way(NamedTuple):
    """How a child ends, and what session.json has to say then."""

    function: str
    exit_code: int = 0
    status: str = "done"
    reason: str = "exit"
    code: int | None = None
    error: str | None = None
    logged: int = 100


WAYS = [
    Way("falls_off_the_end"),
    Way("falls_off_the_end_at_once", logged=1),
    Way("falls_off_the_end_unlogged", logged=0),
    Way("worker_logs_on"),
    Way("handled_error"),
    Way("with_block", reason="closed"),
    Way("error_in_with", 1, "error", "exception", None, "ValueError"),
    Way("error_outside", 1, "error", "exception", 1, "ValueError"),
    Way("error_after_with", 1, "done", "closed"),
    Way("exit_3_in_with", 3, "error", "exit", 3, "SystemExit"),
    Way("exit_0_in_with", 0, "done", "exit", 0),
    Way("exit_text_in_with", 1, "error", "exit", 1, "SystemExit"),
    Way("exit_3_outside", 3),
    Way("thread_exits"),
    Way("interrupt_in_with", -signal.SIGINT, "error", "aborted", 130, "KeyboardInterrupt"),
    Way("interrupt_outside", -signal.SIGINT, "error", "aborted", 130, "KeyboardInterrupt"),
]
QUIET = [
    Way("hook_after_open"),
    Way("hook_before_open"),
    Way("hook_opens"),
    Way("hook_opens_beside"),
    Way("hook_has_a_with_block", reason="closed"),
    Way("hook_flushes", reason="closed"),
    Way("daemon_holds"),
    Way("teardown_closes"),
    Way("teardown_appends"),
    Way("dropped_unclosed"),
]


def check_end(root: Path, way: Way, child: Ended) -> None:
    run = run_folder(root)
    assert child.status == way.exit_code, child.stderr
    assert check_points(points(run, "loss"), {0: way.logged}, extra=0) == way.logged
    assert not journals(run), "an exit that Python sees does not leave a journal"
    found = document(run)
    assert (found["status"], found["exit"]["reason"], found["exit"]["code"]) == (way.status, way.reason, way.code)
    assert found["finished_at"] is not None
    told = found["exit"]["exception"]
    assert (told and told["type"]) == way.error
    if way.error == "ValueError":
        assert told["message"] == "this is the reason"
        assert f"in {way.function}" in told["traceback"]


def many_ends(folder: Path, way: Way, times: int) -> None:
    for turn in range(times):
        root = folder / str(turn)
        check_end(root, way, ended(folder, "endings", way.function, root))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.function)
def test_an_end_without_close_loses_nothing_and_is_told_right(tmp_path: Path, way: Way) -> None:
    many_ends(tmp_path, way, 1)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.function)
def test_ends_without_close_lose_nothing_many_times(tmp_path: Path, way: Way) -> None:
    many_ends(tmp_path, way, 100)


def test_an_exit_keeps_its_time_limit_while_another_process_holds_the_documents(tmp_path: Path) -> None:
    with Child(tmp_path, "endings", "told_to_end", tmp_path) as child:
        assert child.hear() == "logged"
        with FileLock(run_folder(tmp_path) / ".journal" / "documents.lock"):
            child.tell("end")
            assert child.end(limits.LOCK_TIMEOUT_S / 2) == 0
        assert "session.json was not brought up to date" in child.stderr()
    assert check_points(points(run_folder(tmp_path), "loss"), {0: 100}, extra=0) == 100
    assert document(run_folder(tmp_path))["status"] == "running"


def quiet_ends(folder: Path, way: Way, times: int) -> None:
    for turn in range(times):
        root = folder / str(turn)
        child = ended(folder, "endings", way.function, root)
        assert not child.stderr
        check_end(root, way, child)


@pytest.mark.parametrize("way", QUIET, ids=lambda way: way.function)
def test_sessions_in_exit_hooks_and_teardown_lose_nothing_in_silence(tmp_path: Path, way: Way) -> None:
    quiet_ends(tmp_path, way, 1)


@pytest.mark.long
@pytest.mark.parametrize("way", QUIET, ids=lambda way: way.function)
def test_sessions_in_exit_hooks_and_teardown_many_times(tmp_path: Path, way: Way) -> None:
    quiet_ends(tmp_path, way, 100)


def daemons(folder: Path, times: int) -> None:
    for turn in range(times):
        root, file = folder / str(turn), folder / f"{turn}.counters"
        counters = Counters(file, 1)
        child = ended(folder, "endings", "daemon_logs_on", root, file)
        assert (child.status, child.stderr) == (0, "")
        penstock.recover(run_folder(root))
        assert check_points(points(run_folder(root), "loss"), counters.counted()) >= 1000


def test_a_daemon_thread_that_logs_on_through_the_exit_hangs_nothing(tmp_path: Path) -> None:
    daemons(tmp_path, 3)


@pytest.mark.long
def test_daemon_threads_that_log_on_through_exits_hang_nothing(tmp_path: Path) -> None:
    daemons(tmp_path, 100)
