"""What can go wrong with the sockets of a simulated venue, on demand; those of requests are ProviderServer's.

`where` is a part of a stream's name. All of it may be called from any thread.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web
from venue_sockets import Planned, Socket, frame

from marketdata_demo.servers.loopback import ProviderServer


class Faults(ProviderServer):
    """A server with sockets."""

    socket_path = ""
    """A part of the path of every socket."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.sockets: list[Socket] = []
        self._planned: list[Planned] = []

    def skip(self, times: int = 1, where: str = "") -> None:
        """The next messages are not sent: a hole in the sequence."""
        self._plan_message("skip", where, times)

    def repeat(self, times: int = 1, where: str = "") -> None:
        """The next messages are sent twice."""
        self._plan_message("repeat", where, times)

    def spoil(self, times: int = 1, where: str = "") -> None:
        """Of the next messages only the first half is sent, as a whole frame."""
        self._plan_message("spoil", where, times)

    def hang_up(self) -> None:
        """Cut all sockets without a word."""
        self.for_each_socket(lambda one: one.transport.abort())

    def close_all(self, code: int = 1001) -> None:
        """Close all sockets in an orderly way."""
        self.for_each_socket(lambda one: one.write(frame(code.to_bytes(2, "big"), 8)))
        self.for_each_socket(lambda one: one.transport.close())

    def half_open(self) -> None:
        """All sockets that are open stay so, and neither read nor send any more."""
        self.for_each_socket(lambda one: setattr(one, "dead", True))

    def hold(self) -> None:
        """A stall of the network: what is sent from now on comes with `release`, in order."""
        self.for_each_socket(lambda one: one.hold())

    def release(self) -> None:
        self.for_each_socket(lambda one: one.release())

    def mute(self, where: str) -> None:
        """Subscriptions of open sockets bring nothing any more until they are made anew."""
        self.for_each_socket(lambda one: one.muted.update(stream for stream in one.streams if where in stream))

    def garbage(self, raw: bytes = b"\x00\xffnot json", *, text: bool = True) -> None:
        """A message that is none on every socket; `text` False breaks the websocket protocol itself."""
        framed = frame(raw) if text else b"\xff\xff\xff\xff" + raw
        self.for_each_socket(lambda one: one.write(framed))

    def away(self) -> None:
        """Refuse connections, and cut those that are open, until `back`."""
        self._run(self._away())
        self.hang_up()

    def back(self) -> None:
        self._run(self._listen())

    def no_new_sockets(self, times: int = 1, status: int = 503) -> None:
        """Answer the next handshakes with an error."""
        self.fail(status, times, where=self.socket_path)

    async def _away(self) -> None:
        assert self._runner
        for site in list(self._runner.sites):
            await site.stop()

    async def _listen(self) -> None:
        assert self._runner
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    def fault_of(self, stream: str) -> str:
        with self._lock:
            fault = next((one.kind for one in self._planned if one.due(stream)), "")
            self._planned = [one for one in self._planned if one.times > 0]
        return fault

    def _plan_message(self, kind: str, where: str, times: int) -> None:
        with self._lock:
            self._planned.append(Planned(kind, where, times))

    def for_each_socket(self, act: Callable[[Socket], object]) -> None:
        self.call(lambda: [act(one) for one in list(self.sockets)])

    def call(self, act: Callable[..., object], *given: object) -> None:
        async def run() -> None:
            act(*given)

        self._run(run())

    def _run(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(60)
