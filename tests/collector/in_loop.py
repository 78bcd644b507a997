"""Tests that are coroutines, each in an event loop of its own, and what they have in common."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

LONGEST = 300.0
"""Seconds, only against hanging."""


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The test as pytest calls it, with the same fixtures."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**fixtures), LONGEST))

    return run


async def until(holds: Callable[[], object], seconds: float = 60) -> None:
    """Poll; fails when it does not hold by then."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(sink: Any) -> AsyncIterator[Any]:
    """A sink that runs; at the end everything is delivered."""
    task = asyncio.create_task(sink.run())
    try:
        yield sink
        assert await sink.drain(20) == 0
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        sink.close()
