"""A plain client of a simulated venue: its messages go through our feed."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp

from marketdata_assets.exchanges.records import Outcome
from marketdata_demo.venues.venue import Venue

LONGEST = 60.0
"""Seconds that all of it may take on a busy machine."""


@dataclass
class Client:
    """`path` is that of the socket, `asks` what is sent first."""

    venue: Venue
    feed: Any
    path: str
    asks: Iterable[bytes]
    made: list[Outcome] = field(default_factory=list)
    heard: int = 0  # messages

    def of(self, kind: type) -> list[Any]:
        return [one for one in self.made if isinstance(one, kind)]

    def talk(self, events: int, seconds: float = 1.3, rate: float = 500.0) -> "Client":
        """Subscribe, listen for some seconds and to some events after them."""
        asyncio.run(self._talk(events, seconds, rate))
        return self

    async def _talk(self, events: int, seconds: float, rate: float) -> None:
        async with aiohttp.ClientSession() as http, http.ws_connect(self.venue.ws_url + self.path) as socket:
            for request in self.asks:
                await socket.send_str(request.decode())
            self._take(await socket.receive())
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self.venue.emit, 5)
            happens = asyncio.create_task(self._happen(events, seconds, rate))
            end = loop.time() + LONGEST
            while not happens.done() or self.heard < sum(one.sent for one in self.venue.sockets):
                assert loop.time() < end, f"{self.heard} messages came, more were sent"
                with suppress(TimeoutError):
                    self._take(await asyncio.wait_for(socket.receive(), 0.1))

    async def _happen(self, events: int, seconds: float, rate: float) -> None:
        self.venue.rate = rate
        await asyncio.sleep(seconds)
        self.venue.rate = 0.0
        await asyncio.sleep(0.05)
        await asyncio.get_running_loop().run_in_executor(None, self.venue.emit, events)

    def _take(self, message: aiohttp.WSMessage) -> None:
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ConnectionError(message)
        self.heard += 1
        self.made += self.feed.push(message.data.encode(), self.heard)


def numbers(side: Iterable[Any]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(size)) for price, size in side]
