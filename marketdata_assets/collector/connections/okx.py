"""How OKX is spoken to: channels and their addresses, confirmations, text pings and lists."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from marketdata_assets.collector.connections.speaking import AskFor, Heard, Pace, Request, Subscription, span_of
from marketdata_assets.exchanges.books import ResyncRequest
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.okx import session
from marketdata_assets.exchanges.okx.feed import API, OkxFeed
from marketdata_assets.exchanges.okx.history import BARS, URL, error_of, limits
from marketdata_assets.exchanges.okx.wire import UNSUBSCRIBED, VENUE, Arg, envelope
from marketdata_assets.exchanges.records import Control, Exchange, MarketType, Outcome, VenueError
from marketdata_assets.exchanges.rest import Rest
from marketdata_assets.http_client import RetryPolicy

OF_A_MARKET = "liquidation-orders"
UPGRADE = "64008"
"""The code of the notice that a connection will be closed."""

KINDS: dict[MarketType, tuple[str, ...]] = {
    "spot": ("SPOT",),
    "linear": ("SWAP", "FUTURES"),
    "inverse": ("SWAP", "FUTURES"),
    "option": ("OPTION",),
}
FAMILIES = ("BTC-USD", "ETH-USD")
"""Options are listed by family; these are all there are."""

DATA_TYPES: dict[MarketType, tuple[str, ...]] = {
    "spot": ("trade", "orderbook", "kline", "ticker"),
    "linear": ("trade", "orderbook", "kline", "ticker", "funding_rate", "open_interest", "liquidation"),
    "inverse": ("trade", "orderbook", "kline", "ticker", "funding_rate", "open_interest", "liquidation"),
    "option": ("trade", "orderbook", "kline", "ticker", "open_interest"),
}

SILENCE: dict[str, float | None] = {
    "trades": 600.0,
    "books": 150.0,  # without a change it is said each minute that there was none
    "tickers": 300.0,
    "funding-rate": 300.0,
    "open-interest": 120.0,
    OF_A_MARKET: None,
}
"""Ours: so long a silence of a channel is odd, in seconds."""

KEPT_NAMES = 1 << 14


class OkxConversation:
    """What is said over one socket."""

    ping: bytes | None = session.PING

    def __init__(self) -> None:
        self._pending: dict[str, Arg] = {}

    def hello(self) -> list[bytes]:
        return []

    def subscribe(self, keys: Sequence[str]) -> list[bytes]:
        self._pending.update((key, arg_of(key)) for key in keys)
        return session.subscriptions(arg_of(key) for key in keys)

    def unsubscribe(self, keys: Sequence[str]) -> list[bytes]:
        for key in keys:
            self._pending.pop(key, None)
        return session.unsubscriptions(arg_of(key) for key in keys)

    def again(self, keys: Sequence[str]) -> list[bytes]:
        """OKX begins anew with every subscription, also with a repeated one."""
        return self.subscribe(keys)

    def heard(self, raw: bytes, outcomes: Iterable[Outcome]) -> Heard:
        for one in outcomes:
            if isinstance(one, Control):
                if one.kind == "ack" and not one.detail.startswith(UNSUBSCRIBED):
                    self._pending.pop(one.detail, None)
                    return Heard(confirmed=(one.detail,))
                if one.kind == "notice" and one.detail.startswith(UPGRADE):
                    return Heard(leave=one.detail)
            if isinstance(one, VenueError) and not one.rate_limited:
                return Heard(refused=tuple((key, f"{one.code} {one.message}") for key in self._meant(one.message)))
        return Heard()

    def _meant(self, message: str) -> list[str]:
        """The subscriptions that an error is about: it has their channel and instrument among its words."""
        found = [
            key
            for key, arg in self._pending.items()
            if arg.channel in message and (arg.inst_id or arg.inst_type) in message
        ]
        for key in found:
            del self._pending[key]
        return found


class OkxSpeaker:
    """One market of OKX."""

    exchange: Exchange = VENUE
    begin = b'{"arg":{'
    trades = "trades"
    numbered = False
    books_hang = True
    snapshot: AskFor | None = None  # a book comes with its subscription
    most = 300  # ours
    connects_per_second = 0.9 * session.CONNECTIONS_PER_SECOND
    ping_after = session.PING_AFTER_SECONDS - 5.0
    age: float | None = None
    paces: tuple[Pace, ...] = (Pace(session.REQUESTS_PER_HOUR - 10, 3600.0),)

    def __init__(
        self,
        market_type: MarketType,
        *,
        rest_url: str | None = None,
        socket_url: str | None = None,
        intervals: Sequence[str] = ("1m",),
    ) -> None:
        self.market_type = market_type
        self.data_types = DATA_TYPES[market_type]
        self._rest_url = rest_url or URL
        self._own = socket_url or session.PUBLIC_URL.removesuffix("/ws/v5/public")
        self._intervals = tuple(intervals)

    def feed(self) -> OkxFeed:
        return OkxFeed(self.market_type)

    def rest(self, budgets: Path, patience: RetryPolicy) -> Rest:
        return Rest(VENUE, self._rest_url, limits(budgets), error_of, patience=patience)

    def conversation(self) -> OkxConversation:
        return OkxConversation()

    def subscriptions(self, one: Instrument, types: Sequence[str]) -> list[Subscription]:
        swap = one.name.endswith("-SWAP")
        channels = {"trade": ["trades"], "orderbook": ["books"], "ticker": ["tickers"]}
        channels["funding_rate"] = ["funding-rate"] if swap else []
        channels["open_interest"] = ["open-interest"]
        made = [
            self._subscription(f"{channel}:{one.name}", one.name, tag)
            for tag in types
            for channel in channels.get(tag, ())
        ]
        for interval in self._intervals if "kline" in types else ():
            key = f"candle{BARS[interval]}:{one.name}"
            made.append(self._subscription(key, one.name, "kline", span_of(interval)))
        if "liquidation" in types:
            made.append(self._subscription(f"{OF_A_MARKET}:{'SWAP' if swap else 'FUTURES'}", "", "liquidation"))
        return made

    def key_of(self, raw: bytes) -> bytes:
        return raw.partition(b"}")[0]

    def name_of(self, key: bytes) -> str:
        return _name_of(key)

    def book_key(self, want: ResyncRequest) -> str:
        return str(Arg(want.stream, want.instrument))

    def listings(self) -> list[Request]:
        path = "public/instruments"
        if self.market_type == "option":
            queries = [{"instType": "OPTION", "instFamily": family} for family in FAMILIES]
        else:
            queries = [{"instType": kind} for kind in KINDS[self.market_type]]
        return [Request(API + path, query, path) for query in queries]

    def polls(self, types: Sequence[str]) -> dict[str, AskFor]:
        return {}

    def _subscription(self, key: str, name: str, tag: str, every: int = 0) -> Subscription:
        arg = arg_of(key)
        url = self._own + session.url_of(arg).partition(":8443")[2]
        silence = SILENCE.get(arg.channel, 600.0)
        return Subscription(key, url, name, arg.channel, (tag,), silence, every)


def arg_of(key: str) -> Arg:
    """The subscription that a key is the text of."""
    channel, _, about = key.partition(":")
    return Arg(channel, inst_type=about) if channel == OF_A_MARKET else Arg(channel, inst_id=about)


@lru_cache(KEPT_NAMES)
def _name_of(key: bytes) -> str:
    try:
        return str(envelope(key + b"}}").arg or "")
    except (msgspec.MsgspecError, ValueError):
        return ""
