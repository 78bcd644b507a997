"""What every simulated server has in common: a thread of its own on loopback, planned faults, and request limits.

A fault is planned for the next `times` requests whose line, as the server notes it, contains `where`.
"""

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
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
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result(10)
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


async def _cancel_others() -> None:
    """End the requests of this loop that are still answered."""
    hanging = asyncio.all_tasks() - {asyncio.current_task()}
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


class ProviderServer(LoopbackServer):
    """`minute` requests in any `minute_seconds` and `hour` in any `hour_seconds`; None is no limit."""

    def __init__(
        self,
        *,
        minute: int | None = None,
        minute_seconds: float = 60.0,
        hour: int | None = None,
        hour_seconds: float = 3600.0,
    ) -> None:
        super().__init__()
        self.limits = {"minute": (minute, minute_seconds), "hour": (hour, hour_seconds)}
        self.lines: list[str] = []
        self.overruns = 0
        self._counted: dict[str, deque[float]] = {"minute": deque(), "hour": deque()}

    @property
    def requests(self) -> int:
        return len(self.lines)

    # What a subclass is.

    @abstractmethod
    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The right answer."""

    @abstractmethod
    async def line(self, request: web.Request) -> str:
        """What is noted of a request, and what faults look at."""

    @abstractmethod
    def too_many(self, limit: str) -> web.StreamResponse:
        """The answer over the limit of this name."""

    def cost(self, request: web.Request) -> int:
        return 1

    # Faults.

    def fail(self, status: int, times: int = 1, where: str = "", *, text: str = "planned", retry: str = "") -> None:
        headers = {"Retry-After": retry} if retry else {}

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, text=text, headers=headers)

        self._plan(where, times, answer)

    def say(
        self,
        body: bytes,
        times: int = 1,
        where: str = "",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body, content_type="application/json", headers=headers)

        self._plan(where, times, answer)

    # The life of the server.

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        line = await self.line(request)
        with self._lock:
            self.lines.append(line)
            over = self._over(arrived, self.cost(request))
            self.overruns += over is not None
        if over:
            return self.too_many(over)
        fault = self._due(line)
        if fault and (answer := await fault.answer(request)) is not None:
            return answer
        return await self.answer(request)

    def _over(self, arrived: float, cost: int) -> str | None:
        for name, (allowed, seconds) in self.limits.items():
            counted = self._counted[name]
            while counted and counted[0] <= arrived - seconds:
                counted.popleft()
            if allowed is not None and len(counted) + cost > allowed:
                return name
        for counted in self._counted.values():
            counted.extend([arrived] * cost)
        return None


def json_answer(body: Mapping[str, object], status: int = 200) -> web.Response:
    return web.json_response(dict(body), status=status)
