"""The C core's way from the ring to the line files, beside the reference's (reliability.md cases 31, 33, 35, 36, 63).

Whatever is appended and however the draining is cut up, each track's lines are whole, in order, each once; with any
number of open files, new field names in the middle, files removed, a disk that takes only a part of a write, and a
ring whose bytes are damaged.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import limits
from penstock._engine.fastdrain import FastDrain
from penstock._engine.writer import Writer
from penstock._journal.native import native
from penstock._sinks.local import LocalSink
from penstock._store.layout import RunFolder
from tests.unit.journal.cores import NEEDS_C, Desk, core

pytestmark = NEEDS_C
NOW_S = 1.0


class Bench:
    """A desk with a writer that the test drives, and the run's folder."""

    def __init__(self, folder: Path, name: str = "c", *, open_files: int = 128, chunk_bytes: int = 4096,
                 ring_bytes: int = 1 << 16) -> None:  # fmt: skip
        self.desk = Desk(name, ring_bytes)
        self.folder = RunFolder(folder)
        self.sink = LocalSink(self.folder, "", open_files=open_files, fsync=False)
        with core(name):
            self.writer = Writer(self.desk.intake, self.sink, chunk_bytes=chunk_bytes, interval_s=0, sync_interval_s=1)

    def lines(self, track: str) -> list[dict[str, Any]]:
        path = self.sink.path(track)
        raw = path.read_bytes() if path.exists() else b""
        assert not raw or raw.endswith(b"\n")
        rows = [json.loads(line) for line in raw.splitlines()]
        key = "index" if track else "sequenceNumber"
        assert [row[key] for row in rows] == list(range(len(rows))), f"{track}: lines out of order, doubled or lost"
        return [{name: value for name, value in row.items() if name not in ("createdAt", "timestamp")} for row in rows]

    def finished(self) -> dict[str, list[dict[str, Any]]]:
        assert self.writer.finish()
        assert self.writer.written == self.desk.intake.accepted
        found = {name: self.lines(name) for name in self.desk.intake.lanes}
        assert sum(map(len, found.values())) == self.writer.written
        self.sink.close()
        return found


TRACKS = [f"t{number}" for number in range(6)]
FIELDS = st.sampled_from([
    {"value": 0.5}, {"value": 1, "step": 2}, {"value": None}, {"note": "text"}, {"a": True, "b": float("nan")},
    {"é\"\\": 1e300}, {"x" * 300: 1.5},
])  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(TRACKS), FIELDS, st.sampled_from([1, 1, 2, 30])),
        st.sampled_from(["log", "step", "write", "close"]),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 4), st.sampled_from([64, 512, 4096]))
@settings(max_examples=80)
def test_both_cores_write_the_same_lines_whatever_happens_between(
    steps: list[Any], open_files: int, chunk: int
) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "FAST_QUANTUM_BYTES", 1000)
        patch.setattr(limits, "QUANTUM_BYTES", 1000)
        benches = [Bench(Path(place, name), name, open_files=open_files, chunk_bytes=chunk) for name in ("c", "python")]
        for step in steps:
            for bench in benches:
                if step == "log":
                    bench.desk.log("a line", {"at": 0.25})
                elif step == "step":
                    bench.writer.step()
                elif step == "write":
                    bench.writer.write(NOW_S)
                elif step == "close":
                    bench.sink.close()
                else:
                    track, fields, count = step
                    for _ in range(count):
                        bench.desk.append(track, **fields)
        mine, theirs = [bench.finished() for bench in benches]
        assert mine == theirs


def test_a_track_with_new_names_in_the_middle_of_a_quantum_keeps_its_order(tmp_path: Path) -> None:
    """The first part of its lines fills a chunk and is written; what comes next must not overtake the second."""
    bench = Bench(tmp_path, chunk_bytes=4096)
    for place in range(200):
        bench.desk.append("t", value=place)
    for place in range(3):
        bench.desk.append("t", value=place, step=1)
    bench.writer.step()
    for place in range(5):
        bench.desk.append("t", value=place)
    bench.writer.step()
    assert len(bench.finished()["t"]) == 208


def test_a_file_that_is_closed_for_another_is_still_accounted_for(tmp_path: Path) -> None:
    """One quantum holds lines that went to an open file and a full chunk of a track whose opening closes that file."""
    bench = Bench(tmp_path, open_files=1, chunk_bytes=1024)
    for name in ("a", "b"):
        bench.desk.append(name, value=1.0)
        bench.writer.step()
        bench.writer.write(NOW_S)
    assert bench.sink.descriptor("a") is None
    assert bench.sink.descriptor("b") is not None
    for place in range(100):
        bench.desk.append("a", value=place)
    bench.desk.append("b", value=2.0)
    bench.writer.step()
    assert {name: len(rows) for name, rows in bench.finished().items()} == {"a": 101, "b": 2}


