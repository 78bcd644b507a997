"""Faults that the test server is told to have: each for the next `times` requests whose line contains `where`."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web
from brain_query import json_answer


@dataclass
class Fault:
    """What happens instead of, or before, the answer to some requests."""

    where: str
    times: int
    answer: Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class Faults:
    """What `BrainServer` can be told to do wrong. The line of a request is its `METHOD path?query`, as it was sent."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.RLock()

    def fail(
        self,
        status: int,
        times: int = 1,
        where: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> None:
        """Answer with this status."""

        async def answer(_: web.Request) -> web.StreamResponse:
            return json_answer(status, body if body is not None else {"detail": "planned"}, headers)

        self._plan(where, times, answer)

    def drop(self, times: int = 1, where: str = "") -> None:
        """Close the connection without an answer."""

        async def answer(request: web.Request) -> web.StreamResponse:
            assert request.transport
            request.transport.abort()
            return web.Response()

        self._plan(where, times, answer)

    def cut(self, times: int = 1, where: str = "") -> None:
        """Promise an answer of some length and close the connection in the middle of it."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"count": 3, "results": [')
            assert request.transport
            request.transport.abort()
            return response

        self._plan(where, times, answer)

    def garble(self, times: int = 1, where: str = "", body: bytes = b'{"count": 3, "results": [') -> None:
        """Answer 200 with something that is no sound JSON."""

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(body=body, content_type="application/json")

        self._plan(where, times, answer)

    def stall(self, seconds: float, times: int = 1, where: str = "") -> None:
        """Answer rightly, but late."""

        async def answer(_: web.Request) -> None:
            await asyncio.sleep(seconds)

        self._plan(where, times, answer)

    def before(self, act: Callable[[], object], times: int = 1, where: str = "") -> None:
        """Call `act` right before such a request is answered, say to insert an alpha while a client pages."""

        async def answer(_: web.Request) -> None:
            act()

        self._plan(where, times, answer)

    def _plan(
        self, where: str, times: int, answer: Callable[[web.Request], Awaitable[web.StreamResponse | None]]
    ) -> None:
        with self._lock:
            self._faults.append(Fault(where, times, answer))

    def no_more_faults(self) -> None:
        with self._lock:
            self._faults.clear()

    def _due(self, line: str) -> Fault | None:
        """The first fault planned for such a request, which is used up by one."""
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fault.where in line:
                    fault.times -= 1
                    return fault
        return None
