"""Forks: reliability.md cases 18, 19 and 22.

18 and 19: os.fork beside threads that log without a pause, right after the first append (the writer's thread is still
importing), from a signal handler in the middle of an append, with children that log, or not, and end in every way,
and with grandchildren; parents that are killed before their children. Nobody hangs (time limits), each process has a
line file of its own, and every append that returned is stored once. 22: no descriptor is inherited by another
program; a daemon goes on logging.
"""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

import penstock
from tests.faults.children import Child, ended
from tests.faults.evidence import (
    Counters,
    check_points,
    document,
    journals,
    line_files,
    log_lines,
    points,
    run_folder,
)
from tests.faults.families import ENDS, POINTS
from tests.faults.handlerforks import FORK_AT


def family(
    folder: Path, slots: int, function: str, *arguments: object, module: str = "families"
) -> tuple[Path, Counters, str]:
    """Run a family to its end; returns its run, what was counted, and what it said."""
    root, file = folder / "runs", folder / "counters"
    counters = Counters(file, slots)
    child = ended(folder, module, function, root, file, *arguments)
    assert child.status == 0, child.stderr
    assert not [line for line in child.stderr.splitlines() if "recovered from its journal" not in line], child.stderr
    return run_folder(root), counters, child.stdout


def check_family(run: Path, counters: Counters, files: int) -> None:
    """Everything is there, in ``files`` line files (one per process that logged), and the run is closed."""
    assert not journals(run)
    assert check_points(points(run, "loss"), counters.counted(), extra=0)
    found = line_files(run, "loss")
    assert len(found) == files
    for name, rows in found.items():
        assert rows, f"{name} has no line"
    assert document(run)["status"] == "done"


def forks(folder: Path, threads: int, count: int, ring_bytes: int, pause_s: float) -> None:
    run, counters, said = family(folder, threads + count, "forks_beside_threads", threads, count, ring_bytes, pause_s)
    statuses = [-signal.SIGKILL if ENDS[number % len(ENDS)] == "killed" else 0 for number in range(count)]
    assert json.loads(said) == statuses
    check_family(run, counters, 1 + count)
    counted = counters.counted()
    assert all(counted[who] == POINTS for who in range(threads, threads + count))
    assert sorted(line["message"] for line in log_lines(run)) == sorted(f"child {threads + n}" for n in range(count))
    for number in range(count):
        (row,) = points(run, f"child/{threads + number}")
        assert row["data"][f"field{threads + number}"] is True


@pytest.mark.parametrize(
    ("threads", "count", "ring_bytes", "pause_s"),
    [(1, 10, 64 << 10, 0), (4, 5, 256 << 10, 0), (4, 20, 256 << 10, 0.0001), (3, 20, 8 << 20, 0.0005)],
)
def test_children_forked_beside_logging_threads_log_too(
    tmp_path: Path, threads: int, count: int, ring_bytes: int, pause_s: float
) -> None:
    forks(tmp_path, threads, count, ring_bytes, pause_s)


@pytest.mark.long
@pytest.mark.parametrize("ring_bytes", [64 << 10, 256 << 10, 8 << 20])
def test_two_thousand_forks_beside_logging_threads(tmp_path: Path, ring_bytes: int) -> None:
    for turn in range(20):
        forks(tmp_path / str(turn), 4, 34, ring_bytes, 0.0001)
        shutil.rmtree(tmp_path / str(turn))


@pytest.mark.parametrize("pause_s", [0.0, 0.003, 0.01, 0.02, 0.04, 0.08])
def test_a_fork_while_the_writers_thread_is_starting(tmp_path: Path, pause_s: float) -> None:
    run, counters, _said = family(tmp_path, 2, "fork_after_first_append", pause_s)
    check_family(run, counters, 2)


def test_a_fork_before_the_first_append(tmp_path: Path) -> None:
    run, counters, _said = family(tmp_path, 3, "fork_before_first_append")
    check_family(run, counters, 3)


