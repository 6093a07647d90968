"""Imports go down only, one library lives in one room, and `import penstock` stays light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.house.source import PACKAGE, SOURCE, Import, Module, modules

# From the bottom to the top. Rooms of one line that share a set are one room; different sets are neighbours that
# do not import each other. A new room gets its place here first.
FLOORS: list[list[set[str]]] = [
    [{"errors", "limits", "records", "config"}],
    [{"_codec"}],
    [{"_store"}],
    [{"_journal"}, {"_sinks"}],
    [{"_engine"}],
    [{"query"}],
    [{"session", "decorator", "lifecycle", "track", "logs", "parameters", "files", "project", "ledger", "sweep"}],
    [{"server"}, {"compat"}],
    [{"cli"}],
    [{"__main__"}],
    [{""}],  # the doorway, penstock/__init__.py: sees everything, and nothing inside the house goes through it
]
SESSION_ROOM = FLOORS[6][0]
# Reading works without a writer: no engine, no sinks, and of the journal only what reads.
NOT_FOR_QUERY = ("_engine", "_sinks", "_journal.ring", "_journal.lane")

# Where a library may be imported; "lazily" means inside functions only. Anything else is nobody's.
LIBRARIES: dict[str, dict[str, str]] = {
    "msgspec": {"": "at the top"},
    "anyio": {"_engine": "at the top", **dict.fromkeys(SESSION_ROOM, "lazily")},
    "aiofiles": {"_sinks": "at the top"},
    "httpx": {"_sinks.transport": "at the top", "query.remote": "at the top"},
    "starlette": {"server": "at the top"},
    "click": {"cli": "at the top"},
    "numpy": {"query": "lazily", **dict.fromkeys(SESSION_ROOM, "lazily")},
}
HEAVY = [
    *("asyncio", "multiprocessing", "concurrent.futures", "subprocess"),
    *("anyio", "trio", "aiofiles", "httpx", "starlette", "click", "numpy"),
]

ALL = pytest.mark.parametrize("module", modules().values(), ids=lambda module: module.name)


def floor_of(room: str) -> tuple[int, int]:
    for number, floor in enumerate(FLOORS):
        for place, rooms in enumerate(floor):
            if room in rooms:
                return number, place
    raise AssertionError(f"room {room!r} has no floor; give it one in FLOORS, and a line in docs/architecture.md")


def own(module: Module) -> list[tuple[Import, str]]:
    """The imports of the library's own modules, with the target's name below the package."""
    return [
        (found, found.target.removeprefix(PACKAGE).removeprefix("."))
        for found in module.imports()
        if found.target.partition(".")[0] == PACKAGE
    ]


def below(name: str, prefix: str) -> bool:
    return prefix in {"", name} or name.startswith(f"{prefix}.")


@ALL
def test_a_room_imports_only_from_rooms_below_it(module: Module) -> None:
    number, place = floor_of(module.room)
    for found, target in own(module):
        other, other_place = floor_of(target.partition(".")[0])
        allowed = other < number or (other, other_place) == (number, place)
        assert allowed, f"{module.path}:{found.line}: {module.name} must not import {found.target}"


@ALL
def test_reading_knows_nothing_of_writing(module: Module) -> None:
    if module.room != "query":
        return
    for found, target in own(module):
        refused = [prefix for prefix in NOT_FOR_QUERY if below(target, prefix)]
        assert not refused, f"{module.path}:{found.line}: query must not import {found.target}"


@ALL
def test_a_library_is_imported_only_in_its_room(module: Module) -> None:
    name = module.name.partition(".")[2]
    for found in module.imports():
        library = found.target.partition(".")[0]
        if library == PACKAGE or library in sys.stdlib_module_names:
            continue
        ways = [way for prefix, way in LIBRARIES.get(library, {}).items() if below(name, prefix)]
        assert ways, f"{module.path}:{found.line}: {library} has no place in {module.name}"
        lazy = found.in_function or found.types_only
        assert lazy or "at the top" in ways, f"{module.path}:{found.line}: import {library} inside the function"


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {
        module.name: {found.target for found, _ in own(module) if not found.types_only} - {module.name}
        for module in modules().values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))


def test_every_room_has_its_floor() -> None:
    rooms = {module.room for module in modules().values()}
    assert rooms - {""}, "the walk over src/penstock found nothing"
    for room in rooms:
        floor_of(room)


IMPORT_PROBE = """
import json, os, sys, threading
before = set(sys.modules)
import penstock
tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count()
print(json.dumps({"modules": sorted(set(sys.modules) - before), "threads": threading.active_count(), "tasks": tasks}))
"""


def test_importing_penstock_loads_nothing_heavy_and_starts_no_thread() -> None:
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_PROBE],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    seen = json.loads(child.stdout)
    assert "penstock" in seen["modules"]
    assert [name for name in seen["modules"] if name in HEAVY] == []
    assert seen["threads"] == seen["tasks"] == 1
