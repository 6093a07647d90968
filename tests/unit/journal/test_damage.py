"""Reliability case 38 (bit flips: no wrong value, only hit records lost), 64 (reading twice gives the same) and part
of 68 (another version is left alone): a whole journal of every kind of record, damaged, and read again by
``recovery.scan``.
"""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock._journal import format as fmt
from penstock._journal import recovery
from penstock._journal.file import JournalFile
from penstock._journal.lane import Lane
from penstock._journal.ring import Ring
from penstock.errors import JournalError
from tests.unit.journal.rings import slow_decode

RING = 16384
RING_END = 4096 + RING
LIVE = 200  # records in the ring
WRITER = bytes(range(16))

Fact = tuple[str, int, int, tuple[Any, ...]]  # track, index, time, values (or payload)


def _journal(folder: Path) -> tuple[bytes, list[Fact], dict[int, Fact]]:
    """The bytes of a journal whose ring has wrapped, what they state, and which fact lies at which offset."""
    header = fmt.Header(WRITER, RING, 1, 2, 3, bytes(16), True, "host")
    path = folder / "made"
    journal = JournalFile.create(path, header, 4096)
    ring = Ring(journal, lambda size: ring.extend(size))  # noqa: PLW0108
    lanes = [Lane(ring, journal.define_track(name), name, 10) for name in ("loss", "train/acc")]
    log = Lane(ring, 0, "", 0)
    names = [journal.define_names(("value", "step")), journal.define_names(("other",))]
    layouts = [fmt.layout_of(names[0], (1, 2)), fmt.layout_of(names[1], (3,))]
    facts: list[Fact] = []
    kept: list[tuple[int, Fact]] = []
    for place in range(LIVE * 2):
        if place == LIVE:
            ring.release(ring.window().head)
            kept = []
            facts = []
        lane = lanes[place % 2]
        if place % 10 == 9:
            payload = b'{"level":"info","message":"%d"}' % place
            fact = ("", log.put_payload(fmt.KIND_LOG, payload, place), place, (payload,))
        elif place % 7 == 6:
            payload = b'{"text":"%d"}' % place
            fact = (lane.name, lane.put_payload(fmt.KIND_GENERAL, payload, place), place, (payload,))
        elif place % 5 == 4:
            fact = (lane.name, lane.put_numbers(layouts[1], (place % 2,), place), place, (bool(place % 2),))
        else:
            fact = (lane.name, lane.put_numbers(layouts[0], (place / 3, -place), place), place, (place / 3, -place))
        assert fact[1] >= 0
        facts.append(fact)
        kept.append((ring.state[0], fact))  # where it ends
    assert ring.window().head[0] == 1, "the ring has wrapped"
    raw = journal.path.read_bytes() if journal.path else b""
    journal.close(remove=False)
    return raw, facts, {_start(raw, end): fact for end, fact in kept}


def _start(raw: bytes, end: int) -> int:
    return next(at for at in range(end - 48, 0, -8) if struct.unpack_from("<I", raw, at)[0] == end - at
                and struct.unpack_from("<H", raw, at + 6)[0] == 0x5350)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Fact], dict[int, Fact]]:
    return _journal(tmp_path_factory.mktemp("journal"))


def facts_of(salvage: recovery.Salvage) -> set[Fact]:
    found = set()
    for track, blocks in salvage.blocks.items():
        last = -1
        for block in blocks:
            rows = zip(*block.columns, strict=True)
            for index, time, values in zip(block.indices, block.times, rows, strict=True):
                assert index > last, "in the order of indices, none twice"
                last = index
                found.add((track, index, time, values))
    return found


def scanned(path: Path, raw: bytes) -> recovery.Salvage:
    path.write_bytes(raw)
    return recovery.scan(path)


def test_a_whole_journal_states_every_fact_once(made: Any, tmp_path: Path) -> None:
    raw, facts, places = made
    assert len(places) == len(facts) == LIVE
    salvage = scanned(tmp_path / "x.ring", raw)
    assert facts_of(salvage) == set(facts)
    assert salvage.records() == LIVE
    assert salvage.unreadable == 0
    assert facts_of(recovery.scan(tmp_path / "x.ring")) == set(facts), "reading changes nothing"
    assert (tmp_path / "x.ring").read_bytes() == raw


def _flip(made: Any, tmp_path: Path, count: int, seed: int) -> None:
    """``count`` single-bit flips, a random number of them at a time, anywhere in header, ring and definitions."""
    raw, facts, places = made
    rng = random.Random(seed)
    ends = {start: start + struct.unpack_from("<I", raw, start)[0] for start in places}
    definitions = {"loss": _definition(raw, b"loss"), "train/acc": _definition(raw, b"train/acc")}
    path = tmp_path / "x.ring"
    done = 0
    while done < count:
        damaged = bytearray(raw)
        hit = []
        for _ in range(min(count - done, rng.choice([1, 1, 2, 10, 100]))):
            area = rng.choice(["ring", "ring", "ring", "header", "definitions"])
            low, high = {"ring": (4096, RING_END), "header": (0, 152), "definitions": (RING_END, len(raw))}[area]
            at = rng.randrange(low, high)
            damaged[at] ^= 1 << rng.randrange(8)
            hit.append(at)
            done += 1
        both_gone = any(at < 152 for at in hit) and any(RING_END <= at < RING_END + 176 for at in hit)
        try:
            salvage = scanned(path, bytes(damaged))
        except JournalError:
            assert both_gone, f"seed {seed}: refused although the header or its copy is whole: {hit}"
            continue
        found = facts_of(salvage)
        assert found <= set(facts), f"seed {seed}: wrong values {found - set(facts)}"
        names_hit = any(at >= RING_END for at in hit)
        for start, fact in places.items():
            mine = definitions.get(fact[0])
            excused = any(start <= at < ends[start] for at in hit) or (names_hit and mine is not None)
            assert fact in found or excused, f"seed {seed}: {fact} lost, hit were {hit}"


