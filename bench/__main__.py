"""The command line of the benchmarks: runs the parts, prints their tables, keeps the figures as JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.child import REPOSITORY, MeasurementError
from bench.report import Part, Plan, number, target_table

PARTS: Final = ("hot_path", "throughput", "tracks", "startup", "gil", "plain_writes")
RESULTS: Final = REPOSITORY / "bench" / "results"


def main(arguments: list[str] | None = None) -> int:
    """0 when everything was measured (with --assert: and every target met), 1 otherwise."""
    options = _options(arguments)
    sys.path.append(str(REPOSITORY / "src"))  # for a checkout in which nothing was installed
    folder = Path(options.folder or RESULTS) / f"work-{os.getpid()}"
    folder.mkdir(parents=True)
    machine = _machine(folder)
    print("# penstock benchmarks" + (" (short)" if options.short else ""))
    print("\n" + "; ".join(f"{name}: {value}" for name, value in machine.items()))
    parts: dict[str, Part] = {}
    failures: dict[str, str] = {}
    try:
        for name in options.names or PARTS:
            begin = time.monotonic()
            print(f"\n## {name}", flush=True)
            try:
                parts[name] = importlib.import_module(f"bench.{name}").run(Plan(short=options.short, folder=folder))
            except MeasurementError as error:
                failures[name] = str(error)
                parts[name] = Part()
                print(f"\nFAILED: {error}")
            for table in parts[name].tables:
                print(table)
            print(f"({number(time.monotonic() - begin)} s, load average {_load()})", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    targets, all_met = target_table(parts, machine["core"])
    print(targets)
    print(f"kept in {_keep(machine, parts, failures, short=options.short)}")
    return 1 if failures or (options.check and not all_met) else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"parts to run: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--short", action="store_true", help="a few minutes instead of a quarter of an hour")
    parser.add_argument("--assert", dest="check", action="store_true", help="fail when a target is missed")
    parser.add_argument("--folder", help="where the runs are written; a real disk (default: bench/results)")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(PARTS))
    if unknown:
        parser.error(f"unknown part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    return options


def _machine(folder: Path) -> dict[str, Any]:
    from penstock import core
    from penstock._store import environment

    facts = environment.capture()
    git = facts["git"] or {}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory GiB": number(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "platform": facts["platform"],
        "core": core,
        "python": f"{facts['implementation']} {facts['python']}",
        "file system": environment.file_system_type(folder),
        "commit": (git.get("commit") or "none")[:12],
        "load average": _load(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}"


def _keep(machine: dict[str, Any], parts: dict[str, Part], failures: dict[str, str], *, short: bool) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{'short' if short else 'full'}.json"
    document = {
        "machine": machine,
        "short": short,
        "failures": failures,
        "figures": {name: part.figures for name, part in parts.items()},
        "raw": {name: part.raw for name, part in parts.items()},
    }
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
