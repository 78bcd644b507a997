"""What the test servers of providers and venues have in common: a thread, limits on their own clock, planned faults.

A fault is planned for the next `times` requests whose line contains `where`.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Self

from aiohttp import web


@dataclass
class Fault:
    where: str
    times: int
    answer: Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class ProviderServer:
    """`minute` requests in any `minute_seconds` and `hour` in any `hour_seconds`; None is no limit."""

    def __init__(
        self,
        *,
        minute: int | None = None,
        minute_seconds: float = 60.0,
        hour: int | None = None,
        hour_seconds: float = 3600.0,
    ) -> None:
        self.limits = {"minute": (minute, minute_seconds), "hour": (hour, hour_seconds)}
        self.port = 0
        self.lines: list[str] = []
        self.overruns = 0
        self._counted: dict[str, deque[float]] = {"minute": deque(), "hour": deque()}
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> int:
        return len(self.lines)

    # What a subclass is.

    async def answer(self, request: web.Request) -> web.StreamResponse:
        raise NotImplementedError

    async def line(self, request: web.Request) -> str:
        raise NotImplementedError

    def too_many(self, limit: str) -> web.StreamResponse:
        raise NotImplementedError

    def cost(self, request: web.Request) -> int:
        return 1

    # Faults.

    def fail(self, status: int, times: int = 1, where: str = "", *, text: str = "planned", retry: str = "") -> None:
        headers = {"Retry-After": retry} if retry else {}

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, text=text, headers=headers)

        self._plan(where, times, answer)

    def say(self, body: bytes, times: int = 1, where: str = "", status: int = 200) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body, content_type="application/json")

        self._plan(where, times, answer)

    def drop(self, times: int = 1, where: str = "") -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            assert request.transport
            request.transport.abort()
            return web.Response()

        self._plan(where, times, answer)

    def stall(self, seconds: float, times: int = 1, where: str = "") -> None:
        async def answer(_: web.Request) -> None:
            await asyncio.sleep(seconds)

        self._plan(where, times, answer)

    def _plan(
        self, where: str, times: int, answer: Callable[[web.Request], Awaitable[web.StreamResponse | None]]
    ) -> None:
        with self._lock:
            self._faults.append(Fault(where, times, answer))

    def _due(self, line: str) -> Fault | None:
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
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        assert self._runner
        await self._runner.cleanup()

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
