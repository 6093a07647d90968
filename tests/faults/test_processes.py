"""Many threads in one run, and many processes in one run: reliability.md cases 23 and 26.

23: 64 threads append to one track, and to a few, while the interpreter changes threads as often as it can: every
point once, each thread's points in their order, the books balance. 26: several processes open one run at the same
moment, log, and end by close, by exit or by SIGKILL: each has line files of its own, a reader merges them while they
live and afterwards.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import penstock
from tests.faults.children import Child, ended, together
from tests.faults.evidence import (
    WORKSPACE,
    Counters,
    check_points,
    document,
    each_line,
    journals,
    run_folder,
)


def crowd(folder: Path, threads: int, each: int, tracks: int) -> None:
    root, file = folder / "runs", folder / "counters"
    counters = Counters(file, threads)
    child = ended(folder, "loggers", "crowd", root, file, threads, each, tracks, limit_s=600)
    assert (child.status, child.stderr) == (0, "")
    total = threads * each
    assert child.stdout.split() == [str(total), str(total), "0", "0"]
    assert counters.counted() == dict.fromkeys(range(threads), each)
    for number in range(tracks):
        members = {who: each for who in range(threads) if who % tracks == number}
        (path,) = (run_folder(root) / "tracks" / f"track{number}").glob("data*.jsonl")
        assert path.name == "data.jsonl"
        assert check_points(each_line(path), members, extra=0) == len(members) * each


@pytest.mark.parametrize("tracks", [1, 5])
def test_sixty_four_threads_append_each_in_its_own_order(tmp_path: Path, tracks: int) -> None:
    crowd(tmp_path, 64, 1000, tracks)


@pytest.mark.long
def test_sixty_four_threads_append_six_million_points(tmp_path: Path) -> None:
    crowd(tmp_path, 64, 100_000, 1)


def merged(session: penstock.Session, processes: int, each: int) -> None:
    """What readers are shown: the points of all processes, each process's in its order."""
    if processes * each <= 100_000:
        page = session.track("loss").read(limit=10 * processes * each)
        assert page["total"] == processes * each
        assert not page["hasMore"]
        assert [point["index"] for point in page["data"]] == list(range(processes * each))
        assert check_points(map(dict, page["data"]), dict.fromkeys(range(processes), each), extra=0)
        times = [point["createdAt"] for point in page["data"]]
        assert times == sorted(times)
    names = {summary["name"]: summary["totalDataPoints"] for summary in session.tracks()}
    assert names == {"loss": processes * each} | {f"rank{who}": 1 for who in range(processes)}


def many_processes(folder: Path, processes: int, each: int, ends: list[str]) -> None:
    root, file = folder / "runs", folder / "counters"
    counters = Counters(file, processes)
    kinds = [ends[who % len(ends)] for who in range(processes)]
    children = [Child(folder, "loggers", "one_of_many", root, file, who, each, kinds[who]) for who in range(processes)]
    run = run_folder(root)
    with together(children):
        for child in children:
            assert child.hear() == "ready"
        for child in children:
            child.tell("open")
        for child in children:
            assert child.hear(limit_s=600) == "logged", child.stderr()
        with penstock.Session("run", WORKSPACE, local_path=root) as reader:
            merged(reader, processes, each)
            assert reader.status is penstock.Status.RUNNING
        assert document(run)["status"] == "running", "the reader was not alone when it closed"
        for child in children:
            child.tell("end")
        statuses = [child.end() for child in children]
        assert statuses == [-9 if kind == "kill" else 0 for kind in kinds], [child.stderr() for child in children]
    assert counters.counted() == dict.fromkeys(range(processes), each)
    if "kill" in kinds:
        with penstock.Session("run", WORKSPACE, local_path=root) as reader:
            merged(reader, processes, each)
    files = sorted((run / "tracks" / "loss").glob("data*.jsonl"))
    assert "data.jsonl" in [path.name for path in files]
    assert len(files) == processes, "a process without a line file of its own"
    owners = []
    for path in files:
        who = next(each_line(path))["data"]["who"]
        assert check_points(each_line(path), {who: each}, extra=0) == each
        owners.append(who)
    assert sorted(owners) == list(range(processes))
    assert not journals(run)
    assert document(run)["status"] == "done"


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_processes_that_open_one_run_together_each_have_a_line_file(tmp_path: Path, processes: int) -> None:
    many_processes(tmp_path, processes, 2000, ["close", "exit"])


def test_processes_of_one_run_of_which_some_are_killed(tmp_path: Path) -> None:
    many_processes(tmp_path, 6, 1000, ["close", "kill", "exit"])


def test_processes_of_one_run_that_are_all_killed(tmp_path: Path) -> None:
    many_processes(tmp_path, 3, 1000, ["kill"])


@pytest.mark.long
@pytest.mark.parametrize("ends", [["close"], ["close", "kill", "exit"]], ids=["closed", "mixed"])
def test_thirty_two_processes_write_three_million_points(tmp_path: Path, ends: list[str]) -> None:
    many_processes(tmp_path, 32, 100_000, ends)
