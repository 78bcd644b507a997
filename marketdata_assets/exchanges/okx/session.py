"""What a client of OKX's public sockets has to keep to: addresses, limits, keepalive, subscriptions and their answers.

https://www.okx.com/docs-v5/en/#overview-websocket-connect, https://www.okx.com/docs-v5/en/#overview-websocket-subscribe
Nothing is sent here.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from marketdata_assets.exchanges.okx.wire import Arg

PUBLIC_URL = "wss://ws.okx.com:8443/ws/v5/public"
BUSINESS_URL = "wss://ws.okx.com:8443/ws/v5/business"
CONNECTIONS_PER_SECOND = 3  # by address
REQUESTS_PER_HOUR = 480  # subscriptions and unsubscriptions of a connection; one may name many channels
MESSAGE_BYTES = 64 * 1024  # all channels of one request together
CHANNELS_PER_REQUEST = 100  # ours: one wrong channel makes OKX reject the whole request
PING = b"ping"
PING_AFTER_SECONDS = 25.0  # send a ping after so long a silence; OKX ends a connection after 30 s of it
BUSINESS = frozenset({"trades-all", "block-tickers", "public-block-trades", "public-struc-block-trades"})
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
