"""Points grouped by track between the drain and the disk: decisions only, no I/O, no clock (time is an argument).

Encoded lines wait here per track until there are enough of them or the oldest has waited long enough; then they are
written, one write per track. Owned by whoever holds the writer's turn. Invariant: ``bytes`` is the sum over the chunks.
This module must not know files, rings, or what the lines say.
"""

from __future__ import annotations

from collections.abc import Iterator


class Chunk:
    """Lines of one track, encoded, in order; ``points`` counts those not yet wholly given to the disk."""

    __slots__ = ("parts", "points", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.points = 0
        self.size = 0

    def take(self) -> bytes:
        """All lines as one piece; they stay in the chunk until ``written``."""
        if len(self.parts) > 1:
            self.parts = [b"".join(self.parts)]
        return self.parts[0] if self.parts else b""

    def written(self, count: int) -> int:
        """The disk took the first ``count`` bytes: keep the rest. Returns how many points are now wholly written."""
        piece = self.take()
        done = self.points if count == len(piece) else piece[:count].count(b"\n")
        self.parts = [piece[count:]] if count < len(piece) else []
        self.size -= count
        self.points -= done
        return done


class Coalescer:
    """The chunks of all tracks ("" is the log)."""

    def __init__(self, *, chunk_bytes: int, pending_bytes: int, interval_s: float) -> None:
        self._chunk_bytes = chunk_bytes
        self._pending_bytes = pending_bytes
        self._interval_s = interval_s
        self.chunks: dict[str, Chunk] = {}
        self.bytes = 0
        self.points = 0
        self._since: float | None = None

    def add(self, name: str, lines: bytes, points: int, now_s: float) -> bool:
        """Add lines; True when the track's chunk is full and wants to be written by itself."""
        chunk = self.chunks.get(name)
        if chunk is None:
            chunk = self.chunks[name] = Chunk()
        chunk.parts.append(lines)
        chunk.points += points
        chunk.size += len(lines)
        self.bytes += len(lines)
        self.points += points
        if self._since is None:
            self._since = now_s
        return chunk.size >= self._chunk_bytes

    def spread(self, names: list[str], lines: list[bytes], now_s: float) -> None:
        """Add one line to each of these tracks: points of many tracks that were encoded together."""
        chunks = self.chunks
        for name, line in zip(names, lines, strict=True):
            chunk = chunks.get(name)
            if chunk is None:
                chunk = chunks[name] = Chunk()
            chunk.parts.append(line)
            chunk.points += 1
            chunk.size += len(line)
        self.bytes += sum(map(len, lines))
        self.points += len(lines)
        if self._since is None:
            self._since = now_s

    def full(self) -> bool:
        """Whether no more may wait in memory."""
        return self.bytes >= self._pending_bytes

    def due(self, now_s: float) -> bool:
        """Whether the oldest line has waited long enough."""
        return self._since is not None and now_s - self._since >= self._interval_s

    def waiting(self) -> Iterator[tuple[str, Chunk]]:
        """The chunks that hold lines, in the order in which their tracks first came."""
        return iter(list(self.chunks.items()))

    def written(self, name: str, count: int) -> int:
        """The disk took ``count`` bytes of the track's chunk. Returns the number of points that are written by that."""
        chunk = self.chunks[name]
        done = chunk.written(count)
        self.bytes -= count
        self.points -= done
        if not chunk.size:
            del self.chunks[name]
        if not self.chunks:
            self._since = None
        return done
