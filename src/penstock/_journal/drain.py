"""Records back to columns: what the writer and the recovery read from a journal's bytes.

Runs of records of equal size and types are taken apart column by column with strided views, so that the cost per
point is a few C-level steps and no Python loop. Pure functions over bytes. ``decode`` trusts its input (the live
ring, where everything below the head is committed); ``valid_spans`` finds what can be trusted in a dead journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from penstock._journal import format as fmt

_FIRST_PROBE: Final = 4
_SIZE_KIND_COUNT: Final = fmt.PREFIX


class Block(NamedTuple):
    """Records of one kind and one track, in order. ``columns`` holds one list per field (kind point) or, for general
    points and log lines, one list of payloads."""

    kind: int
    track: int
    names: int
    indices: list[int]
    times: list[int]
    columns: list[list[Any]]


def decode(data: bytes) -> tuple[int, list[Block]]:
    """Blocks of all whole records at the start of ``data``, and how many bytes these take.

    ``data`` starts at a record and may end in the middle of one. Each track's records keep their order.
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
    rows: dict[int, list[int]] = {}
    for row, key in enumerate(keys):
        if key in rows:
            rows[key].append(row)
        else:
            rows[key] = [row]
    for key, chosen in rows.items():
        yield Block(
            fmt.KIND_POINT, key & 0xFFFFFFFF, key >> 32, _pick(indices, chosen), _pick(times, chosen),
            [_pick(column, chosen) for column in columns],
        )  # fmt: skip


def _pick(column: Sequence[Any], rows: list[int]) -> list[Any]:
    return [column[row] for row in rows]


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
