"""Records back to columns: what the writer and the recovery read from a journal's bytes.

Runs of records of equal size and types are taken apart column by column with strided views, so that the cost per
point is a few C-level steps and no Python loop. Pure functions over bytes. ``decode`` trusts its input (the live
ring, where everything below the head is committed); ``valid_spans`` finds what can be trusted in a dead journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from penstock._journal import format as fmt

_FIRST_PROBE: Final = 4
_SIZE_KIND_COUNT: Final = fmt.PREFIX


class Block(NamedTuple):
    """Records of one kind and one set of field names, in order.

    ``columns`` holds one list per field (kind point) or, for general points and log lines, one list of payloads. When
    ``tracks`` is empty all records are of ``track``; otherwise it has the track of each of them.
    """

    kind: int
    track: int
    names: int
    indices: list[int]
    times: list[int]
    columns: list[list[Any]]
    tracks: list[int] = []  # noqa: RUF012 - never changed


def decode(data: bytes) -> tuple[int, list[Block]]:
    """As ``runs``, with the tracks taken apart: each block is of one track, whose records keep their order."""
    used, blocks = runs(data)
    return used, [one for block in blocks for one in _apart(block)]


def runs(data: bytes) -> tuple[int, list[Block]]:
    """Blocks of all whole records at the start of ``data``, and how many bytes these take.

    ``data`` starts at a record and may end in the middle of one. The records keep their order; one block may hold
    records of several tracks.
    """
    words = memoryview(data[: len(data) & ~7]).cast("Q")
    blocks: list[Block] = []
    at = 0
    end = len(words) * 8
    while at + fmt.FIXED_BYTES <= end:
        size, kind, _count, mark, track, extra, types = fmt.PREFIX.unpack_from(data, at)
        if mark != fmt.MARK or size < fmt.FIXED_BYTES or at + size > end:
            break
        if kind != fmt.KIND_POINT:
            payload = data[at + fmt.FIXED_BYTES : at + fmt.FIXED_BYTES + extra]
            index, time = words[at // 8 + 3], fmt.I64.unpack_from(data, at + 32)[0]
            blocks.append(Block(kind, track, 0, [index], [time], [[payload]]))
            at += size
            continue
        run = _run_length(words, at // 8, size // 8, (end - at) // size, types)
        stop = at + run * size
        blocks.extend(_split(data[at:stop], size, types))
        at = stop
    return at, blocks


def _run_length(words: memoryview, at: int, step: int, most: int, types: int) -> int:
    """How many records from word ``at`` on have the same first word (size, kind, count) and types. Probes ever
    further, so that short runs stay cheap."""
    first = words[at]
    run = 1
    probe = _FIRST_PROBE
    while run < most:
        till = min(most, run + probe)
        heads = words[at + run * step : at + till * step : step].tolist()
        codes = words[at + run * step + 2 : at + till * step : step].tolist()
        same = till - run
        if heads.count(first) != same or codes.count(types) != same:
            for head, code in zip(heads, codes, strict=False):
                if head != first or code != types:
                    return run
                run += 1
            return run
        run = till
        probe *= 4
    return run


def _split(run: bytes, size: int, types: int) -> Iterator[Block]:
    """The columns of a run, one block per track and set of field names."""
    step = size // 8
    words = memoryview(run).cast("Q")
    keys = words[1::step].tolist()
    indices = words[3::step].tolist()
    times = memoryview(run).cast("q")[4::step].tolist()
    columns = [_column(run, words, step, place, code) for place, code in enumerate(_codes(types))]
    first = keys[0]
    if keys.count(first) == len(keys):
        yield Block(fmt.KIND_POINT, first & 0xFFFFFFFF, first >> 32, indices, times, columns)
        return
    together = Block(fmt.KIND_POINT, 0, 0, indices, times, columns, [key & 0xFFFFFFFF for key in keys])
    names = [key >> 32 for key in keys]
    if names.count(names[0]) == len(names):
        yield together._replace(names=names[0])
        return
    if len(set(keys)) == len(set(together.tracks)):
        for number, rows in _rows_of(names).items():
            yield _pick(together, rows)._replace(names=number)
        return
    for key, rows in _lots_of(keys):
        yield _pick(together, rows)._replace(track=key & 0xFFFFFFFF, names=key >> 32, tracks=[])


def _apart(block: Block) -> Iterator[Block]:
    """One block per track."""
    if not block.tracks:
        yield block
        return
    for track, rows in _rows_of(block.tracks).items():
        yield _pick(block, rows)._replace(track=track, tracks=[])


def _rows_of(keys: list[int]) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for row, key in enumerate(keys):
        if key in rows:
            rows[key].append(row)
        else:
            rows[key] = [row]
    return rows


def _lots_of(keys: list[int]) -> list[tuple[int, list[int]]]:
    """Rows per key (track and field names) where some track's names change: it gets several lots, in the order of its
    records, since its lines must not overtake each other."""
    lots: list[tuple[int, list[int]]] = []
    latest: dict[int, tuple[int, list[int]]] = {}
    for row, key in enumerate(keys):
        lot = latest.get(key & 0xFFFFFFFF)
        if lot is None or lot[0] != key:
            lot = latest[key & 0xFFFFFFFF] = (key, [])
            lots.append(lot)
        lot[1].append(row)
    return lots


def _pick(block: Block, rows: list[int]) -> Block:
    """The block with only these rows."""
    indices, times, tracks = block.indices, block.times, block.tracks
    return block._replace(
        indices=[indices[row] for row in rows],
        times=[times[row] for row in rows],
        columns=[[column[row] for row in rows] for column in block.columns],
        tracks=[tracks[row] for row in rows] if tracks else tracks,
    )


def _codes(types: int) -> list[int]:
    codes = []
    while types:
        codes.append(types & 15)
        types >>= 4
    return codes


def _column(run: bytes, words: memoryview, step: int, place: int, code: int) -> list[Any]:
    at = 5 + place
    if code == fmt.FLOAT:
        return memoryview(run).cast("d")[at::step].tolist()
    if code == fmt.INT:
        return memoryview(run).cast("q")[at::step].tolist()
    raw = words[at::step].tolist()
    return [bool(value) for value in raw] if code == fmt.BOOL else [None] * len(raw)


def valid_spans(data: bytes, start: int, end: int) -> Iterator[bytes]:
    """The valid records between ``start`` and ``end``, neighbours together, whatever lies between them."""
    view = memoryview(data)[:end]
    at = fmt.skip_zeros(data, start)
    span = at
    while at < end:
        size = fmt.valid_size(view, at, end)
        if size:
            at += size
            continue
        if at > span:
            yield data[span:at]
        at = span = fmt.skip_zeros(data, at + 8)
    if span < at <= end:
        yield data[span:at]
