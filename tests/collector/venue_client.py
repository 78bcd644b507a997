"""A plain client of a simulated venue: what it is told goes through our feed, and nothing is lost on the way."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp

from marketdata_assets.exchanges.records import DeadLetter, Gap, Outcome, Trade, VenueError
from marketdata_demo.venues.venue import Venue

LONGEST = 60.0
"""Seconds that all of it may take on a busy machine."""


@dataclass
class Client:
    """`path` is that of the socket, `asks` what is sent first; `lists` and then `snapshots` are asked over REST."""

    venue: Venue
    feed: Any
    path: str
    asks: Iterable[bytes]
    lists: Iterable[str] = ()
    snapshots: Iterable[str] = ()
    reply: Callable[[Outcome], bytes | None] = lambda _: None
    made: list[Outcome] = field(default_factory=list)
    clock: int = 0
    heard: int = 0  # messages

    def of(self, kind: type) -> list[Any]:
        return [one for one in self.made if isinstance(one, kind)]

    def talk(self, events: int, seconds: float = 1.3, rate: float = 500.0) -> "Client":
        """Subscribe, listen for some seconds and to some events after them."""
        asyncio.run(self._talk(events, seconds, rate))
        return self

    async def _talk(self, events: int, seconds: float, rate: float) -> None:
        async with aiohttp.ClientSession() as http:
            await self._ask(http, self.lists)
            async with http.ws_connect(self.venue.ws_url + self.path) as socket:
                for request in self.asks:
                    await socket.send_str(request.decode())
                await self._take(await socket.receive(), socket)
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, self.venue.emit, 5)
                await asyncio.sleep(0.05)
                await self._ask(http, self.snapshots)
                happens = asyncio.create_task(self._happen(events, seconds, rate))
                end = loop.time() + LONGEST
                while not happens.done() or self.heard < sum(one.sent for one in self.venue.sockets):
                    assert loop.time() < end, f"{self.heard} messages came, more were sent"
                    with suppress(TimeoutError):
                        await self._take(await asyncio.wait_for(socket.receive(), 0.1), socket)

    async def _happen(self, events: int, seconds: float, rate: float) -> None:
        self.venue.rate = rate
        await asyncio.sleep(seconds)
        self.venue.rate = 0.0
        await asyncio.sleep(0.05)
        await asyncio.get_running_loop().run_in_executor(None, self.venue.emit, events)

    async def _take(self, message: aiohttp.WSMessage, socket: aiohttp.ClientWebSocketResponse) -> None:
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ConnectionError(message)
        self.clock += 1
        self.heard += 1
        made = self.feed.push(message.data.encode(), self.clock)
        self.made += made
        for answer in filter(None, map(self.reply, made)):
            await socket.send_str(answer.decode())

    async def _ask(self, http: aiohttp.ClientSession, paths: Iterable[str]) -> None:
        for path in paths:
            async with http.get(self.venue.url + path) as answer:
                self.clock += 1
                self.made += self.feed.answer(str(answer.url), await answer.read(), self.clock)


def assert_whole(heard: Client, trades: Mapping[str, Sequence[str]], kinds: Iterable[type]) -> None:
    """All that was sent was read, nothing is missing, and these trades by instrument and kinds of records came."""
    assert [one for one in heard.made if isinstance(one, DeadLetter | Gap | VenueError)] == []
    assert heard.venue.violations == []
    for name, ids in trades.items():
        assert [one.trade_id for one in heard.of(Trade) if one.instrument == name and not one.first_id] == ids
    for kind in kinds:
        assert heard.of(kind), kind


def numbers(side: Iterable[Any]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(size)) for price, size in side]
