"""multiprocessing: reliability.md case 20, and 21 without torch.

Processes, pools (closed and terminated) and a data loader with persistent workers (told to end, terminated, killed),
by every start method, all logging into their parent's run. When the parent has closed, the points of all of them are
there once, those of killed workers too: the parent's close recovers their journals.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from tests.faults.children import ended
from tests.faults.evidence import Counters, check_points, document, journals, line_files, points, run_folder
from tests.faults.workers import BATCHES, PARENT, WORKERS

METHODS = [method for method in ("fork", "spawn", "forkserver") if method in multiprocessing.get_all_start_methods()]


def parallel(folder: Path, expected: dict[int, int], function: str, *arguments: object) -> None:
    root, file = folder / "runs", folder / "counters"
    counters = Counters(file, 1 + WORKERS)
    child = ended(folder, "workers", function, root, file, *arguments)
    assert child.status == 0, child.stderr
    run = run_folder(root)
    assert {who: count for who, count in counters.counted().items() if count} == expected
    assert check_points(points(run, "loss"), expected, extra=0) == sum(expected.values())
    assert not journals(run)
    assert document(run)["status"] == "done"
    for name, rows in line_files(run, "loss").items() if PARENT in expected else ():
        owners = {row["data"]["who"] for row in rows}
        assert owners == {PARENT} if name == "data.jsonl" else PARENT not in owners


LOGGED = {PARENT: 200} | dict.fromkeys(range(1, 1 + WORKERS), 100)
LOADED = dict.fromkeys(range(1 + WORKERS), BATCHES)


@pytest.mark.parametrize("method", METHODS)
def test_processes_log_into_their_parents_run(tmp_path: Path, method: str) -> None:
    parallel(tmp_path, LOGGED, "processes", method)


@pytest.mark.parametrize("method", METHODS)
def test_workers_close_their_own_books(tmp_path: Path, method: str) -> None:
    parallel(tmp_path, {1: 100, 2: 100}, "alone", method)


@pytest.mark.parametrize("end", ["close", "terminate"])
@pytest.mark.parametrize("method", METHODS)
def test_a_pools_workers_log_into_their_parents_run(tmp_path: Path, method: str, end: str) -> None:
    parallel(tmp_path, LOGGED, "pool", method, end)


@pytest.mark.parametrize("end", ["told", "terminated", "killed"])
@pytest.mark.parametrize("method", METHODS)
def test_a_data_loaders_persistent_workers_log_into_their_parents_run(tmp_path: Path, method: str, end: str) -> None:
    parallel(tmp_path, LOADED, "loader", method, end)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_workers_of_every_kind_many_times(tmp_path: Path, method: str) -> None:
    for turn in range(100):
        folder = tmp_path / str(turn)
        parallel(folder / "processes", LOGGED, "processes", method)
        parallel(folder / "pool", LOGGED, "pool", method, "terminate" if turn % 2 else "close")
        if not turn % 5:
            parallel(folder / "loader", LOADED, "loader", method, "killed")
