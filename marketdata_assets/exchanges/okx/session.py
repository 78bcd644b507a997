"""What a client of OKX's public sockets has to keep to: addresses, limits, keepalive, subscriptions and their answers.

https://www.okx.com/docs-v5/en/#overview-websocket-connect, https://www.okx.com/docs-v5/en/#overview-websocket-subscribe
Nothing is sent here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from marketdata_assets.exchanges.okx.wire import UNSUBSCRIBED, Arg
from marketdata_assets.exchanges.records import Control, Liquidation, Outcome

PUBLIC_URL = "wss://ws.okx.com:8443/ws/v5/public"
BUSINESS_URL = "wss://ws.okx.com:8443/ws/v5/business"

CONNECTIONS_PER_SECOND = 3
"""By address."""

REQUESTS_PER_HOUR = 480
"""Subscriptions and unsubscriptions of a connection; one may name many channels."""

MESSAGE_BYTES = 64 * 1024
"""All channels of one request together."""

CHANNELS_A_REQUEST = 100
"""Ours: one wrong channel makes OKX reject the whole request."""

PING = b"ping"
PONG = b"pong"
PING_AFTER_SECONDS = 25.0
"""Send a ping after so long a silence; OKX ends a connection after 30 s of it."""

BUSINESS = frozenset({"trades-all", "block-tickers", "public-block-trades", "public-struc-block-trades"})
BUSINESS_PREFIXES = ("candle", "mark-price-candle", "index-candle", "sprd-")
_OF_A_MARKET = "liquidation-orders"


def url_of(arg: Arg) -> str:
    """The address that serves a channel; another answers with error 60018."""
    business = arg.channel in BUSINESS or arg.channel.startswith(BUSINESS_PREFIXES)
    return BUSINESS_URL if business else PUBLIC_URL


def subscriptions(
    args: Iterable[Arg], *, most: int = CHANNELS_A_REQUEST, most_bytes: int = MESSAGE_BYTES, op: str = "subscribe"
) -> list[bytes]:
    """Requests for these channels, each within OKX's limits, in their order. ValueError when one alone is too long."""
    return [_request(op, batch) for batch in _batches(args, most, most_bytes - len(_request(op, [])))]


def unsubscriptions(
    args: Iterable[Arg], *, most: int = CHANNELS_A_REQUEST, most_bytes: int = MESSAGE_BYTES
) -> list[bytes]:
    """Requests to end these channels."""
    return subscriptions(args, most=most, most_bytes=most_bytes, op="unsubscribe")


@dataclass
class Session:
    """The requested and the confirmed subscriptions of one connection.

    Liquidations come for a whole market. OKX rejects a single instrument (60018), and silently drops a filter by
    instrument or family, so only the market is requested, and `takes` filters the records.
    """

    asked: dict[str, Arg] = field(default_factory=dict)  # what is sent, by its text
    confirmed: set[str] = field(default_factory=set)
    narrowed: dict[str, str] = field(default_factory=dict)  # confirmed without its filter: requested and confirmed text
    _filters: dict[str, list[Arg]] = field(default_factory=dict)  # by instType

    def ask(self, args: Iterable[Arg]) -> list[bytes]:
        """The subscription requests of these channels, without those already requested."""
        sent = []
        for arg in args:
            plain = _without_filter(arg)
            if arg.channel == _OF_A_MARKET:
                self._filters.setdefault(arg.inst_type, []).append(arg)
            if str(plain) not in self.asked:
                self.asked[str(plain)] = plain
                sent.append(plain)
        return subscriptions(sent)

    def heard(self, ack: Control) -> str | None:
        """Record an ack. Returns None when it confirms a request, otherwise what is wrong with it."""
        if ack.detail.startswith(UNSUBSCRIBED):
            ended = ack.detail.removeprefix(UNSUBSCRIBED)
            self.asked.pop(ended, None)
            self.confirmed.discard(ended)
            return None
        if ack.detail in self.asked:
            self.confirmed.add(ack.detail)
            return None
        wider = [text for text in self.asked if text.startswith(f"{ack.detail}:") and text not in self.confirmed]
        if not wider:
            return f"{ack.detail} was confirmed but never requested"
        self.confirmed.add(wider[0])
        self.narrowed[wider[0]] = ack.detail
        return f"{wider[0]} was confirmed as {ack.detail}: the filter is dropped"

    def unconfirmed(self) -> list[Arg]:
        """Requested but not confirmed subscriptions; call it some seconds later."""
        return [arg for text, arg in self.asked.items() if text not in self.confirmed]

    def reopened(self) -> list[bytes]:
        """The requests for a new socket: all requested subscriptions."""
        self.confirmed.clear()
        self.narrowed.clear()
        return subscriptions(self.asked.values())

    def takes(self, outcome: Outcome) -> bool:
        """Whether this outcome was requested; only liquidations come unrequested."""
        if not isinstance(outcome, Liquidation) or not self._filters:
            return True
        return any(_matches(arg, outcome) for arg in self._filters.get(_inst_type(outcome), ()))


def _matches(arg: Arg, forced: Liquidation) -> bool:
    if arg.inst_id:
        return forced.instrument == arg.inst_id
    family = arg.inst_family or arg.uly
    return not family or forced.instrument == family or forced.instrument.startswith(f"{family}-")


def _inst_type(forced: Liquidation) -> str:
    if forced.market_type in ("spot", "option"):
        return "MARGIN" if forced.market_type == "spot" else "OPTION"
    return "SWAP" if forced.instrument.endswith("-SWAP") else "FUTURES"


def _without_filter(arg: Arg) -> Arg:
    return Arg(arg.channel, inst_type=arg.inst_type) if arg.channel == _OF_A_MARKET else arg


def _request(op: str, args: list[dict[str, str]]) -> bytes:
    return msgspec.json.encode({"op": op, "args": args})


def _batches(args: Iterable[Arg], most: int, most_bytes: int) -> Iterator[list[dict[str, str]]]:
    batch: list[dict[str, str]] = []
    length = 0
    for arg in args:
        argument = {name: value for name, value in msgspec.to_builtins(arg).items() if value}
        size = len(msgspec.json.encode(argument)) + 1
        if size > most_bytes:
            raise ValueError(f"{arg} alone is longer than a request may be")
        if batch and (len(batch) == most or length + size > most_bytes):
            yield batch
            batch, length = [], 0
        batch.append(argument)
        length += size
    if batch:
        yield batch