@pytest.mark.parametrize(("function", "slots", "files"), [
    ("silent_children", 1, 1), ("with_block_left_in_child", 2, 2), ("grandchildren", 4, 4),
])  # fmt: skip
def test_children_that_leave_in_their_own_way(tmp_path: Path, function: str, slots: int, files: int) -> None:
    run, counters, _said = family(tmp_path, slots, function)
    check_family(run, counters, files)
    if function == "grandchildren":
        assert sorted(line["message"] for line in log_lines(run)) == sorted(
            f"{who}.{number}" for who in (1, 2, 3) for number in range(4)
        )


def test_the_first_appends_of_a_childs_threads_begin_one_journal(tmp_path: Path) -> None:
    run, counters, _said = family(tmp_path, 17, "first_appends_together", 16)
    check_family(run, counters, 2)


def check_children_of_handlers(run: Path, counters: Counters, children: int, *, repeated: bool) -> None:
    """Each has its own line file with its own points; where it returned into an append of its parent, this one, too."""
    assert not journals(run)
    files = line_files(run, "loss")
    check_points(files.pop("data.jsonl"), {0: counters.counted()[0]}, extra=0)
    for name, rows in files.items():
        own = [row for row in rows if row["data"]["who"]]
        (who,) = {row["data"]["who"] for row in own}
        check_points(own, {who: POINTS}, extra=0)
        assert len(rows) - len(own) <= repeated, f"{name} has points of the parent"
    assert len(files) == children
    assert document(run)["status"] == "done"


def handler_forks(folder: Path, style: str, count: int) -> None:
    run, counters, _said = family(folder, count + 1, "by_timer", count, style, module="handlerforks")
    check_children_of_handlers(run, counters, count, repeated=style == "return")


@pytest.mark.parametrize("place", FORK_AT)
def test_a_signal_handler_may_fork_where_an_operation_is_interrupted(tmp_path: Path, place: str) -> None:
    run, counters, _said = family(tmp_path, 2, "at_place", place, module="handlerforks")
    closed = place.startswith("a close")
    check_children_of_handlers(run, counters, 0 if closed else 1, repeated=place.startswith("an append"))


@pytest.mark.parametrize("style", ["inside", "return"])
def test_a_signal_handler_may_fork_in_the_middle_of_an_append(tmp_path: Path, style: str) -> None:
    handler_forks(tmp_path, style, 25)


@pytest.mark.long
@pytest.mark.parametrize("style", ["inside", "return"])
def test_a_signal_handler_may_fork_many_times(tmp_path: Path, style: str) -> None:
    for turn in range(20):
        handler_forks(tmp_path / str(turn), style, 50)


def test_a_child_outlives_its_killed_parent(tmp_path: Path) -> None:
    root, file, run = tmp_path / "runs", tmp_path / "counters", run_folder(tmp_path / "runs")
    counters = Counters(file, 2)
    with Child(tmp_path, "families", "orphan", root, file) as parent:
        assert parent.hear() == "orphaned"
        assert parent.end() == -signal.SIGKILL
        report = penstock.recover(run)  # nothing of the dead parent is held by its child
        assert (report.recovered, report.live, report.refused) == (1, 1, ())
        assert check_points(points(run, "loss"), {0: POINTS}, extra=0) == POINTS
        parent.tell("go on")
        assert parent.rest() == ""
        assert not parent.stderr()
    assert counters.counted() == {0: POINTS, 1: 2 * POINTS}
    check_family(run, counters, 2)


def test_a_daemon_goes_on_logging(tmp_path: Path) -> None:
    run, counters, _said = family(tmp_path, 2, "daemon")
    penstock.recover(run)  # the first process left by os._exit
    assert check_points(points(run, "loss"), counters.counted(), extra=0) == 2 * POINTS
    assert len(line_files(run, "loss")) == 2
    assert check_points(points(run.with_name("second"), "loss"), {0: POINTS}, extra=0) == POINTS
    assert document(run.with_name("second"))["status"] == "done"


def test_no_descriptor_is_inherited_by_another_program(tmp_path: Path) -> None:
    child = ended(tmp_path, "families", "descriptors", tmp_path / "runs")
    assert child.status == 0, child.stderr
    assert child.stdout.splitlines() == ["3 []", "3 []", "3 []"]
