"""Recorded traffic as a venue: messages with the ids that they had, to whoever subscribed to their streams.

A capture goes by as `rate` or `emit` say, once. The snapshot of a book is answered once the capture has come to it.
"""

import asyncio
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from binance_venue import BinanceVenue
from venue_market import Market

from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.captures.entry import Entry
from marketdata_assets.exchanges.captures.reading import open_capture
from marketdata_assets.exchanges.outcomes import Outcome
from marketdata_assets.exchanges.records import MarketType

_STREAM = re.compile(rb'"stream":"([^"]+)"')
_SYMBOL = re.compile(r"symbol=([A-Z0-9_]+)")


class RecordedBinance(BinanceVenue):
    """The first `most` messages of a capture of one market of Binance."""

    def __init__(self, path: Path, market_type: MarketType, most: int = 1_000_000, **options: Any) -> None:
        entries = [one for one in islice(open_capture(path).entries(), most) if one.kind in ("in", "http")]
        self.entries = [(_stream_of(one), one) for one in entries]
        names = sorted({stream.partition("@")[0].upper() for stream, _ in self.entries if stream})
        super().__init__(market_type, names, **options)
        self.position = 0
        only = names[0]
        self._snapshots = {
            _name(one, only): (place, one.raw) for place, (_, one) in enumerate(self.entries) if one.kind == "http"
        }

    @property
    def over(self) -> bool:
        return self.position == len(self.entries)

    def replayed(self, kinds: Iterable[str]) -> tuple[BinanceFeed, list[Outcome]]:
        """What our feed makes of the streams of these kinds, without any network."""
        feed, made = BinanceFeed(self.market_type, strict=False), list[Outcome]()
        feed.answer("exchangeInfo", msgspec.json.encode(self.exchangeInfo({})), 0)
        wanted = tuple(kinds)
        for stream, one in self.entries:
            if one.kind == "http":
                name = next(name for name, (_, raw) in self._snapshots.items() if raw is one.raw)
                made += feed.answer(f"https://host/depth?symbol={name}", one.raw, one.ts_recv)
            elif stream.partition("@")[2] in wanted:
                made += feed.push(one.raw, one.ts_recv)
        return feed, made

    async def rest(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/depth"):
            return await super().rest(request)
        place, raw = self._snapshots[request.query["symbol"]]
        while self.position <= place:
            await asyncio.sleep(0.01)
        return web.Response(body=raw, content_type="application/json")

    def on_second(self, market: Market) -> None:
        """Nothing happens but what was recorded."""

    def _burst(self, events: int) -> None:
        for stream, one in self.entries[self.position : self.position + events]:
            if stream:
                self.publish(stream, one.raw)
        self.position = min(self.position + events, len(self.entries))


def _stream_of(one: Entry) -> str:
    found = _STREAM.search(one.raw[:200]) if one.kind == "in" else None
    return found[1].decode() if found else ""


def _name(one: Entry, only: str) -> str:
    found = _SYMBOL.search(one.url)
    return found[1] if found else only
