"""Tables, percentiles and targets: everything that is said about measurements after they were made.

Pure functions and values; nothing here measures anything.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

PERCENTILES: Final = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999))


@dataclass(frozen=True)
class Plan:
    """How to measure: briefly or in full, and in which folder the runs are written (a real disk)."""

    short: bool
    folder: Path


@dataclass
class Table:
    """Rows of text under a title; ``note`` says what a reader must know to judge them."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    note: str = ""

    def __str__(self) -> str:
        """The table with its columns aligned, as Markdown."""
        lines = [list(self.columns), *[list(row) for row in self.rows]]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        texts = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines
        ]
        texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        note = f"\n{self.note}\n" if self.note else ""
        return f"\n### {self.title}\n\n" + "\n".join(texts) + "\n" + note


@dataclass
class Part:
    """The result of one part: tables for people, ``figures`` for the targets, ``raw`` for the JSON file."""

    tables: list[Table] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A figure to reach: ``at_most`` or at least ``limit``; ``part`` and ``figure`` say where it is measured."""

    part: str
    figure: str
    what: str
    limit: float
    unit: str
    at_most: bool = True

    def met(self, value: float) -> bool:
        """Whether a measured value reaches the target (NaN does not)."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        """The target as the table shows it."""
        return f"{'<=' if self.at_most else '>='} {self.limit:g} {self.unit}"


_BY_CORE: Final = {
    "python": (
        Target("hot_path", "append_ratio_1", "append, 1 field, kept handle", 6, "x the empty method"),
        Target("hot_path", "append_ratio_2", "append, 2 fields, kept handle", 6, "x the empty method"),
        Target("hot_path", "append_ratio_8", "append, 8 fields, kept handle", 6, "x the empty method"),
        Target("hot_path", "training_p99_99_us", "append, training-like, p99.99", 200, "us"),
        Target("throughput", "ceiling_ratio", "points to durable lines", 0.3, "x the JSONL ceiling", at_most=False),
    ),
    "c": (
        Target("hot_path", "append_ratio_2", "append, 2 fields, kept handle", 0.8, "x the empty method"),
        Target("hot_path", "track_ratio_2", "append, 2 fields, session.track()", 1.5, "x the empty method"),
        Target("hot_path", "append_ratio_8", "append, 8 fields, kept handle", 1.2, "x the empty method"),
        Target("hot_path", "threads_ratio", "append, 16 threads together", 0.7, "x one thread's rate", at_most=False),
        Target("hot_path", "training_p99_99_us", "append, training-like, p99.99", 50, "us"),
        Target("throughput", "ceiling_ratio", "points to durable lines", 2, "x the JSONL ceiling", at_most=False),
        Target("throughput", "cpu_s_per_million", "CPU of the whole process", 0.35, "s per million points"),
        Target("gil", "held_percent", "GIL held by the writer at 100,000 points/s", 1, "% of wall time"),
    ),
}
_ALWAYS: Final = (
    Target("throughput", "rss_mib", "peak RSS over the import", 64, "MiB"),
    Target("tracks", "seconds", "10,000 tracks x 100 points", 10, "s"),
    Target("tracks", "open_files", "open file descriptors meanwhile", 512, ""),
    Target("startup", "import_ms", "import penstock", 60, "ms"),
    Target("startup", "import_threads", "threads after the import", 1, ""),
    Target("startup", "open_close_ms", "open + close of a session", 20, "ms"),
    Target("startup", "idle_wakes_per_s", "wake-ups of an idle session", 4, "/s"),
)


def target_table(parts: Mapping[str, Part], core: str) -> tuple[Table, bool]:
    """The targets of the parts that were run with this core ("c" or "python"), and whether all of them were met.

    A missing figure is not met.
    """
    table = Table(f"Targets (core: {core})", ("figure", "target", "measured", "ok"))
    all_met = True
    for target in (*_BY_CORE[core], *_ALWAYS):
        if target.part not in parts:
            continue
        value = parts[target.part].figures.get(target.figure)
        met = value is not None and target.met(value)
        all_met = all_met and met
        shown = "none" if value is None else number(value)
        table.rows.append((target.what, str(target), shown, "yes" if met else "NO"))
    return table, all_met


def percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest value that at least ``share`` of the values do not exceed (nearest rank, no interpolation)."""
    rank = math.ceil(share * len(ordered) - 1e-9)  # 0.999 x 1,000 is the 999th, whatever floats say
    return ordered[max(0, rank - 1)]


def latency(samples: Sequence[int]) -> dict[str, float]:
    """Mean, percentiles, maximum and number of samples in ns."""
    ordered = sorted(samples)
    found: dict[str, float] = {"mean": statistics.fmean(ordered)}
    found.update((name, percentile(ordered, share)) for name, share in PERCENTILES)
    return {**found, "max": ordered[-1], "n": len(ordered)}


def latency_cells(found: Mapping[str, float]) -> list[str]:
    """The columns mean, p50, p99, p99.9, p99.99, max of a latency table, in us."""
    return [number(found[name] / 1000) for name in ("mean", *(name for name, _ in PERCENTILES), "max")]


LATENCY_COLUMNS: Final = ("mean us", "p50", "p99", "p99.9", "p99.99", "max")


def number(value: float) -> str:
    """Three digits that matter, and thousands kept apart."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