def test_lines_of_an_open_file_are_written_by_the_core_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    bench.desk.append("t", value=1.0)
    bench.writer.step()
    bench.writer.write(NOW_S)
    monkeypatch.setattr("os.write", None)
    for place in range(100):
        bench.desk.append("t", value=place)
    bench.writer.step()
    assert len(bench.finished()["t"]) == 101


def test_a_removed_file_is_made_again_with_the_lines_that_came_since(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.desk.append("t", value=1.0)
    bench.writer.step()
    bench.writer.write(NOW_S)
    bench.sink.path("t").unlink()
    for _ in range(10):
        bench.desk.append("t", value=2.0)
    assert bench.writer.finish()
    rows = [json.loads(line) for line in bench.sink.path("t").read_bytes().splitlines()]
    assert [row["index"] for row in rows] == list(range(1, 11))
    bench.sink.close()


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """A limit for the files of this process: a write over it is cut short, the next one fails with EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_what_the_disk_did_not_take_is_written_when_it_takes_it(
    tmp_path: Path, limit_files: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STALL_RETRY_S", 0.0)
    bench = Bench(tmp_path)
    bench.desk.append("t", value=1.0)
    bench.writer.step()
    bench.writer.write(NOW_S)
    for place in range(100):
        bench.desk.append("t", value=place)
    limit_files(3000)
    try:
        bench.writer.step()
        assert bench.writer.stall is not None
        assert os.path.getsize(bench.sink.path("t")) == 3000
        written = bench.writer.written
        assert written == bench.sink.path("t").read_bytes().count(b"\n")
        for place in range(5):
            bench.desk.append("t", value=place)
        bench.writer.step()
        assert bench.writer.written == written
    finally:
        limit_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    bench.writer.write(NOW_S)
    assert len(bench.finished()["t"]) == 106


def test_long_names_do_not_make_one_quantum_into_hundreds_of_megabytes(tmp_path: Path) -> None:
    desk = Desk("c", 1 << 20)
    fast = FastDrain(native, desk.ring, desk.intake.names_by_id)
    fields = {f"{place}".ljust(1000, "x"): 1.5 for place in range(16)}
    for _ in range(5000):
        desk.append("t", **fields)
    cursor, head = desk.ring.window()
    taken = 0
    while cursor != head:
        cursor, rows = fast.take(cursor, head, 1 << 20)
        assert sum(len(row.lines) for row in rows) < 10 << 20
        taken += sum(row.points for row in rows)
    assert taken == 5000
    assert not list(tmp_path.iterdir())


def test_one_record_larger_than_the_quantum_does_not_bring_the_whole_ring_with_it() -> None:
    desk = Desk("c", 1 << 16)
    fast = FastDrain(native, desk.ring, desk.intake.names_by_id)
    for _ in range(20):
        desk.append("t", text="x" * 2000)
    for _ in range(20):
        desk.append("t", value=1.0)
    cursor, head = desk.ring.window()
    points = []
    while cursor != head:
        cursor, rows = fast.take(cursor, head, 1000)
        points.append(sum(row.points for row in rows))
    assert points[:20] == [1] * 20
    assert sum(points) == 40


DAMAGE: dict[str, tuple[int, bytes]] = {
    "a size of 0": (0, struct.pack("<I", 0)),
    "a size of 4 GiB": (0, struct.pack("<I", 2**32 - 8)),
    "another kind": (4, b"\x07"),
    "no fields": (5, b"\0"),
    "17 fields": (5, b"\x11"),
    "no mark": (6, b"\0\0"),
    "a track that nobody made": (8, struct.pack("<I", 77)),
    "names that nobody defined": (12, struct.pack("<I", 77)),
    "no names": (12, struct.pack("<I", 0)),
    "names of another number of fields": (12, struct.pack("<I", 2)),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("place", [0, 1, 5])
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_record_in_a_live_ring_is_an_error_and_no_endless_loop(tmp_path: Path, name: str, place: int) -> None:
    bench = Bench(tmp_path)
    for number in range(6):
        bench.desk.append("t", value=float(number))
    bench.desk.append("other", value=1.0, step=1)
    at, stored = DAMAGE[name]
    ring = bench.desk.journal.ring
    offset = bench.desk.ring.start + 56 * place + at
    ring[offset : offset + len(stored)] = stored
    with pytest.raises((ValueError, KeyError)):
        bench.writer.finish()
    bench.sink.close()


def test_damage_in_the_header_of_a_live_journal_touches_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for _ in range(3):
        bench.desk.append("t", value=1.0)
        bench.desk.journal.ring[:4096] = os.urandom(4096)
        bench.writer.step()
    assert len(bench.finished()["t"]) == 3
