"""Recorded traffic as a venue: messages with the ids that they had, to whoever subscribed to their streams.

A capture goes by as `rate` or `emit` say, once. A snapshot of Binance is answered once the capture has come to it;
those of OKX and Deribit stand in the capture.
"""

import asyncio
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.deribit.feed import DeribitFeed
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.okx.feed import OkxFeed
from marketdata_assets.exchanges.records import MarketType, Outcome
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.live_market import Market
from marketdata_demo.venues.okx_venue import OkxVenue
from marketdata_demo.venues.venue import Socket, Venue

_STREAM = re.compile(rb'"stream":"([^"]+)"')
_SYMBOL = re.compile(r"symbol=([A-Z0-9_]+)")
_ARG = re.compile(rb'\{"arg":\{"channel":"([^"]+)","instId":"([^"]+)"')
_CHANNEL = re.compile(rb'"channel":"([^"]+)"')


class Recorded(Venue):
    """Whatever kind of venue: the way of a capture through it."""

    streams: list[tuple[str, bytes]]  # stream and message, in their order; no stream for what is not sent
    position = 0

    @property
    def over(self) -> bool:
        return self.position == len(self.streams)

    def on_second(self, market: Market) -> None:
        """Nothing happens but what was recorded."""

    def _burst(self, events: int) -> None:
        for stream, raw in self.streams[self.position : self.position + events]:
            if stream:
                self.publish(stream, raw)
        self.position = min(self.position + events, len(self.streams))


class RecordedBinance(Recorded, BinanceVenue):
    """The first `most` messages of a capture of one market of Binance."""

    def __init__(self, path: Path, market_type: MarketType, most: int = 1_000_000, **options: Any) -> None:
        entries = [one for one in _entries(path, most) if one.kind in ("in", "http")]
        self.streams = [(_stream_of(one), one.raw) for one in entries]
        names = sorted({stream.partition("@")[0].upper() for stream, _ in self.streams if stream})
        super().__init__(market_type, names, **options)
        self._snapshots = {
            _name(one, names[0]): (place, one.raw) for place, one in enumerate(entries) if one.kind == "http"
        }

    def replayed(self, kinds: Iterable[str]) -> tuple[BinanceFeed, list[Outcome]]:
        """What our feed makes of the streams of these kinds, without any network."""
        feed, made = BinanceFeed(self.market_type, strict=False), list[Outcome]()
        feed.answer("exchangeInfo", msgspec.json.encode(self.exchangeInfo({})), 0)
        wanted, asked = tuple(kinds), {raw: name for name, (_, raw) in self._snapshots.items()}
        for place, (stream, raw) in enumerate(self.streams):
            if not stream:
                made += feed.answer(f"https://host/depth?symbol={asked[raw]}", raw, place)
            elif stream.partition("@")[2] in wanted:
                made += feed.push(raw, place)
        return feed, made

    async def rest(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/depth"):
            return await super().rest(request)
        place, raw = self._snapshots[request.query["symbol"]]
        while self.position <= place:
            await asyncio.sleep(0.01)
        return web.Response(body=raw, content_type="application/json")


class RecordedOkx(Recorded, OkxVenue):
    """A capture of OKX's channels of single instruments."""

    def __init__(self, path: Path, **options: Any) -> None:
        found = [(match, one.raw) for one in _entries(path) if one.kind == "in" and (match := _ARG.match(one.raw))]
        self.streams = [(f"{match[1].decode()}:{match[2].decode()}", raw) for match, raw in found]
        super().__init__(sorted({stream.partition(":")[2] for stream, _ in self.streams}), **options)

    def begin_book(self, socket: Socket, market: Market) -> None:
        """The capture has the first snapshot."""

    def replayed(self) -> tuple[OkxFeed, list[Outcome]]:
        """What our feed makes of it, without any network."""
        feed = OkxFeed(strict=False)
        return feed, [made for place, (_, raw) in enumerate(self.streams) for made in feed.push(raw, place)]


class RecordedDeribit(Recorded, DeribitVenue):
    """A capture of Deribit, of which raw channels are sent as those of 100 ms: the others need a login."""

    def __init__(self, path: Path, **options: Any) -> None:
        sent = [one.raw.replace(b'.raw"', b'.100ms"') for one in _entries(path) if one.kind == "in"]
        self.streams = [(match[1].decode(), raw) for raw in sent if (match := _CHANNEL.search(raw))]
        super().__init__(sorted({stream.split(".")[1] for stream, _ in self.streams}), **options)

    def first_of(self, channel: str) -> bytes:
        return b""

    def replayed(self) -> tuple[DeribitFeed, list[Outcome]]:
        """What our feed makes of it, without any network."""
        feed = DeribitFeed("option", Instruments("deribit"), strict=False)
        return feed, [made for place, (_, raw) in enumerate(self.streams) for made in feed.push(raw, place)]


def _entries(path: Path, most: int = 1_000_000) -> Iterable[Entry]:
    return islice(open_capture(path).entries(), most)


def _stream_of(one: Entry) -> str:
    found = _STREAM.search(one.raw[:200]) if one.kind == "in" else None
    return found[1].decode() if found else ""


def _name(one: Entry, only: str) -> str:
    found = _SYMBOL.search(one.url)
    return found[1] if found else only
