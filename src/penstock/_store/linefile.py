"""Line files at rest: find the end of one, mend a torn one, read one that may still grow.

A line file is append-only and has one writer at a time. A process that dies in the middle of a write leaves its last
line torn: ``repair`` cuts that off (or adds the newline when only that is missing), ``read_lines`` passes over it.
Neither touches whole lines, even those that do not parse. Any thread; only ``repair`` writes, and only the file's
owner calls it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from penstock import limits
from penstock._codec.lines import parse_place


class Tail(NamedTuple):
    """The end of a line file: ``size`` of its whole lines in bytes, the place (index or sequence number) of the last
    line that parses (-1: none), and what is torn behind it. ``complete`` says that a torn line lacks only its
    newline."""

    size: int
    last: int
    torn: bytes
    complete: bool


def tail(path: Path, key: str) -> Tail:
    """Look at the end of a line file. A missing file is an empty one. Reads as little as it can, from the end."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return Tail(0, -1, b"", False)
    except OSError:  # a process without a free descriptor must still be able to begin a new file
        try:
            os.stat(path)
        except FileNotFoundError:
            return Tail(0, -1, b"", False)
        raise
    try:
        return _tail_of(fd, key)
    finally:
        os.close(fd)


def _tail_of(fd: int, key: str) -> Tail:
    size = os.fstat(fd).st_size
    held = b""
    start = size
    torn: bytes | None = None
    whole = size
    while start > 0:
        step = min(limits.TAIL_BYTES, start)
        start -= step
        held = os.pread(fd, step, start) + held
        if torn is None:
            cut = held.rfind(b"\n")
            if cut < 0:
                continue
            torn, held = held[cut + 1 :], held[: cut + 1]
            whole = size - len(torn)
            place = parse_place(key, torn) if torn else None
            if place is not None:
                return Tail(whole, place, torn, True)
        first = held.find(b"\n") + 1 if start else 0  # what stands before it may be half a line
        for line in reversed(held[first:].split(b"\n")):
            place = parse_place(key, line) if line else None
            if place is not None:
                return Tail(whole, place, torn, False)
        held = held[:first]
    if torn is None:  # no newline in the whole file
        place = parse_place(key, held) if held else None
        return Tail(0, -1 if place is None else place, held, place is not None)
    return Tail(whole, -1, torn, False)


def repair(path: Path, key: str) -> int:
    """Make the file end in a whole line, and return the place of its last one (-1: none). Raises OSError."""
    end = tail(path, key)
    if end.torn:
        fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        try:
            if end.complete:
                os.pwrite(fd, b"\n", end.size + len(end.torn))
            else:
                os.ftruncate(fd, end.size)
        finally:
            os.close(fd)
    return end.last


def read_lines(path: Path, start: int = 0) -> Iterator[bytes]:
    """The lines from byte ``start`` on, without their newlines; a last line without one is given too (it may be torn,
    or lack only its newline: parse it). A missing file has no lines."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        stream.seek(start)
        rest = b""
        while block := stream.read(limits.COPY_BYTES):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            yield from lines
        if rest:
            yield rest


def count_lines(path: Path, size: int) -> int:
    """How many whole lines the first ``size`` bytes of the file have. A missing file has none."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return 0
    lines = 0
    with stream:
        while size > 0 and (block := stream.read(min(size, limits.COPY_BYTES))):
            lines += block.count(b"\n")
            size -= len(block)
    return lines


def last_lines(path: Path, block: int = limits.TAIL_BYTES) -> list[bytes]:
    """The lines in the last ``block`` bytes of the file, the first of them perhaps cut. A missing file has none."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return []
    with stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - block))
        return stream.read().split(b"\n")
