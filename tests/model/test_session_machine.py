"""Reliability case 67, the local part: a Hypothesis state machine over one run on real files. Append anything, flush,
read, crash (a copy of the run folder with its live journal, recovered), close, reopen. The model is a dict of lists,
and the copy must be equal to it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import penstock
from penstock import Session
from penstock._codec.values import to_stored
from penstock._store.layout import RunFolder
from penstock.query import points as reading
from tests.faults import diskbooks

TRACKS = st.sampled_from(["loss", "train/acc", "ä"])
NUMBERS = st.one_of(st.floats(width=64), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none())
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(
    lambda text: text not in ("NaN", "Infinity", "-Infinity")
)
FIELDS = st.dictionaries(st.sampled_from(["value", "step", "type", "a b", 'q"']), NUMBERS, min_size=1, max_size=4)
GENERAL = st.dictionaries(
    st.sampled_from(["value", "note", "é"]),
    st.one_of(NUMBERS, TEXTS, st.lists(st.one_of(NUMBERS, TEXTS), max_size=3)),
    min_size=1, max_size=3,
)  # fmt: skip


def shown(points: Iterable[dict[str, Any]]) -> list[str]:
    """Points as text, which tells 1 from 1.0 and True, and -0.0 from 0.0. The order of fields says nothing."""
    return [repr(sorted(point.items())) for point in points]


class SessionMachine(RuleBasedStateMachine):
    """One run; ``model`` is what was handed in, per track, and ``lines`` the messages of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="penstock-model-"))
        self.model: dict[str, list[Any]] = {}
        self.lines: list[str] = []
        self.session: Session | None = None
        self.since_open = 0
        self.copies = 0

    @initialize(ring=st.sampled_from([1 << 16, 1 << 17]), interval=st.sampled_from([0.01, 60.0]))
    def begin(self, ring: int, interval: float) -> None:
        self.settings = {"ring_bytes": ring, "flush_interval_s": interval, "capture_environment": False}
        self.reopen()

    @property
    def run(self) -> Path:
        return self.root / "w" / "run"

    @property
    def open(self) -> Session:
        assert self.session is not None
        return self.session

    def _kept(self, track: str, fields: dict[str, Any]) -> None:
        self.model.setdefault(track, []).append(to_stored(fields))
        self.since_open += 1

    @precondition(lambda self: self.session is None)
    @rule()
    def reopen(self) -> None:
        self.session = Session("run", "w", local_path=self.root, **self.settings).open()
        self.since_open = 0

    @precondition(lambda self: self.session is not None)
    @rule(track=TRACKS, fields=st.one_of(FIELDS, GENERAL), repeat=st.sampled_from([1, 1, 3, 50]))
    def append(self, track: str, fields: dict[str, Any], repeat: int) -> None:
        for _ in range(repeat):
            self.open.track(track).append(**fields)
            self._kept(track, fields)

    @precondition(lambda self: self.session is not None)
    @rule(track=TRACKS, batch=st.lists(st.one_of(FIELDS, GENERAL), min_size=1, max_size=5))
    def extend(self, track: str, batch: list[dict[str, Any]]) -> None:
        assert self.open.track(track).extend(batch) == len(batch)
        for fields in batch:
            self._kept(track, fields)

    @precondition(lambda self: self.session is not None)
    @rule(track=TRACKS, bad=st.sampled_from([object(), 2**64, "\ud800", b"x"]))
    def refuse(self, track: str, bad: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            self.open.track(track).extend([{"value": 1.0}, {"value": bad}])

    @precondition(lambda self: self.session is not None)
    @rule(track=TRACKS, size=st.integers(1000, 15_000))
    def append_large(self, track: str, size: int) -> None:
        self.open.track(track).append(text="x" * size)
        self._kept(track, {"text": "x" * size})

    @precondition(lambda self: self.session is not None)
    @rule(message=TEXTS)
    def log(self, message: str) -> None:
        self.open.log(message, step=1)
        self.lines.append(message)
        self.since_open += 1

    @precondition(lambda self: self.session is not None)
    @rule()
    def flush(self) -> None:
        receipt = self.open.flush("disk", timeout=30)
        assert receipt.reached
        assert receipt.written == self.since_open
        self._compare(self.run)

    @precondition(lambda self: self.session is not None)
    @rule(track=TRACKS, start=st.integers(0, 60), limit=st.integers(0, 60))
    def read(self, track: str, start: int, limit: int) -> None:
        page = self.open.track(track).read(start_index=start, limit=limit)
        expected = self.model.get(track, [])
        assert shown(to_stored(p["data"]) for p in page["data"]) == shown(expected[start : start + limit])
        assert [p["index"] for p in page["data"]] == list(range(start, start + page["total"]))
        assert page["hasMore"] == (start + limit < len(expected))

    @precondition(lambda self: self.session is not None)
    @rule(go_on=st.booleans())
    def crash(self, go_on: bool) -> None:
        """What a kill at this moment would leave: the run folder as it is, with the live journal."""
        self.copies += 1
        copy = self.root / f"copy{self.copies}"
        diskbooks.crashed(self.run, copy)
        folder = RunFolder(copy)
        for track, expected in self.model.items():
            page = reading.page(folder, track, folder.journal, 0, 10**6)
            assert shown(to_stored(p["data"]) for p in page["data"]) == shown(expected), "read without recovering"
        report = penstock.recover(copy)
        assert report.refused == ()
        self._compare(copy)
        penstock.recover(copy)
        self._compare(copy)
        if go_on:  # the copy becomes the run, as if this process had died
            self.open.close()
            self.session = None
            shutil.rmtree(self.run)
            copy.rename(self.run)
        else:
            shutil.rmtree(copy)

    @precondition(lambda self: self.session is not None)
    @rule()
    def close(self) -> None:
        self.open.close()
        self.session = None
        self._compare(self.run)
        assert diskbooks.journals(self.run) == []

    @precondition(lambda self: self.session is not None)
    @invariant()
    def the_books_balance(self) -> None:
        stats = self.open.stats()
        diskbooks.balance(stats)
        assert stats.appended == self.since_open
        assert stats.dropped == 0

    def _compare(self, run: Path) -> None:
        for track, expected in self.model.items():
            assert shown(diskbooks.data(run, track)) == shown(expected)
        assert set(diskbooks.tracks(run)) <= set(self.model)
        assert [line["message"] for line in diskbooks.log_lines(run)] == self.lines
        assert [line["sequenceNumber"] for line in diskbooks.log_lines(run)] == list(range(len(self.lines)))

    def teardown(self) -> None:
        try:
            if self.session is not None:
                self.close()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)


def _run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        SessionMachine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_a_run_is_what_was_handed_in_through_crashes_and_reopenings() -> None:
    _run(examples=30, steps=25)


@pytest.mark.long
def test_a_run_is_what_was_handed_in_through_thousands_of_steps() -> None:
    _run(examples=600, steps=60)
