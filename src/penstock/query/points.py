"""Points of one run as a reader sees them: line files of all its writers and what is still in their journals, merged.

Any thread, any process; takes no lock and writes nothing, so it never disturbs a writer. A torn last line is not a
point, a point that is in both the journal and the line file is one point (its index says so). With one writer the
place of a point is its index; with several the series is ordered by time, and places count over all of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from penstock import limits
from penstock._codec.lines import POINT_KEY, LineEncoder, PointLine, parse_point
from penstock._journal import drain, recovery
from penstock._journal import format as fmt
from penstock._store import linefile
from penstock._store.documents import read_document
from penstock._store.layout import RunFolder, line_file_suffix
from penstock.errors import JournalError, NotStoredError
from penstock.records import Point, TrackPage, TrackSummary


class Series(NamedTuple):
    """One writer's part of a track: its line file up to ``end``, and the points of its journal that are not in it
    (yet)."""

    path: Path
    end: linefile.Tail
    waiting: list[PointLine]

    @property
    def points(self) -> int:
        return linefile.count_lines(self.path, self.end.size) + self.end.complete + len(self.waiting)


def salvages(journals: Path) -> list[recovery.Salvage]:
    """What the journals in a folder hold. Journals that vanish meanwhile or cannot be read are passed over."""
    found = []
    for path in sorted(journals.glob("*.ring")) if journals.is_dir() else []:
        try:
            found.append(recovery.scan(path))
        except (OSError, JournalError):
            continue
    return found


def series(folder: RunFolder, name: str, left: Iterable[recovery.Salvage]) -> list[Series]:
    """The parts of a track, one per writer that has points of it."""
    waiting: dict[str, list[PointLine]] = {}
    for salvage in left:
        if name in salvage.blocks:
            suffix = "" if salvage.header.owner else salvage.header.writer.hex()
            waiting.setdefault(suffix, []).extend(_decoded(salvage, salvage.blocks[name]))
    parts = []
    for suffix in sorted(_suffixes(folder.track(name)) | waiting.keys()):
        path = folder.points(name, suffix)
        end = linefile.tail(path, POINT_KEY)  # after the journal was read: what it lost since is in the file
        fresh = {point.index: point for point in waiting.get(suffix, ()) if point.index > end.last}
        parts.append(Series(path, end, [fresh[index] for index in sorted(fresh)]))
    return parts


def _suffixes(track: Path) -> set[str]:
    try:
        names = [entry.name for entry in track.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {suffix for name in names if (suffix := line_file_suffix("data", name)) is not None}


def _decoded(salvage: recovery.Salvage, blocks: list[drain.Block]) -> Iterator[PointLine]:
    encoder = LineEncoder()
    for block in blocks:
        if block.kind == fmt.KIND_POINT:
            lines = encoder.points(salvage.names[block.names], block.indices, block.times, block.columns)
        else:
            lines = encoder.general(block.indices, block.times, block.columns[0])
        for line in lines.splitlines():
            point = parse_point(line)
            if point is not None:
                yield point


def _stored(part: Series) -> Iterator[PointLine]:
    last = -1
    for line in linefile.read_lines(part.path):
        point = parse_point(line)
        if point is not None and part.end.last >= point.index > last:
            last = point.index
            yield point
    yield from part.waiting


def merged(parts: list[Series]) -> Iterator[PointLine]:
    """All points of a track: one writer's in the order of its indices, several writers' by time."""
    if len(parts) == 1:
        return _stored(parts[0])
    return heapq.merge(*map(_stored, parts), key=lambda point: point.createdAt)


def page(folder: RunFolder, name: str, journals: Path, start_index: int, limit: int) -> TrackPage:
    """At most ``limit`` points from place ``start_index`` on. Raises ValueError for negative numbers."""
    if start_index < 0 or limit < 0:
        raise ValueError(f"start_index and limit must not be negative; they are {start_index} and {limit}")
    parts = series(folder, name, salvages(journals))
    rest = merged(parts)
    single = len(parts) == 1
    rest = (point for point in rest if point.index >= start_index) if single else islice(rest, start_index, None)
    chosen = list(islice(rest, limit))
    data: list[Point] = [
        {"index": point.index if single else start_index + place, "data": point.fields(), "createdAt": point.createdAt}
        for place, point in enumerate(chosen)
    ]
    return {
        "data": data, "startIndex": start_index, "endIndex": data[-1]["index"] if data else start_index - 1,
        "total": len(data), "hasMore": next(rest, None) is not None,
    }  # fmt: skip


def summary(folder: RunFolder, name: str, journals: Path) -> TrackSummary:
    """Counts, times and description of a track. Raises NotStoredError when it has neither points nor a document."""
    return _summary(folder, name, salvages(journals))


def summaries(folder: RunFolder, journals: Path) -> list[TrackSummary]:
    """The summaries of all tracks of a run, by name."""
    left = salvages(journals)
    return [_summary(folder, name, left) for name in names(folder, left)]


def names(folder: RunFolder, left: Iterable[recovery.Salvage]) -> list[str]:
    """The names of all tracks, in line files or journals, sorted; "/" nests."""
    found = {name for salvage in left for name in salvage.blocks if name}
    root = folder.tracks
    for path in root.rglob("*.jsonl") if root.is_dir() else ():
        if line_file_suffix("data", path.name) is not None:
            found.add(path.parent.relative_to(root).as_posix())
    return sorted(found)


def _summary(folder: RunFolder, name: str, left: list[recovery.Salvage]) -> TrackSummary:
    document = read_document(folder.track_document(name)) or {}
    parts = series(folder, name, left)
    if not parts and not document:
        raise NotStoredError(f"Track {name} not found")
    total, times = 0, []
    for part in parts:
        total += part.points
        times += [point.createdAt for point in _ends(part)]
    found = empty_summary(name)
    found["totalDataPoints"] = total
    found["firstDataAt"] = min(times, default=None)
    found["lastDataAt"] = max(times, default=None)
    found["description"] = document.get("description")
    found["tags"] = document.get("tags") or []
    found["metadata"] = document.get("metadata")
    found["createdAt"] = document.get("createdAt") or found["firstDataAt"]
    found["updatedAt"] = document.get("updatedAt") or found["lastDataAt"]
    return found


def _ends(part: Series) -> Iterator[PointLine]:
    """The first and the last point of a part."""
    first = next(_stored(part), None)
    if first is not None:
        yield first
        yield part.waiting[-1] if part.waiting else (_last_point(part.path) or first)


def _last_point(path: Path) -> PointLine | None:
    block = limits.TAIL_BYTES
    while True:
        lines = linefile.last_lines(path, block)
        for line in reversed(lines):
            point = parse_point(line)
            if point is not None:
                return point
        if sum(map(len, lines)) + len(lines) - 1 < block:
            return None  # that was the whole file
        block *= 4  # the last line is longer than that


def empty_summary(name: str) -> TrackSummary:
    """The summary of a track without points."""
    return {
        "trackId": f"local-track-{name}", "name": name, "description": None, "tags": [], "metadata": None,
        "totalDataPoints": 0, "firstDataAt": None, "lastDataAt": None, "createdAt": None, "updatedAt": None,
    }  # fmt: skip
