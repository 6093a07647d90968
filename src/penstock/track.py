"""A track: one named series of a session, and the handle that training loops append to.

Threads: any thread may append to one handle, also in signal handlers; reading flushes first, on the caller's thread.
``Track.append`` is the general way (it converts and checks); after its first use the handle carries a compiled append
for the same field names and types, which takes everything else back here. This module must not know files, rings'
bytes, or how points travel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from penstock import limits
from penstock._engine.intake import DROPPED, Intake, Shape
from penstock._journal.lane import MISSING, Lane
from penstock._journal.native import native
from penstock.errors import FieldTypeError
from penstock.query import points
from penstock.records import FieldValue, TrackPage, TrackSummary

if TYPE_CHECKING:
    from penstock.session import Session


class Track:
    """Handle of one track. Get it once with ``session.track(name)`` and keep it; it is cheap to get again, too."""

    def __init__(self, session: Session, name: str) -> None:
        self.name: Final = name
        self._session = session
        self._where: Final = f"track {name!r}"
        self._lane: Lane | None = None
        self._compiled: Shape | None = None
        self._missed: Shape | None = None

    def __repr__(self) -> str:
        return f"<Track {self.name!r} of {self._session!r}>"

    # -- appending ------------------------------------------------------------------------------------------------

    def append(self, value: FieldValue = MISSING, /, **fields: FieldValue) -> None:
        """Append one point: any fields, each a float, int (64 bit), bool, None, str, a numpy or torch scalar, or
        lists and dicts of these. ``append(0.5, step=1)`` is ``append(value=0.5, step=1)``.

        When it returns, the point survives any death of the process. Raises FieldTypeError or FieldValueError
        (nothing is stored then), ClosedError after close, WriteProtectedError, and RingFullError only with
        on_full="raise". Never raises because of the disk or the network."""
        if value is not MISSING:
            if "value" in fields:
                raise TypeError(f"{self._where}: value was given twice, once by position and once by name")
            fields = {"value": value, **fields}
        self._append(fields)

    def _append(self, fields: dict[str, Any], at_ns: int = 0) -> int:
        """The general way. Returns the point's index, or DROPPED."""
        lane, intake = self._ready()
        shape, values = intake.convert(self._where, fields)
        index = intake.put_point(lane, shape, values, at_ns)
        if shape is not None and shape != self._compiled:
            # At the first use, and when a new shape comes twice in a row: not for a track whose types alternate.
            if self._compiled is None or shape == self._missed:
                self._compile(lane, intake, shape)
            self._missed = shape
        return index

    def _compile(self, lane: Lane, intake: Intake, shape: Shape) -> None:
        self._compiled = shape
        if "append" in self.__dict__ and native is not None:
            return  # the C core's append takes every shape
        compiled = lane.native(intake.names_id, self._append) or lane.compiled(
            intake.layout(shape), *shape, self._append
        )
        if compiled is not None:
            self.__dict__["append"] = compiled

    def _ready(self) -> tuple[Lane, Intake]:
        """The lane and the intake of the open session. Raises ClosedError and WriteProtectedError."""
        if not self.name:
            raise TypeError(
                "track() without a name can only list_all(); name the track to append: session.track('loss')"
            )
        engine = self._session._engine_for(self)
        lane = self._lane
        if lane is None:
            lane = self._lane = engine.lane(self.name)
        return lane, engine.intake

    def extend(self, points: Iterable[Mapping[str, FieldValue]]) -> int:
        """Append many points, each a mapping of fields; all are checked before the first is stored.

        Returns how many were stored (all, unless a full ring dropped some). Raises as ``append`` does, and ValueError
        for an empty batch."""
        lane, intake = self._ready()
        converted = [intake.convert(f"{self._where}, point {place}", _fields(self._where, point))
                     for place, point in enumerate(points)]  # fmt: skip
        if not converted:
            raise ValueError("data_points cannot be empty")
        stored = 0
        for shape, values in converted:
            stored += intake.put_point(lane, shape, values) != DROPPED
        return stored

    append_batch = extend

    def append_columns(self, **columns: Sequence[FieldValue] | Any) -> int:
        """Append many points given as columns: one array, list or tuple per field, all of the same length.

        numpy arrays (1-d, of bool, int or float) and torch tensors are taken as they are. Returns how many points were
        stored. Raises ValueError for unequal lengths or empty columns, else as ``append``.
        """
        if not columns:
            raise TypeError(f"{self._where}: append_columns needs at least one column, for example value=[...]")
        lists = {name: _column(self._where, name, column) for name, column in columns.items()}
        lengths = {name: len(column) for name, column in lists.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{self._where}: columns must have equal lengths, these have {lengths}")
        names = tuple(lists)
        rows: Iterable[tuple[Any, ...]] = zip(*lists.values(), strict=True)
        return self.extend(dict(zip(names, row, strict=True)) for row in rows)

    async def aappend(self, value: FieldValue = MISSING, /, **fields: FieldValue) -> None:
        """As ``append``; awaits room in a full ring instead of blocking the event loop (asyncio or trio)."""
        await self._session._await_room()
        if value is MISSING:
            self.append(**fields)
        else:
            self.append(value, **fields)

    async def aextend(self, points: Iterable[Mapping[str, FieldValue]]) -> int:
        """As ``extend``, in portions, awaiting room before each."""
        await self._session._await_room()
        return self.extend(points)

    # -- reading --------------------------------------------------------------------------------------------------

    def read(self, start_index: int = 0, limit: int = limits.READ_POINTS) -> TrackPage:
        """A page of the series, in order of time over all writers: at most ``limit`` points from place
        ``start_index`` on.

        Sees every point appended before the call, by this process or another. A missing track is an empty page.
        """
        folder, journals = self._session._readable()
        return points.page(folder, self.name, journals, start_index, limit)

    def stats(self) -> TrackSummary:
        """Counts, times and description of the track. Raises NotStoredError (a FileNotFoundError) when it has no
        points."""
        folder, journals = self._session._readable()
        return points.summary(folder, self.name, journals)

    def list_all(self) -> list[TrackSummary]:
        """The summaries of all tracks of the session, by name."""
        return self._session.tracks()


class NullTrack(Track):
    """The track of a session with mode="disabled": accepts every call, stores nothing."""

    def append(self, value: FieldValue = MISSING, /, **fields: FieldValue) -> None:
        """Accept the point and forget it."""

    def extend(self, points: Iterable[Mapping[str, FieldValue]]) -> int:  # noqa: ARG002
        """Accept the points and forget them."""
        return 0

    append_batch = extend

    def append_columns(self, **columns: Sequence[FieldValue] | Any) -> int:  # noqa: ARG002
        """Accept the columns and forget them."""
        return 0

    async def aappend(self, value: FieldValue = MISSING, /, **fields: FieldValue) -> None:
        """Accept the point and forget it."""

    async def aextend(self, points: Iterable[Mapping[str, FieldValue]]) -> int:  # noqa: ARG002
        """Accept the points and forget them."""
        return 0

    def read(self, start_index: int = 0, limit: int = limits.READ_POINTS) -> TrackPage:  # noqa: ARG002
        """An empty page."""
        return {"data": [], "startIndex": start_index, "endIndex": start_index - 1, "total": 0, "hasMore": False}

    def stats(self) -> TrackSummary:
        """Counts of nothing."""
        return points.empty_summary(self.name)


def _fields(where: str, point: Mapping[str, FieldValue]) -> dict[str, Any]:
    if not isinstance(point, Mapping):
        raise FieldTypeError(where, "*", type(point).__name__, "; a point is a mapping of field names to values")
    return dict(point)


def _column(where: str, name: str, column: Any) -> Sequence[Any]:
    shape = getattr(column, "shape", None)
    if shape is not None and len(shape) != 1:
        raise ValueError(f"{where}: column {name!r} has shape {tuple(shape)}; a column has one dimension")
    if hasattr(column, "tolist"):  # numpy, torch, array.array: exact Python numbers in one call
        listed: list[Any] = column.tolist()
        return listed
    if isinstance(column, str | bytes | Mapping):
        raise FieldTypeError(where, name, type(column).__name__, "; a column is an array, a list or a tuple")
    try:
        return list(column)
    except TypeError:
        raise FieldTypeError(where, name, type(column).__name__, "; a column is an array, a list or a tuple") from None