def _definition(raw: bytes, name: bytes) -> int:
    return raw.index(name, RING_END)


def test_flipped_bits_give_no_wrong_value_and_lose_only_what_they_hit(made: Any, tmp_path: Path) -> None:
    _flip(made, tmp_path, 3000, 38)


@pytest.mark.long
def test_100_000_flipped_bits_give_no_wrong_value(made: Any, tmp_path: Path) -> None:
    for seed in range(10):
        _flip(made, tmp_path, 10_000, seed)


@pytest.mark.parametrize("at", range(0, 152, 3))
def test_a_damaged_header_is_replaced_by_its_copy(made: Any, tmp_path: Path, at: int) -> None:
    raw, facts, _places = made
    damaged = bytearray(raw)
    damaged[at] ^= 0x01
    salvage = scanned(tmp_path / "x.ring", bytes(damaged))
    assert facts_of(salvage) == set(facts)
    assert salvage.header.writer == WRITER
    assert salvage.header.owner


def test_without_header_and_copy_the_journal_is_refused_and_left(made: Any, tmp_path: Path) -> None:
    raw, _facts, _places = made
    damaged = bytearray(raw)
    damaged[20] ^= 1
    damaged[RING_END + 30] ^= 1
    with pytest.raises(JournalError, match="header is damaged"):
        scanned(tmp_path / "x.ring", bytes(damaged))
    assert (tmp_path / "x.ring").read_bytes() == bytes(damaged)


def test_a_journal_of_another_version_is_refused_and_left(made: Any, tmp_path: Path) -> None:
    raw, _facts, _places = made
    other = bytearray(raw)
    other[8] = 2
    struct.pack_into("<I", other, 148, zlib.crc32(bytes(other[:148])))
    identity = fmt.pack_definition(fmt.KIND_IDENTITY, 1, bytes(other[:152]))
    other[RING_END : RING_END + len(identity)] = identity
    with pytest.raises(JournalError, match="of version 2"):
        scanned(tmp_path / "x.ring", bytes(other))


@pytest.mark.parametrize("size", [0, 1, 100, 4095, 4096, 4096 + RING // 2, RING_END - 8, RING_END, RING_END + 180])
def test_a_journal_that_was_cut_off_is_read_as_far_as_it_goes(made: Any, tmp_path: Path, size: int) -> None:
    raw, facts, _places = made
    try:
        salvage = scanned(tmp_path / "x.ring", raw[:size])
    except JournalError:
        assert size < 4096
        return
    assert facts_of(salvage) <= set(facts)
    whole = sum(1 for record in slow_decode(raw[4096:size]) if record.kind == fmt.KIND_LOG)
    assert sum(1 for fact in facts_of(salvage) if fact[0] == "") >= whole


def test_a_record_without_definition_is_counted_as_unreadable(made: Any, tmp_path: Path) -> None:
    raw, facts, _places = made
    damaged = bytearray(raw)
    damaged[_definition(raw, b"train/acc")] ^= 1
    salvage = scanned(tmp_path / "x.ring", bytes(damaged))
    lost = {fact for fact in facts if fact[0] == "train/acc"}
    assert salvage.unreadable == len(lost) > 0
    assert facts_of(salvage) == set(facts) - lost


@pytest.mark.parametrize("name", ["../../../escape", "/etc/passwd", "a/../../b", "nul\0", ""])
def test_a_track_of_a_strangers_journal_never_leaves_the_run(tmp_path: Path, name: str) -> None:
    header = fmt.Header(WRITER, RING, 1, 2, 3, bytes(16), True, "host")
    journal = JournalFile.create(tmp_path / "j", header, 4096)
    ring = Ring(journal, lambda size: ring.extend(size))  # noqa: PLW0108
    lane = Lane(ring, journal.define_track(name), name, 0)
    lane.put_numbers(fmt.layout_of(journal.define_names(("value",)), (1,)), (1.0,), 1)
    path = journal.path
    assert path is not None
    journal.close(remove=False)
    salvage = recovery.scan(path)
    assert salvage.blocks == {}
    assert salvage.unreadable == 1


def test_a_journal_with_unreadable_records_is_recovered_and_kept_for_a_person(made: Any, tmp_path: Path) -> None:
    raw, facts, _places = made
    damaged = bytearray(raw)
    damaged[_definition(raw, b"train/acc")] ^= 1
    path = tmp_path / "run/.journal" / f"{WRITER.hex()}.ring"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(damaged))
    report = penstock.recover(tmp_path / "run")
    assert report.recovered == 1
    assert report.unreadable == len([fact for fact in facts if fact[0] == "train/acc"])
    assert not path.exists()
    assert path.with_suffix(".unreadable").read_bytes() == bytes(damaged)
    assert penstock.recover(tmp_path / "run").recovered == 0
