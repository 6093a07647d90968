"""The C core and damaged bytes (reliability.md cases 37, 38, 62): an error, never a crash, never a look beyond the
buffer's end, and never a place outside the ring.
"""

from __future__ import annotations

import ctypes
import mmap
import random
import struct

import pytest

from penstock._journal.native import native
from tests.unit.journal.cores import NEEDS_C, payload_record, record
from tests.unit.journal.rings import slow_decode

pytestmark = NEEDS_C


class Edge:
    """Bytes that end exactly where the memory of this process ends: who reads on dies by SIGSEGV."""

    def __init__(self, size: int) -> None:
        pages = -(-size // mmap.PAGESIZE)
        self._mapped = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._mapped))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(ctypes.c_void_p(address + pages * mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
        self._end = pages * mmap.PAGESIZE

    def holding(self, data: bytes) -> memoryview:
        view = memoryview(self._mapped)[self._end - len(data) : self._end]
        view[:] = data
        return view


MIXED = [
    record([0.5, 1], names=1, index=0), record([True], names=2, index=1), payload_record(2, b'{"text":"abc"}', 2),
    record([0.25, None], names=1, index=3, track=2), payload_record(3, b'{"level":"info","message":"m"}', 0),
    record([2], names=2),
]  # fmt: skip


def drained(data: bytes | memoryview) -> tuple[int, bool, int, bytes]:
    drainer = native.Drainer()
    drainer.define(1, (b'"value"', b'"step"'))
    drainer.define(2, (b'"other"',))
    at, damaged, missing, rows = drainer.drain(data, 0, len(data))
    assert 0 <= at <= len(data)
    return at, damaged, missing, b"".join(row[4] for row in rows)


def test_records_cut_at_every_byte_give_the_whole_ones_before_the_cut() -> None:
    data = b"".join(MIXED)
    edge = Edge(len(data))
    ends = [sum(map(len, MIXED[: place + 1])) for place in range(len(MIXED))]
    for cut in range(len(data) + 1):
        at, damaged, _missing, lines = drained(edge.holding(data[:cut]))
        assert at == max([0, *(end for end in ends if end <= cut)])
        assert damaged == (at < cut)
        assert lines.count(b"\n") == len(slow_decode(data[:at]))


def test_flipped_bits_and_random_bytes_neither_crash_nor_read_beyond_the_end() -> None:
    data = b"".join(MIXED)
    edge = Edge(4096)
    rng = random.Random(38)
    for turn in range(20_000):
        if turn % 4:
            broken = bytearray(data)
            for _ in range(rng.choice([1, 1, 3, 20])):
                broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        else:
            broken = bytearray(rng.randbytes(rng.randrange(4096)))
            for at in range(0, len(broken) - 48, 56):  # as like to records as can be, else all end at the first byte
                size, kind, count = rng.choice([56, 48, 2**32 - 8]), rng.randrange(5), rng.randrange(3)
                struct.pack_into("<IBBH", broken, at, size, kind, count, 0x5350)
        at, damaged, missing, lines = drained(edge.holding(bytes(broken)))
        assert damaged or missing or at == len(broken)
        assert missing not in (1, 2), "asked again for names that it has: the writer would ask for ever"
        assert len(lines) < 100 * (len(broken) + 1)


@pytest.mark.parametrize(("start", "stop"), [(-1, 8), (0, 9), (8, 0), (9, 9), (0, 2**62), (-(2**62), 0)])
def test_places_outside_the_buffer_are_refused(start: int, stop: int) -> None:
    for call in (native.Drainer().drain, native.zero, native.populate):
        with pytest.raises(ValueError, match="outside the 8 bytes"):
            call(bytearray(8), start, stop)


def test_a_state_takes_no_place_outside_its_bytes() -> None:
    state = native.State(0, 0, bytearray(64))
    for item, value in [(0, -8), (0, 72), (0, 4), (1, 65), (2, bytearray(0)), (2, b"read-only")]:
        state[0], state[1] = 8, 64
        with pytest.raises((ValueError, BufferError)):
            state[item] = value
        assert (state[0], state[1], bytes(state[2])) == (8, 64, bytes(64))
    state[1] = -1
    state[2] = None
    with pytest.raises(ValueError, match="outside the 0"):
        state[1] = 8
    for wrong in [(-8, 0, None), (4, 0, None), (128, 0, bytearray(64)), (0, 128, bytearray(64)), (0, 0, 5)]:
        with pytest.raises((ValueError, TypeError)):
            native.State(*wrong)
