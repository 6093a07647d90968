"""The two cores take turns in one run (reliability.md cases 1, 36, 64).

1: a run is continued by one process after the other, with one core or the other, each killed by SIGKILL while it
logs; what one left in its journal is recovered by the other. 36: a journal file that somebody truncates under its
writer ends that process by SIGBUS, the limit that docs/format/journal.md names, and takes nothing that was flushed.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

import penstock
from penstock._journal.native import native
from tests.faults.children import Child, ended
from tests.faults.evidence import (
    WORKSPACE,
    Counters,
    check_points,
    document,
    journals,
    line_files,
    log_lines,
    points,
    run_folder,
)

NEEDS_C = pytest.mark.skipif(native is None, reason="the C core is not there: there is only one core to test")


def lives(folder: Path, cores: list[str], seed: int, patch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    root, file = folder / "runs", folder / "counters"
    counters = Counters(file, 8)
    said = ""
    for who, core in enumerate(cores):
        patch.setenv("PENSTOCK_CORE", core)
        with Child(folder, "mixedcores", "life", root, file, who) as child:
            assert child.hear() == core
            assert child.hear() == "logging"
            time.sleep(chance.uniform(0, 0.1))  # the random instant itself
            child.send(signal.SIGKILL)
            assert child.end() == -signal.SIGKILL
            said += child.stderr()
    assert journals(run_folder(root)), "the last life left its journal"
    last = {"c": "python", "python": "c"}[cores[-1]]
    patch.setenv("PENSTOCK_CORE", last)
    done = ended(folder, "mixedcores", "recover", root)
    core, report = done.stdout.splitlines()
    assert (core, report.split(" ", 1)[1]) == (last, "0 () 0"), done.stderr
    assert all("were recovered from its journal" in line for line in said.splitlines()), said
    assert said or report.startswith("True"), "every life wrote everything before it died: nothing was recovered"
    run = run_folder(root)
    assert not journals(run)
    assert set(line_files(run, "loss")) == {"data.jsonl"}
    counted = {who: count for who, count in counters.counted().items() if count}
    assert len(counted) == len(cores)
    check_points(points(run, "loss"), counted)
    for rows in (points(run, "notes"), log_lines(run)):
        for who, count in counted.items():
            facts = [row.get("data") or row["metadata"] for row in rows]
            numbers = [fact["n"] for fact in facts if fact["who"] == who]
            assert numbers == list(range(0, 50 * len(numbers), 50))
            assert 50 * len(numbers) >= count - 50


@NEEDS_C
@pytest.mark.parametrize("first", ["c", "python"])
def test_what_one_core_left_at_its_death_is_recovered_by_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    other = {"c": "python", "python": "c"}[first]
    lives(tmp_path, [first, other, other, first, first], 1, monkeypatch)


@NEEDS_C
@pytest.mark.long
def test_200_deaths_of_both_cores_lose_and_double_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(2)
    for turn in range(40):
        lives(tmp_path / str(turn), chance.choices(["c", "python"], k=5), turn, monkeypatch)


@pytest.mark.parametrize("size", [0, 4096, 8192])
@pytest.mark.parametrize("core", ["python", pytest.param("c", marks=NEEDS_C)])
def test_a_journal_that_is_cut_off_under_its_writer_ends_it_by_sigbus_and_takes_nothing_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, core: str, size: int
) -> None:
    monkeypatch.setenv("PENSTOCK_CORE", core)
    root = tmp_path / "runs"
    done = ended(tmp_path, "mixedcores", "cut_off", root, size)
    assert (done.status, done.stdout) == (-signal.SIGBUS, "cut\n")
    run = run_folder(root)
    penstock.recover(run)
    with penstock.Session("run", WORKSPACE, local_path=root) as session:
        session.track("loss").append(value=0.0, who=1, n=0)
    assert document(run)["status"] == "done"
    found = points(run, "loss")
    assert check_points(found, {0: 100, 1: 1}, extra=1 << 20) >= 101
