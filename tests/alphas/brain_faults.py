"""Faults that only the test server of BRAIN is told to have."""

from collections.abc import Callable, Mapping

from aiohttp import web
from brain_query import json_answer
from loopback_server import LoopbackServer


class Faults(LoopbackServer):
    """What `BrainServer` can be told to do wrong. The line of a request is its `METHOD path?query`, as it was sent."""

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

    def before(self, act: Callable[[], object], times: int = 1, where: str = "") -> None:
        """Call `act` right before such a request is answered, say to insert an alpha while a client pages."""

        async def answer(_: web.Request) -> None:
            act()

        self._plan(where, times, answer)
