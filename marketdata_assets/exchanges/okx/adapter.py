"""The adapter of OKX: channels and their URLs, confirmations, text pings and instrument lists.

https://www.okx.com/docs-v5/en/#overview-websocket-connect, https://www.okx.com/docs-v5/en/#overview-websocket-subscribe
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.okx.history import API, BARS
from marketdata_assets.exchanges.okx.instruments import families
from marketdata_assets.exchanges.okx.wire import UNSUBSCRIBED, Arg, envelope
from marketdata_assets.exchanges.records import Control, MarketType, Outcome, VenueError
from marketdata_assets.exchanges.venue_adapter import (
    MessageRate,
    Request,
    SocketSession,
    Subscription,
    SubscriptionReply,
    VenueAdapter,
    interval_ns,
)
from marketdata_assets.exchanges.wire import decoded

PUBLIC_URL = "wss://ws.okx.com:8443/ws/v5/public"
BUSINESS_URL = "wss://ws.okx.com:8443/ws/v5/business"
CONNECTIONS_PER_SECOND = 3  # by address
REQUESTS_PER_HOUR = 480  # subscriptions and unsubscriptions of a connection; one may name many channels
MESSAGE_BYTES = 64 * 1024  # all channels of one request together
CHANNELS_PER_REQUEST = 100  # ours: one wrong channel makes OKX reject the whole request
PING_AFTER_SECONDS = 25.0  # send a ping after so long a silence; OKX ends a connection after 30 s of it
BUSINESS = frozenset({"trades-all", "block-tickers", "public-block-trades", "public-struc-block-trades"})
SUMMARY, OF_A_MARKET = "opt-summary", "liquidation-orders"  # of a family of options, of a whole market
UPGRADE = "64008"
"""Code of the notice that the venue will close the connection."""
BUSINESS_PREFIXES = ("candle", "mark-price-candle", "index-candle", "sprd-")


def url_of(arg: Arg) -> str:
    """The address that serves a channel; another answers with error 60018."""
    business = arg.channel in BUSINESS or arg.channel.startswith(BUSINESS_PREFIXES)
    return BUSINESS_URL if business else PUBLIC_URL


def subscriptions(args: Iterable[Arg], op: Literal["subscribe", "unsubscribe"] = "subscribe") -> list[bytes]:
    """Requests for these channels, or to end them, each within OKX's limits, in their order.

    Forced orders come for a whole market: OKX rejects a single instrument (60018), and silently drops a filter by
    instrument or family. ValueError when one channel alone is too long.
    """
    room = MESSAGE_BYTES - len(msgspec.json.encode({"op": op, "args": []}))
    batches: list[list[dict[str, str]]] = []
    length = 0
    for arg in args:
        argument = {name: value for name, value in msgspec.to_builtins(arg).items() if value}
        size = len(msgspec.json.encode(argument)) + 1
        if size > room:
            raise ValueError(f"{arg} alone is longer than a request may be")
        if not batches or len(batches[-1]) == CHANNELS_PER_REQUEST or length + size > room:
            batches.append([])
            length = 0
        batches[-1].append(argument)
        length += size
    return [msgspec.json.encode({"op": op, "args": batch}) for batch in batches]


def arg_of(key: str) -> Arg:
    """The argument of the subscription with this key."""
    channel, _, about = key.partition(":")
    if channel == SUMMARY:
        return Arg(channel, inst_family=about)
    return Arg(channel, inst_type=about) if channel == OF_A_MARKET else Arg(channel, inst_id=about)


class Session(SocketSession):
    """The subscriptions of one socket that are not confirmed yet."""

    ping = b"ping"

    def __init__(self) -> None:
        self._pending: dict[str, Arg] = {}

    def subscribe(self, keys: Sequence[str]) -> list[bytes]:
        self._pending.update((key, arg_of(key)) for key in keys)
        return subscriptions(arg_of(key) for key in keys)

    def unsubscribe(self, keys: Sequence[str]) -> list[bytes]:
        for key in keys:
            self._pending.pop(key, None)
        return subscriptions((arg_of(key) for key in keys), "unsubscribe")

    def resubscribe(self, keys: Sequence[str]) -> list[bytes]:
        """OKX restarts a channel with every subscription, even a repeated one."""
        return self.subscribe(keys)

    def read_reply(self, raw: bytes, outcomes: Iterable[Outcome]) -> SubscriptionReply:
        for outcome in outcomes:
            if isinstance(outcome, Control):
                if outcome.kind == "ack" and not outcome.detail.startswith(UNSUBSCRIBED):
                    self._pending.pop(outcome.detail, None)
                    return SubscriptionReply(confirmed=(outcome.detail,))
                if outcome.kind == "notice" and outcome.detail.startswith(UPGRADE):
                    return SubscriptionReply(leave=outcome.detail)
            if isinstance(outcome, VenueError) and not outcome.rate_limited:
                return SubscriptionReply.of_error(outcome, self._named_in(outcome.message))
        return SubscriptionReply()

    def _named_in(self, message: str) -> list[str]:
        """The subscriptions that an error is about: its text contains their channel and instrument."""
        pending = self._pending.items()
        about = {key: arg.inst_id or arg.inst_family or arg.inst_type for key, arg in pending}
        keys = [key for key, arg in pending if arg.channel in message and about[key] in message]
        for key in keys:
            del self._pending[key]
        return keys


KINDS: dict[MarketType, tuple[str, ...]] = {
    "spot": ("SPOT",),
    "linear": ("SWAP", "FUTURES"),
    "inverse": ("SWAP", "FUTURES"),
    "option": ("OPTION",),
}
INDEX = "index-tickers"
UNDERLYINGS = "public/underlying"

SILENCE: dict[str, float | None] = {
    "trades": 600.0,
    "books": 150.0,  # without a change, a message without levels comes every minute
    "tickers": 300.0,
    "mark-price": 120.0,
    INDEX: 120.0,
    SUMMARY: 120.0,
    "funding-rate": 300.0,
    "open-interest": 120.0,
    OF_A_MARKET: None,
}
"""Our choice: seconds of silence after which a channel is suspicious."""


class OkxAdapter(VenueAdapter):
    """One market of OKX."""

    data_prefix = b'{"arg":{'
    trade_stream = "trades"
    sequential_trade_ids = True
    book_per_socket = True
    max_subscriptions = 300  # our choice
    connects_per_second = 0.9 * CONNECTIONS_PER_SECOND
    ping_after = PING_AFTER_SECONDS - 5.0
    message_rates = (MessageRate(REQUESTS_PER_HOUR - 10, 3600.0),)
    socket_session = Session

    def prepare(self) -> None:
        self._families: list[str] = []  # of options, that are still to be listed

    def subscriptions(self, instrument: Instrument, types: Sequence[str]) -> list[Subscription]:
        swap = instrument.name.endswith("-SWAP")
        channels = {
            "trade": ["trades"],
            "orderbook": [self._choices.get("book_channel", "books")],
            "open_interest": ["open-interest"],
        }
        channels["ticker"] = ["tickers"] if self.market_type == "spot" else ["tickers", "mark-price"]
        channels["funding_rate"] = ["funding-rate"] if swap else []
        subscriptions = [
            self._subscription(f"{channel}:{instrument.name}", instrument.name, tag)
            for tag in types
            for channel in channels.get(tag, ())
        ]
        for interval in self._intervals if "kline" in types else ():
            key = f"candle{BARS[interval]}:{instrument.name}"
            subscriptions.append(self._subscription(key, instrument.name, "kline", interval_ns(interval)))
        if "ticker" in types and swap:
            key = f"{INDEX}:{instrument.name.removesuffix('-SWAP')}"
            subscriptions.append(self._subscription(key, instrument.name, "ticker"))
        if "ticker" in types and self.market_type == "option":
            family = instrument.name.rsplit("-", 3)[0]  # expiry, strike and right follow it
            subscriptions.append(self._subscription(f"{SUMMARY}:{family}", "", "ticker"))
        if "liquidation" in types:
            key = f"{OF_A_MARKET}:{'SWAP' if swap else 'FUTURES'}"
            subscriptions.append(self._subscription(key, "", "liquidation"))
        return subscriptions

    def channel_of(self, raw: bytes) -> bytes:
        return raw.partition(b"}")[0]

    def key_of(self, channel: bytes) -> str:
        return _key_of(channel)

    def listings(self) -> list[Request]:
        """Options are listed by family, of which there is a list too."""
        if self.market_type == "option":
            return [Request(API + UNDERLYINGS, {"instType": "OPTION"}, UNDERLYINGS)]
        return [_instruments(instType=kind) for kind in KINDS[self.market_type]]

    def next_listing(self, request: Request, raw: bytes) -> Request | None:
        if request.lane == UNDERLYINGS:
            listed = decoded(families, raw)  # the feed reports one that cannot be read
            self._families = [family for families in listed.data for family in families] if listed else []
        return _instruments(instType="OPTION", instFamily=self._families.pop(0)) if self._families else None

    def _subscription(self, key: str, name: str, tag: str, every: int = 0) -> Subscription:
        arg = arg_of(key)
        host = self._socket_url or PUBLIC_URL.removesuffix("/ws/v5/public")
        url = host + url_of(arg).partition(":8443")[2]
        return Subscription(key, url, name, arg.channel, (tag,), SILENCE.get(arg.channel, 600.0), every)


def _instruments(**query: str) -> Request:
    return Request(f"{API}public/instruments", query, "public/instruments")


@lru_cache(1 << 14)
def _key_of(channel: bytes) -> str:
    head = decoded(envelope, channel + b"}}")
    return str(head.arg) if head and head.arg else ""
