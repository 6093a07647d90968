"""Makes the golden run beside this file: ``python -m tests.conformance.golden <folder>``. Run once per version of the
formats, never again.

The run is what a kill leaves: line files with a torn last line, and the journals of two writers. Writer ids, process
ids and times are fixed, so the bytes are the same whenever the script runs; what the run holds is in expected.json,
written here from the script's own list.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from penstock._codec.lines import encode_fields, encode_log
from penstock._journal import format as fmt
from penstock._journal.file import JournalFile
from penstock._journal.lane import Lane
from penstock._journal.ring import Ring

T0 = 1_772_366_400_000_000_000  # 2026-03-01T12:00:00Z
OWNER = bytes.fromhex("00112233445566778899aabbccddeeff")
SECOND = bytes.fromhex("ffeeddccbbaa99887766554433221100")
CODES = {float: 1, int: 2, bool: 3, type(None): 4}

Row = tuple[str, dict[str, Any]]  # track ("" for the log), fields


def rows(writer: bytes) -> list[Row]:
    """What one writer appended, in order."""
    found: list[Row] = []
    for place in range(40):
        found.append(("train/loss", {"value": place / 3, "step": place}))
        if place % 8 == 0:
            found.append(("", {"level": "warn", "message": f"line {place} ä", "metadata": {"nan": math.nan}}))
    found += [
        ("special", {"value": value})
        for value in (
            -0.0,
            5e-324,
            1.7976931348623157e308,
            math.nan,
            math.inf,
            -math.inf,
            2**63 - 1,
            -(2**63),
            True,
            False,
            None,
        )
    ]
    found += [
        ("special", {"text": 'ä\n"\\', "list": [1, {"a": math.inf}]}),
        ("special", {f"f{n}": n for n in range(17)}),
    ]
    found += [
        ("special", {'q"uote': 1.0, "back\\slash": 2, "": None}),
        ("special", {f"g{n}": float(n) for n in range(16)}),
    ]
    return found if writer == OWNER else [("train/loss", {"value": -1.0, "step": place}) for place in range(5)]


def journal(folder: Path, writer: bytes) -> None:
    """The journal of a writer that died; the owner's ring has wrapped, and its first records are released."""
    header = fmt.Header(writer, 8192, 4711, 12345, T0, bytes(range(16)), writer == OWNER, "golden-host")
    made = JournalFile.create(folder, header, 4096)
    ring = Ring(made, lambda size: ring.extend(size))  # noqa: PLW0108
    lanes: dict[str, Lane] = {"": Lane(ring, 0, "", 0)}
    names: dict[tuple[str, ...], int] = {}
    for place, (track, fields) in enumerate(filler(writer) + rows(writer)):
        if place == len(filler(writer)):
            ring.release(ring.window().head)
        if track not in lanes:
            lanes[track] = Lane(ring, made.define_track(track), track, 0)
        index = put(made, lanes[track], fields, names, T0 + place * 1_000_000)
        assert index >= 0, "the ring must hold everything"
    made.beat(T0, ring.total(ring.window().head), ring.total(ring.window().tail), 0)
    made.close(remove=False)


def filler(writer: bytes) -> list[Row]:
    """Points that are in the line file already and were released from the ring."""
    return [("train/loss", {"value": -float(place), "step": place}) for place in range(60)] if writer == OWNER else []


def put(made: JournalFile, lane: Lane, fields: dict[str, Any], names: dict[tuple[str, ...], int], at_ns: int) -> int:
    if not lane.track:
        return lane.put_payload(fmt.KIND_LOG, encode_log(**fields), at_ns)
    values = tuple(fields.values())
    if len(values) > 16 or any(type(value) not in CODES for value in values):
        return lane.put_payload(fmt.KIND_GENERAL, encode_fields(fields), at_ns)
    key = tuple(fields)
    if key not in names:
        names[key] = made.define_names(key)
    layout = fmt.layout_of(names[key], tuple(CODES[type(value)] for value in values))
    return lane.put_numbers(layout, values, at_ns)


def stored(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [stored(element) for element in value]
    if isinstance(value, dict):
        return {key: stored(element) for key, element in value.items()}
    return value


def expected() -> dict[str, Any]:
    """The data of every line file after recovery, by its path below the run."""
    found: dict[str, list[Any]] = {}
    for writer in (OWNER, SECOND):
        suffix = "" if writer == OWNER else f".{writer.hex()}"
        for track, fields in filler(writer) + rows(writer):
            name = f"tracks/{track}/data{suffix}.jsonl" if track else f"logs/logs{suffix}.jsonl"
            found.setdefault(name, []).append(stored(fields))
    return found


def make(run: Path) -> None:
    run.mkdir(parents=True)
    for writer in (OWNER, SECOND):
        journal(run / ".journal", writer)
    lines = [
        {"index": place, "data": fields, "createdAt": "2026-03-01T12:00:00.000000Z"}
        for place, (_track, fields) in enumerate(
            (filler(OWNER) + [r for r in rows(OWNER) if r[0] == "train/loss"])[:63]
        )
    ]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (run / "tracks/train/loss").mkdir(parents=True)
    (run / "tracks/train/loss/data.jsonl").write_text(text + '{"index":63,"data":{"value":1.0')
    document = {
        "name": "run", "workspace": "golden", "description": None, "tags": ["golden"], "folder": None, "metadata": None,
        "created_at": "2026-03-01T12:00:00.000000Z", "write_protected": False, "status": "running",
    }  # fmt: skip
    (run / "session.json").write_text(json.dumps(document, indent=2) + "\n")
    (run.parent / "expected.json").write_text(json.dumps(expected(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]) / "run")
