"""How fast points become durable lines, what that costs in CPU and memory, and how far below the ceiling it is.

The ceiling is one thread that builds the same records, encodes them with msgspec in blocks of 1,000 and writes them,
with one fsync at its end: no method call per point, no journal, no other thread. Runs are taken in turn.
"""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import child
from bench.report import Part, Plan, Table, number

BLOCK: Final = 1000
KINDS: Final = {
    "penstock": "penstock, open run to closed, durable run",
    "ceiling_block": "JSONL ceiling (a): createdAt once per 1,000",
    "ceiling_point": "JSONL ceiling (b): createdAt per point",
}


# -- the parent -------------------------------------------------------------------------------------------------------
def run(plan: Plan) -> Part:
    """Each kind in a process of its own, in turn; medians over the repetitions."""
    points, repetitions = (1_000_000, 3) if plan.short else (10_000_000, 3)
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for number_of_round in range(repetitions):
        for kind, runs in found.items():
            folder = plan.folder / f"throughput-{kind}-{number_of_round}"
            folder.mkdir()
            try:
                runs.append(child.measure("bench.throughput:cell", kind=kind, points=points, folder=str(folder)))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    rates = {kind: median(one["points_per_s"] for one in runs) for kind, runs in found.items()}
    part = Part(raw={"points": points, "runs": found})
    part.figures["ceiling_ratio"] = rates["penstock"] / rates["ceiling_point"]  # the same lines: a time for each point
    part.figures["cpu_s_per_million"] = median(one["cpu_s_per_million"] for one in found["penstock"])
    part.figures["rss_mib"] = max(one["rss_over_import_mib"] for one in found["penstock"])
    part.tables.append(_table(points, repetitions, found, rates))
    return part


def _table(points: int, repetitions: int, found: dict[str, list[dict[str, Any]]], rates: dict[str, float]) -> Table:
    table = Table(
        f"{points:,} points of two fields to durable JSONL",
        (
            "what",
            "points/s",
            "slowest",
            "fastest",
            "x ceiling (a)",
            "x ceiling (b)",
            "CPU s/M points",
            "RSS MiB",
            "B/pt",
        ),
        note=f"Medians of {repetitions} runs in turn. From the first append until close() returned (penstock) or fsync"
        " returned (ceilings); lines are counted afterwards. CPU: user + system of the whole process. RSS: peak over"
        " the process's size after its imports, the mapped ring included; the largest of the runs.",
    )
    for kind, runs in found.items():
        speeds = [one["points_per_s"] for one in runs]
        table.rows.append(
            (
                KINDS[kind],
                number(rates[kind]),
                number(min(speeds)),
                number(max(speeds)),
                number(rates[kind] / rates["ceiling_block"]),
                number(rates[kind] / rates["ceiling_point"]),
                number(median(one["cpu_s_per_million"] for one in runs)),
                number(max(one["rss_over_import_mib"] for one in runs)),
                number(median(one["bytes_per_point"] for one in runs)),
            )
        )
    return table


# -- the child --------------------------------------------------------------------------------------------------------
def cell(*, kind: str, points: int, folder: str) -> dict[str, Any]:
    """One run; raises if a line is missing afterwards."""
    work = {"penstock": _penstock, "ceiling_block": _ceiling_block, "ceiling_point": _ceiling_point}[kind]
    if kind == "penstock":
        import penstock  # noqa: F401 - its memory belongs to the baseline
    else:
        import msgspec  # noqa: F401
    baseline = resident_bytes("VmRSS")
    wall, cpu = work(points, Path(folder))
    peak = resident_bytes("VmHWM")
    lines, size = _count_lines(Path(folder))
    if lines != points:
        raise RuntimeError(f"{points} points were appended, {lines} lines are on the disk")
    return {
        "points_per_s": points / wall,
        "wall_s": wall,
        "cpu_s_per_million": cpu / points * 1e6,
        "rss_over_import_mib": (peak - baseline) / 2**20,
        "bytes_per_point": size / points,
    }


def _penstock(points: int, folder: Path) -> tuple[float, float]:
    from penstock import Session

    session = Session(name="throughput", workspace="bench", local_path=folder)
    session.open()
    track = session.track("loss")
    cpu, begin = time.process_time(), time.perf_counter()
    for i in range(points):
        track.append(value=1.0 / (1.0 + i * 1e-3), epoch=i)
    session.close()
    return time.perf_counter() - begin, time.process_time() - cpu


def _ceiling_block(points: int, folder: Path) -> tuple[float, float]:
    import msgspec

    encode_lines = msgspec.json.Encoder().encode_lines
    cpu, begin = time.process_time(), time.perf_counter()
    with open(folder / "data.jsonl", "wb", buffering=0) as file:
        for start in range(0, points, BLOCK):
            stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            block = [
                {"index": i, "data": {"value": 1.0 / (1.0 + i * 1e-3), "epoch": i}, "createdAt": stamp}
                for i in range(start, min(start + BLOCK, points))
            ]
            file.write(encode_lines(block))
        os.fsync(file.fileno())
    return time.perf_counter() - begin, time.process_time() - cpu


def _ceiling_point(points: int, folder: Path) -> tuple[float, float]:
    import msgspec

    encode_lines = msgspec.json.Encoder().encode_lines
    now = datetime.now
    cpu, begin = time.process_time(), time.perf_counter()
    with open(folder / "data.jsonl", "wb", buffering=0) as file:
        for start in range(0, points, BLOCK):
            block = [  # msgspec writes a datetime in UTC as ISO 8601 with a Z: quicker than formatting it here
                {"index": i, "data": {"value": 1.0 / (1.0 + i * 1e-3), "epoch": i}, "createdAt": now(UTC)}
                for i in range(start, min(start + BLOCK, points))
            ]
            file.write(encode_lines(block))
        os.fsync(file.fileno())
    return time.perf_counter() - begin, time.process_time() - cpu


def resident_bytes(line: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process. Not getrusage: its peak is inherited from the parent."""
    with open("/proc/self/status", encoding="ascii") as file:
        for text in file:
            if text.startswith(line + ":"):
                return int(text.split()[1]) * 1024
    raise RuntimeError(f"no {line} in /proc/self/status")


def _count_lines(folder: Path) -> tuple[int, int]:
    lines = size = 0
    for path in folder.rglob("data*.jsonl"):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                lines += block.count(b"\n")
                size += len(block)
    return lines, size
