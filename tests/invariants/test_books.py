"""P5: ``appended == written + waiting + dropped`` after every scenario, and the numbers are those that are counted on
disk with the stdlib json module (reliability cases 30, 31, 52 in spirit, 62, 63). Scenarios are made from a seed; a
failing one is named by its seed.
"""

from __future__ import annotations

import errno
import math
import random
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from penstock import RingFullError, Session
from penstock._store import notices
from tests.faults import diskbooks
from tests.faults.diskfaults import FailingWrites


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    notices._process.reset()
    monkeypatch.setattr("penstock.limits.STALL_RETRY_S", 0.01)


def _work(session: Session, rng: random.Random, count: int) -> tuple[int, int]:
    """Append anything; returns (points and lines handed in, how many of these were refused by a full ring)."""
    handed = refused = 0

    def guarded(call: Any, points: int) -> None:
        nonlocal handed, refused
        before = session.stats()
        try:
            call()
        except RingFullError:
            refused += 1
            after = session.stats()
            handed += after.appended - before.appended if threading.active_count() == 1 else 1
        else:
            handed += points

    for place in range(count):
        track = session.track(f"t{rng.randrange(4)}/x")
        kind = rng.randrange(8)
        if kind < 4:
            guarded(partial(track.append, value=rng.random(), step=place), 1)
        elif kind == 4:
            guarded(lambda track=track: track.append(value=rng.choice(["text", None, math.nan, [1, {"a": 2}]])), 1)
        elif kind == 5:
            guarded(partial(session.log, f"line {place}", epoch=place), 1)
        elif kind == 6:
            guarded(partial(session.log, {"a": 1.0, "b": {"c": 2}}, step=place), 2)
        else:
            batch = [{"value": float(number)} for number in range(rng.randrange(1, 6))]
            guarded(lambda track=track, batch=batch: track.extend(batch), len(batch))
        if rng.random() < 0.02:
            diskbooks.balance(session.stats())
        if rng.random() < 0.01:
            diskbooks.balance(session.flush(rng.choice(["disk", "journal"]), timeout=0.2))
    return handed, refused


def _settled(session: Session, run: Path) -> Any:
    receipt = session.flush("disk", timeout=30)
    diskbooks.balance(receipt)
    assert receipt.reached
    assert receipt.waiting == 0
    assert receipt.written == receipt.synced == diskbooks.counted(run)
    diskbooks.balance(session.stats())
    return receipt


def _scenario(root: Path, patch: pytest.MonkeyPatch, seed: int) -> None:
    rng = random.Random(seed)
    name = f"run{seed}"
    on_full = rng.choice(["block", "drop"])
    fault = rng.choice([None, None, errno.ENOSPC, errno.EIO])
    session = Session(
        name, "w", local_path=root, ring_bytes=1 << 16, on_full=on_full, flush_interval_s=rng.choice([0.01, 0.3]),
        chunk_bytes=rng.choice([4096, 1 << 18]), open_line_files=rng.choice([4, 128]), fsync=rng.random() < 0.8,
    ).open()  # fmt: skip
    run = root / "w" / name
    writes = FailingWrites(patch, fault, rng.randrange(1, 10), rng.choice([1, 3, 10**9])) if fault else None
    handed, refused = _work(session, rng, rng.choice([50, 600]))
    assert refused == 0
    assert session.stats().appended == handed, f"seed {seed}"
    if writes:
        writes.armed = False
    receipt = _settled(session, run)
    assert receipt.appended == handed
    if on_full == "block" and not fault:
        assert receipt.dropped == 0
    session.close()
    assert diskbooks.counted(run) == receipt.written
    assert diskbooks.journals(run) == []


@pytest.mark.parametrize("seed", range(16))
def test_the_books_balance_and_are_what_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    _scenario(tmp_path, monkeypatch, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 500))
def test_the_books_balance_over_many_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    _scenario(tmp_path, monkeypatch, seed)


def test_the_books_balance_while_threads_append_flush_and_read(tmp_path: Path) -> None:
    session = Session("run", "w", local_path=tmp_path, ring_bytes=1 << 16, flush_interval_s=0.01).open()
    handed = [0] * 4
    errors: list[BaseException] = []

    def append(number: int) -> None:
        try:
            handed[number] = _work(session, random.Random(number), 800)[0]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        diskbooks.balance(session.stats())
        diskbooks.balance(session.flush("disk", timeout=20))
        session.track("a").read(limit=10)
    for thread in threads:
        thread.join(30)
    assert errors == []
    receipt = _settled(session, tmp_path / "w/run")
    assert receipt.appended == sum(handed)
    assert receipt.dropped == 0
    session.close()


def test_a_ring_that_raises_counts_what_it_refused(tmp_path: Path) -> None:
    session = Session(
        "run", "w", local_path=tmp_path, ring_bytes=1 << 16, on_full="raise", flush_interval_s=0.01
    ).open()
    refused = 0
    for place in range(20_000):
        try:
            session.track("t").append(value=float(place))
        except RingFullError:
            refused += 1
    receipt = _settled(session, tmp_path / "w/run")
    assert (receipt.appended, receipt.dropped) == (20_000, refused)
    session.close()
