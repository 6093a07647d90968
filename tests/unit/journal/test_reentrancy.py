"""Reliability cases 23 and 62, live: appends in the middle of appends, by threads, a signal handler, ``__float__`` and
``__del__``. A child process appends with a switch interval of a microsecond; the parent counts what is on disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import diskbooks, reentrant


def _check(root: Path, count: int, ring_bytes: int) -> int:
    """Returns how many appends were dropped: those of a handler or ``__del__`` that hits the thread which is just
    draining the full ring. It cannot wait for itself.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", reentrant.__file__, str(root), str(count), str(ring_bytes)],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    tally, receipt = told["tally"], told["receipt"]
    run = root / "work" / "run"
    shared, texts = diskbooks.data(run, "shared"), diskbooks.data(run, "texts")
    kinds = Counter(point["kind"] for point in shared)
    assert tally["signal"] > 0, "the timer must have hit"
    assert kinds[2] == tally["float"]
    dropped = receipt["dropped"]
    for number in range(reentrant.THREADS + 1):
        mine = [point["value"] for point in shared if point["kind"] == 10 + number]
        assert mine == [float(place) for place in range(count)], "each thread's points, in its order"
    text_kinds = Counter(point["kind"] for point in texts)
    assert text_kinds["thread"] == tally["text"]
    inside = kinds[1] + text_kinds["signal"] + kinds[3] + text_kinds["del"]
    assert inside + dropped == 2 * tally["signal"] + 2 * tally["del"]
    values = [point["value"] for point in shared if point["kind"] == 1]
    assert len(values) == len(set(values))
    assert set(values) <= {float(n) for n in range(tally["signal"])}
    assert receipt["reached"]
    assert receipt["written"] == receipt["appended"] - dropped == len(shared) + len(texts)
    assert diskbooks.journals(run) == []
    return int(dropped)


def test_appends_in_the_middle_of_appends_lose_and_double_nothing(tmp_path: Path) -> None:
    assert _check(tmp_path, 1500, 8 << 20) == 0


def test_in_a_ring_that_is_always_full_only_appends_inside_the_writers_own_turn_are_dropped_and_counted(
    tmp_path: Path,
) -> None:
    _check(tmp_path, 1500, 64 << 10)


@pytest.mark.long
def test_many_appends_in_the_middle_of_appends_lose_and_double_nothing(tmp_path: Path) -> None:
    for repeat in range(10):
        _check(tmp_path / str(repeat), 10_000, 64 << (10 + 7 * (repeat % 2)))
