"""The C core's way from the ring to the line files: decode, encode and write in one call that does not hold the GIL.

Driven by the writer, under its turn. A track is attached while its line file is open and none of its lines waits in
memory: then its lines are written by that call; all others come back and go the usual way, as does whatever the disk
did not take. So the order of a track's lines is the order of its records. This module must not know when the writer
runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from penstock._journal import format as fmt
from penstock._journal.ring import BYTES, Position, Ring


class Row(NamedTuple):
    """What became of one track's records: written now, and left over (``lines``, refused with ``error`` if that is
    not 0)."""

    track: int
    written_points: int
    written_bytes: int
    points: int
    lines: bytes
    error: int


class FastDrain:
    """The C core's drainer for one ring. ``names`` maps the ids of field names to these."""

    def __init__(self, native: Any, ring: Ring, names: Mapping[int, tuple[str, ...]]) -> None:
        self._drainer: Final = native.Drainer()
        self._ring: Final = ring
        self._names: Final = names

    def attach(self, track: int, fd: int) -> None:
        """Write this track's lines to ``fd`` from now on."""
        self._drainer.attach(track, fd)

    def detach(self, track: int) -> None:
        """Give this track's lines back from now on."""
        self._drainer.attach(track, -1)

    def take(self, cursor: Position, head: Position, most: int) -> tuple[Position, list[Row]]:
        """Take about ``most`` bytes of records from ``cursor`` on, or fewer when these make very many bytes of lines.
        Returns where the next begin, and rows: one per track, or several where new field names came up.

        Raises ValueError when the bytes in the ring are no records, or have names that nobody defined.
        """
        (lap, at), stop = self._ring.span(cursor, head, most)
        whole = self._ring.span(cursor, head, self._ring.capacity)[1]
        rows: list[Row] = []
        while at < stop:
            mapped = self._ring.state[BYTES]
            at, cut, missing, taken = self._drainer.drain(mapped, at, stop)
            rows.extend(map(self._row, taken))
            if missing in self._names:
                self._drainer.define(missing, tuple(msgspec.json.encode(name) for name in self._names[missing]))
            elif rows:
                break  # the last record goes on behind `stop`, or this was enough: next time
            elif cut and stop < (end := at + fmt.U32.unpack_from(mapped, at)[0]) <= whole:
                stop = end  # one record larger than `most`
            elif cut or missing:
                raise ValueError(f"no record where one should start, at {(lap, at)} of {self._ring.window()}")
        return (lap, at), rows

    def _row(self, taken: tuple[int, int, int, int, bytes, int]) -> Row:
        row = Row(*taken)
        if row.lines:
            self.detach(row.track)  # what comes later must not overtake these
        return row
