"""What the test servers of providers and venues have in common: limits on their own clock, and plain faults."""

import time
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping

from aiohttp import web
from loopback_server import LoopbackServer


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

    def say(self, body: bytes, times: int = 1, where: str = "", status: int = 200) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body, content_type="application/json")

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
