"""A process killed at a named step of its work loses nothing: reliability.md case 3 (and 64, killed while recovering).

``killpoints`` has the places: on the way from the ring to the disk, in the making and growing of a journal, in the
documents, in closing, and in recovery. A child dies by SIGKILL exactly there; then the run is recovered, checked,
opened and closed once more.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from pathlib import Path

import pytest

import penstock
from tests.faults.children import ended
from tests.faults.evidence import (
    WORKSPACE,
    Counters,
    check_numbers,
    check_points,
    document,
    journals,
    line_files,
    log_lines,
    points,
    run_folder,
)
from tests.faults.killpoints import ACC, LOG, LOSS, RECOVERING, REFERENCE, WRITING

TIMES = 20  # in the long form: a place is reached in a different state each time


def check_run(root: Path, counters: Counters) -> None:
    """Recover, and find everything that was logged, once; then recover and open again, and find the same."""
    run = run_folder(root)
    run.mkdir(parents=True, exist_ok=True)  # killed before it made anything: then there is nothing to find
    for name in (run / "session.json", *run.rglob("metadata.json")):
        assert not name.exists() or json.loads(name.read_bytes()), f"{name} is half a document"
    penstock.recover(run)
    counted = counters.counted()
    for _look in range(2):
        assert check_points(points(run, "loss"), {LOSS: counted[LOSS]}) >= counted[LOSS]
        assert check_points(points(run, "val/acc"), {ACC: counted[ACC]}) >= counted[ACC]
        messages = [int(line["message"].removeprefix("line ")) for line in log_lines(run)]
        check_numbers(messages, counted[LOG], 1, "log")
        assert set(line_files(run, "loss")) <= {"data.jsonl"}
        report = penstock.recover(run)
        assert (report.points, report.logs, report.recovered, report.refused) == (0, 0, 0, ())
        with penstock.Session("run", WORKSPACE, local_path=root):
            pass
    assert not journals(run)
    assert document(run)["status"] == "done"


@pytest.fixture
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place in the code; where only the Python reference passes, the child runs that."""
    if request.param in REFERENCE:
        monkeypatch.setenv("PENSTOCK_CORE", "python")
    return str(request.param)


def kill_while_writing(folder: Path, name: str) -> None:
    root, file = folder / "runs", folder / "counters"
    counters = Counters(file, 3)
    child = ended(folder, "killpoints", "writing", root, file, name)
    assert child.status == -signal.SIGKILL, f"this place was not reached\n{child.stderr}"
    check_run(root, counters)


@pytest.mark.parametrize("name", WRITING, indirect=True)
def test_a_kill_at_a_named_step_of_writing_loses_nothing(tmp_path: Path, name: str) -> None:
    kill_while_writing(tmp_path, name)


@pytest.mark.long
@pytest.mark.parametrize("name", WRITING, indirect=True)
def test_kills_at_a_named_step_of_writing_lose_nothing(tmp_path: Path, name: str) -> None:
    for turn in range(TIMES):
        kill_while_writing(tmp_path / str(turn), name)


def test_the_journal_of_a_process_that_died_while_making_it_is_swept(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    child = ended(tmp_path, "killpoints", "writing", root, tmp_path / "counters", "before a journal gets its name")
    assert child.status == -signal.SIGKILL
    folder = run_folder(root) / ".journal"
    (dead,) = folder.glob(".*.new")
    making = folder / f".{'0' * 32}.new"  # another process is about to make this one: it holds the lock
    with making.open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        penstock.recover(run_folder(root))
        assert dead.exists(), "too young: its maker may not have locked it yet"
        for path in (dead, making):
            os.utime(path, (0, 0))
        penstock.recover(run_folder(root))
        assert not dead.exists()
        assert making.exists()


def kill_while_recovering(folder: Path, name: str, *, reopen: bool) -> None:
    root, file = folder / "runs", folder / "counters"
    counters = Counters(file, 3)
    assert ended(folder, "killpoints", "left", root, file).status == -signal.SIGKILL
    before = counters.counted()
    assert before[LOSS] > 1000
    assert journals(run_folder(root))
    for turn in range(2):  # killed twice at the same step: the second recovery has met the first one's half work
        function, where = ("reopening", root) if reopen else ("recovering", run_folder(root))
        child = ended(folder, "killpoints", function, where, name)
        again = turn and child.status == 0 and name.startswith("after the recovered journal")
        assert again or child.status == -signal.SIGKILL, f"this place was not reached\n{child.stderr}"
    assert counters.counted() == before
    check_run(root, counters)


@pytest.mark.parametrize(("number", "name"), list(enumerate(RECOVERING)))
def test_a_kill_at_a_named_step_of_recovery_changes_nothing(tmp_path: Path, number: int, name: str) -> None:
    kill_while_recovering(tmp_path, name, reopen=bool(number % 2))


@pytest.mark.long
@pytest.mark.parametrize("reopen", [False, True], ids=["recover", "open"])
@pytest.mark.parametrize("name", RECOVERING)
def test_kills_at_a_named_step_of_recovery_change_nothing(tmp_path: Path, name: str, *, reopen: bool) -> None:
    for turn in range(TIMES // 2):
        kill_while_recovering(tmp_path / str(turn), name, reopen=reopen)
