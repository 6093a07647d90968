"""The values that all rooms share: what a run, a point, a log line and a receipt look like.

Structs are the shapes on disk (their field order is the key order in the files, their encoded names the exact
keys); TypedDicts and NamedTuples are what public calls return. Nothing here does I/O or reads a clock.
"""

from __future__ import annotations

import enum
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypedDict

import msgspec

Scalar: TypeAlias = float | int | bool | None | str
FieldValue: TypeAlias = Any  # a Scalar, lists and dicts of them, or anything with __float__ or __index__
Durability: TypeAlias = Literal["journal", "memory", "disabled"]
FlushLevel: TypeAlias = Literal["journal", "disk", "server"]

LEVELS: Final = ("info", "warn", "error", "debug", "fatal")
LEVEL_ALIASES: Final = {"warning": "warn"}


class Status(enum.Enum):
    """Where a run stands. The values are what session.json and the ledger hold."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    ERROR = "error"


class LogLine(msgspec.Struct, omit_defaults=True):
    """One line of logs.jsonl."""

    sequenceNumber: int
    timestamp: str
    level: str
    message: str
    metadata: dict[str, Any] | None = None


class Point(TypedDict):
    """One record of a track: its place in the series, its fields, and when it was appended (UTC, ISO 8601)."""

    index: int
    data: dict[str, Any]
    createdAt: str


class TrackPage(TypedDict):
    """A page of ``track.read()``: ``total`` counts the points on this page, as Dreamlake does."""

    data: list[Point]
    startIndex: int
    endIndex: int
    total: int
    hasMore: bool


class TrackSummary(TypedDict):
    """One row of ``track.stats()`` and ``track.list_all()``; times are UTC, ISO 8601, None while empty."""

    trackId: str
    name: str
    description: str | None
    tags: list[str]
    metadata: dict[str, Any] | None
    totalDataPoints: int
    firstDataAt: str | None
    lastDataAt: str | None
    createdAt: str | None
    updatedAt: str | None


class FileRecord(TypedDict):
    """One uploaded file, as ``files/.files_metadata.json`` keeps it. ``checksum`` is sha256 in hex."""

    id: str
    sessionId: str
    path: str
    filename: str
    description: str | None
    tags: list[str]
    contentType: str
    sizeBytes: int
    checksum: str
    metadata: dict[str, Any] | None
    uploadedAt: str
    updatedAt: str
    deletedAt: str | None


class Receipt(NamedTuple):
    """The books of a session at one moment: ``appended == written + waiting + dropped``, always.

    ``level`` is what was asked for, ``reached`` whether everything appended before the call is that durable now.
    ``written`` points are in the line files, ``synced`` of those are known to be fsynced, ``waiting`` are in the
    journal, ``dropped`` were not stored; ``reasons`` says why. Points and log lines are counted alike.
    """

    level: str
    reached: bool
    appended: int
    written: int
    synced: int
    waiting: int
    dropped: int
    reasons: dict[str, int]


class SessionStats(NamedTuple):
    """What ``session.stats()`` returns: the books (see :class:`Receipt`) and the state of the engine."""

    core: str
    durability: Durability
    writer: str
    appended: int
    written: int
    synced: int
    waiting: int
    dropped: int
    reasons: dict[str, int]
    ring_bytes: int
    ring_used_bytes: int
    tracks: int
    open_files: int
    error: str | None
