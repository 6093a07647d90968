"""JSON lines: from columns that the drain took out of the ring to the bytes of a line file, and back.

One encoder per writer; it keeps a Struct type per set of field names, because msgspec encodes those fastest. Non-finite
floats are written as the strings "NaN", "Infinity" and "-Infinity" (msgspec alone would write null). Reading is
tolerant: a line that does not parse is not a line. This module must not know files, tracks, or when to write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from penstock._codec.times import iso_column
from penstock._codec.values import from_stored, to_stored
from penstock.records import LogLine

POINT_KEY: Final = "index"
LOG_KEY: Final = "sequenceNumber"
_LAST_PLACE: Final = 2**64 - 2**32  # records count in 64 bits: a foreign line that says more is none of ours
T = TypeVar("T")


class _PointOut(msgspec.Struct, gc=False):
    index: int
    data: Any
    createdAt: str


class PointLine(msgspec.Struct, gc=False):
    """One line of data.jsonl as it is read; ``data`` still holds non-finite floats as text (see ``fields``)."""

    index: int
    data: dict[str, Any]
    createdAt: str = ""

    def fields(self) -> dict[str, Any]:
        restored: dict[str, Any] = from_stored(self.data)
        return restored


class _IndexOnly(msgspec.Struct, gc=False):
    index: int


class _SequenceOnly(msgspec.Struct, gc=False):
    sequenceNumber: int


class LineEncoder:
    """Encodes blocks of points and log payloads. Not thread-safe: one per writer."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()
        self._payload = msgspec.json.Decoder(dict[str, Any])
        self._structs: dict[tuple[str, ...], Callable[..., Any]] = {}

    def points(
        self, names: tuple[str, ...], indices: Sequence[int], times: Sequence[int], columns: Sequence[Sequence[Any]]
    ) -> bytes:
        """Lines of points whose fields are numbers, bools or None: one column per name, all of equal length."""
        make = self._structs.get(names) or self._define(names)
        stored = [_storable(column) for column in columns]
        lines = map(_PointOut, indices, map(make, *stored), iso_column(times))
        return self._encoder.encode_lines(list(lines))

    def general(self, indices: Sequence[int], times: Sequence[int], payloads: Sequence[bytes]) -> bytes:
        """Lines of general points; a payload is the JSON text of ``data``, already checked when it was appended."""
        lines = map(_PointOut, indices, map(msgspec.Raw, payloads), iso_column(times))
        return self._encoder.encode_lines(list(lines))

    def logs(self, indices: Sequence[int], times: Sequence[int], payloads: Sequence[bytes]) -> bytes:
        """Lines of the log; a payload is a JSON object with level, message and perhaps metadata."""
        decode = self._payload.decode
        lines = [
            LogLine(index, time, **decode(payload))
            for index, time, payload in zip(indices, iso_column(times), payloads, strict=True)
        ]
        return self._encoder.encode_lines(lines)

    def _define(self, names: tuple[str, ...]) -> Callable[..., Any]:
        if len(self._structs) >= 1024:  # a program that makes up field names must not grow this for ever
            self._structs.clear()
        fields = [(f"f{place}", Any) for place in range(len(names))]
        rename = {f"f{place}": name for place, name in enumerate(names)}
        made: Callable[..., Any]
        try:
            made = msgspec.defstruct("Fields", fields, rename=rename, gc=False)
        except ValueError:  # a name with a quote, a backslash or a control character: only dicts escape those
            made = partial(_as_dict, names)
        self._structs[names] = made
        return made


def _as_dict(names: tuple[str, ...], *values: Any) -> dict[str, Any]:
    return dict(zip(names, values, strict=True))


def _storable(column: Sequence[Any]) -> Sequence[Any]:
    """The column with non-finite floats replaced by their text. Finite columns, nearly all, cost one sum."""
    if type(column[0]) is float:
        total = sum(column)
        if total - total != 0.0:  # NaN or infinite: one of them is not finite (or the sum overflowed)
            return [to_stored(value) for value in column]
    return column


def encode_fields(data: dict[str, Any]) -> bytes:
    """The payload of a general point: ``data`` holds plain values (see ``_codec.values.plain``)."""
    return msgspec.json.encode(to_stored(data))


def encode_log(level: str, message: str, metadata: dict[str, Any] | None) -> bytes:
    """The payload of a log line."""
    fields: dict[str, Any] = {"level": level, "message": message}
    if metadata:
        fields["metadata"] = to_stored(metadata)
    return msgspec.json.encode(fields)


_point_decoder: Final = msgspec.json.Decoder(PointLine)
_log_decoder: Final = msgspec.json.Decoder(LogLine)
_index_decoder: Final = msgspec.json.Decoder(_IndexOnly)
_sequence_decoder: Final = msgspec.json.Decoder(_SequenceOnly)


def parse_point(line: bytes) -> PointLine | None:
    """A line of data.jsonl, or None when it is none (torn, foreign, not UTF-8)."""
    return _tolerant(_point_decoder.decode, line)


def parse_log(line: bytes) -> LogLine | None:
    """A line of logs.jsonl, or None when it is none."""
    return _tolerant(_log_decoder.decode, line)


def parse_place(key: str, line: bytes) -> int | None:
    """The index (``key`` "index") or sequence number (``key`` "sequenceNumber") of a line, or None when it is no
    line."""
    if key == POINT_KEY:
        place = _tolerant(_index_decoder.decode, line)
        return None if place is None else _counted(place.index)
    number = _tolerant(_sequence_decoder.decode, line)
    return None if number is None else _counted(number.sequenceNumber)


def _counted(place: int) -> int | None:
    return place if 0 <= place <= _LAST_PLACE else None


def _tolerant(decode: Callable[[bytes], T], line: bytes) -> T | None:
    try:
        return decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
