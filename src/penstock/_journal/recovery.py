"""What a journal still holds: read-only, for whoever finds one (the next session, readers, the recover command).

Any thread, any process. Nothing is changed on disk and no lock is taken here; ``docs/format/journal.md`` has the
rules. Salvage: every valid record counts, wherever it lies; a record whose names are not defined is counted as
unreadable. A record states a fact (point number i of this track has these values), so equal indices are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from penstock._journal import drain
from penstock._journal import format as fmt
from penstock._store.names import check_name
from penstock.errors import JournalError, NameRefusedError

LOG_TRACK = 0


class Salvage(NamedTuple):
    """What was found in one journal.

    ``blocks`` maps a track's name ("" for the log) to its records, in the order of
    their indices, no index twice. ``names`` are the field names that blocks refer to. ``unreadable`` counts valid
    records without a definition.
    """

    path: Path
    header: fmt.Header
    blocks: dict[str, list[drain.Block]]
    names: dict[int, tuple[str, ...]]
    unreadable: int

    def records(self) -> int:
        return sum(len(block.indices) for blocks in self.blocks.values() for block in blocks)


def scan(path: Path) -> Salvage:
    """Read the journal at ``path``. Raises JournalError for no journal, another version, or one whose header and its
    copy are both damaged; OSError as open() does."""
    data = path.read_bytes()
    try:
        header = fmt.parse_header(data, path)
        definitions = fmt.parse_definitions(data[fmt.HEADER_BYTES + header.ring_bytes :])
    except JournalError:  # damaged, unless the copy of the header says that this is another version, or no journal
        definitions = fmt.parse_definitions(data[fmt.HEADER_BYTES :])
        if definitions.identity is None:
            raise
        header = definitions.identity
    tracks = {number: name for number, name in definitions.tracks.items() if _is_track(name)}
    ring_end = min(len(data), fmt.HEADER_BYTES + header.ring_bytes)
    found: dict[str, list[drain.Block]] = {}
    unreadable = 0
    for block in _blocks(data, ring_end):
        name = "" if block.kind == fmt.KIND_LOG else tracks.get(block.track)
        if name is None or (block.kind == fmt.KIND_POINT and block.names not in definitions.names):
            unreadable += len(block.indices)
            continue
        found.setdefault(name, []).append(block)
    return Salvage(
        path, header, {name: _in_order(blocks) for name, blocks in found.items()}, definitions.names, unreadable
    )


def _is_track(name: str) -> bool:
    """Whether the name may become a folder of the run: a journal may come from a stranger."""
    try:
        return bool(check_name("track", name))
    except NameRefusedError:
        return False


def _blocks(data: bytes, ring_end: int) -> Iterator[drain.Block]:
    for span in drain.valid_spans(data, fmt.HEADER_BYTES, ring_end):
        yield from drain.decode(span)[1]


def _in_order(blocks: list[drain.Block]) -> list[drain.Block]:
    """One block per run of ascending indices, each index once. A wrapped ring has at most two runs per track and
    layout, but blocks of different layouts interleave: then the records are taken apart and put in order one by
    one."""
    blocks = sorted(blocks, key=lambda block: block.indices[0])
    last = -1
    for block in blocks:
        if block.indices[0] <= last or block.indices != sorted(set(block.indices)):
            break
        last = block.indices[-1]
    else:
        return blocks
    single: dict[int, drain.Block] = {}
    for block in blocks:
        for row, index in enumerate(block.indices):
            columns = [[column[row]] for column in block.columns]
            single.setdefault(index, block._replace(indices=[index], times=[block.times[row]], columns=columns))
    return [single[index] for index in sorted(single)]
