"""Chunks of lines to a file from an asyncio thread: plain os.write against aiofiles. The figures of decision 0001.

Each way writes the same number of chunks of one size; beside it, optionally, a thread that keeps the GIL busy, as a
training loop in pure Python does. Wall time and CPU of the whole process per chunk; ratios to os.write.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import child
from bench.report import Part, Plan, Table, number

SIZES: Final = (512, 16 << 10, 256 << 10)
WAYS: Final = ("os.write", "aiofiles")


def run(plan: Plan) -> Part:
    """Every way and size in a process of its own, in turn, with and without a busy thread; medians."""
    part = Part(raw={})
    table = Table(
        "One chunk of lines, appended to an open file",
        ("bytes", "busy thread", "way", "wall us", "CPU us", "wall x os.write", "CPU x os.write"),
        note="Medians per chunk over the repetitions; the file is on the benchmark's folder.",
    )
    for busy in (False, True):
        for size in SIZES:
            found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
            for _ in range(3):
                for way, runs in found.items():
                    chunks = 100 if busy else 1000
                    runs.append(
                        child.measure(
                            "bench.plain_writes:cell",
                            way=way,
                            size=size,
                            chunks=chunks,
                            busy=busy,
                            folder=str(plan.folder),
                        )
                    )
            base = {key: median(one[key] for one in found["os.write"]) for key in ("wall_us", "cpu_us")}
            for way, runs in found.items():
                wall, cpu = (median(one[key] for one in runs) for key in ("wall_us", "cpu_us"))
                table.rows.append(
                    (number(size), "yes" if busy else "no", way, number(wall), number(cpu),
                     number(wall / base["wall_us"]), number(cpu / base["cpu_us"]))
                )  # fmt: skip
            part.raw[f"{size}-{busy}"] = found
    part.tables.append(table)
    return part


def cell(way: str, size: int, chunks: int, busy: bool, folder: str) -> dict[str, float]:
    """One measurement, in a fresh process."""
    path = Path(folder) / f"chunks-{os.getpid()}"
    stop = threading.Event()
    if busy:
        threading.Thread(target=_spin, args=(stop,), daemon=True).start()
    taken: list[float] = []

    def host() -> None:
        taken.extend(asyncio.run(_write(way, path, b"x" * size, chunks)))

    thread = threading.Thread(target=host)
    thread.start()
    thread.join()
    stop.set()
    path.unlink()
    return {"wall_us": taken[0] / chunks * 1e6, "cpu_us": taken[1] / chunks * 1e6}


async def _write(way: str, path: Path, chunk: bytes, chunks: int) -> tuple[float, float]:
    import aiofiles

    if way == "os.write":
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(chunks):
            os.write(fd, chunk)
            await asyncio.sleep(0)
        spent = time.perf_counter() - started, time.process_time() - cpu
        os.close(fd)
        return spent
    async with aiofiles.open(path, "ab", buffering=0) as stream:
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(chunks):
            await stream.write(chunk)
            await asyncio.sleep(0)
        return time.perf_counter() - started, time.process_time() - cpu


def _spin(stop: threading.Event) -> None:
    number_of_rounds = 0
    while not stop.is_set():
        number_of_rounds += 1
