"""What a client of OKX's public sockets has to keep to: addresses, limits, keepalive, subscriptions and their answers.

https://www.okx.com/docs-v5/en/#overview-websocket-connect, https://www.okx.com/docs-v5/en/#overview-websocket-subscribe
Nothing is sent here.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from marketdata_assets.exchanges.okx.wire import UNSUBSCRIBED, Arg
from marketdata_assets.exchanges.records import Control, Outcome, VenueError
from marketdata_assets.exchanges.venue_adapter import SocketSession, SubscriptionReply

PUBLIC_URL = "wss://ws.okx.com:8443/ws/v5/public"
BUSINESS_URL = "wss://ws.okx.com:8443/ws/v5/business"
CONNECTIONS_PER_SECOND = 3  # by address
REQUESTS_PER_HOUR = 480  # subscriptions and unsubscriptions of a connection; one may name many channels
MESSAGE_BYTES = 64 * 1024  # all channels of one request together
CHANNELS_PER_REQUEST = 100  # ours: one wrong channel makes OKX reject the whole request
PING = b"ping"
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

    ping = PING

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
