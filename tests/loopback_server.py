"""What every test server has in common: a thread of its own on loopback, and planned faults.

A fault is planned for the next `times` requests whose line, as the server tells it, contains `where`.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""What happens instead of the right answer, or before it when it returns None."""


@dataclass
class Fault:
    where: str
    times: int
    answer: Answer


class LoopbackServer(ABC):
    """Up between `with` and its end; port 0 is any free one."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    @abstractmethod
    def application(self) -> web.Application:
        """The routes, made when the server starts."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # Faults.

    def drop(self, times: int = 1, where: str = "") -> None:
        """Close the connection without an answer."""

        async def answer(request: web.Request) -> web.StreamResponse:
            assert request.transport
            request.transport.abort()
            return web.Response()

        self._plan(where, times, answer)

    def stall(self, seconds: float, times: int = 1, where: str = "") -> None:
        """Answer rightly, but late."""

        async def answer(_: web.Request) -> None:
            await asyncio.sleep(seconds)

        self._plan(where, times, answer)

    def no_more_faults(self) -> None:
        with self._lock:
            self._faults.clear()

    def _plan(self, where: str, times: int, answer: Answer) -> None:
        with self._lock:
            self._faults.append(Fault(where, times, answer))

    def _due(self, line: str) -> Fault | None:
        """The first fault planned for such a request, which is used up by one."""
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fault.where in line:
                    fault.times -= 1
                    return fault
        return None

    # The life of the server.

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        assert self._runner
        await self._runner.cleanup()
