"""Children whose main is an event loop: asyncio, anyio on either backend, trio (reliability.md case 15).

Each function is one child's main: ``python tests/faults/eventloops.py <main> <root> <way>``; the ways are what the
loop's coroutine does with its session. All log 100 points to track "loss" as logger 0.
"""

from __future__ import annotations

import asyncio
import gc
import types

import penstock
from tests.faults.children import call, say
from tests.faults.endings import log
from tests.faults.loggers import session


async def _logs(root: str) -> None:
    async with session(root) as run:
        for n in range(100):
            await run.track("loss").aappend(value=n / 2, who=0, n=n)
        await run.alog("saved", wait="disk")
        assert (await run.aflush("disk")).reached


async def _leaves_open(root: str) -> None:
    run = await session(root).aopen()
    log(run)
    await run.alog({"val/acc": 0.5}, step=1)


async def _closes(root: str) -> None:
    run = await session(root).aopen()
    log(run)
    await run.aclose()
    await run.aclose()


async def _fails(root: str) -> None:
    async with session(root) as run:
        log(run)
        raise ValueError("this is the reason")


async def _waits(root: str) -> None:
    import anyio

    async with session(root) as run:
        log(run)
        await run.aflush("disk")
        say("waiting")
        await anyio.sleep_forever()


WAYS = {"waits": _waits, "logs": _logs, "leaves_open": _leaves_open, "closes": _closes, "fails": _fails}


def asyncio_main(root: str, way: str) -> None:
    asyncio.run(WAYS[way](root))


def asyncio_loop_closed(root: str, way: str) -> None:
    """A loop that is closed by hand before the interpreter ends."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(WAYS[way](root))
    finally:
        loop.close()


def anyio_main(root: str, way: str) -> None:
    import anyio

    anyio.run(WAYS[way], root)


def anyio_on_trio_main(root: str, way: str) -> None:
    import anyio

    anyio.run(WAYS[way], root, backend="trio")


def trio_main(root: str, way: str) -> None:
    import trio

    trio.run(WAYS[way], root)


@types.coroutine
def _for_ever():
    yield


async def _dropped(root: str) -> None:
    run = session(root)
    run.open()
    try:
        log(run)
        await _for_ever()
    except GeneratorExit as error:
        await run.__aexit__(type(error), error, error.__traceback__)
        raise


def dropped(root: str, _way: str) -> None:
    """A coroutine that is collected in the middle of its block, while the program goes on: it cannot await."""
    coroutine = _dropped(root)
    coroutine.send(None)
    del coroutine
    gc.collect()
    assert penstock.Session("run", "faults", local_path=root).status is penstock.Status.ERROR


if __name__ == "__main__":
    call(globals())
