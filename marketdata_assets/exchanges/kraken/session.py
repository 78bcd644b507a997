"""What a client of Kraken's public socket has to keep to: address, limits, keepalive and subscriptions.

https://docs.kraken.com/api/docs/guides/spot-ws-intro, https://docs.kraken.com/api/docs/guides/spot-ratelimits
Nothing is sent here.
"""

from collections.abc import Sequence

import msgspec

from marketdata_assets.exchanges.venue_adapter import ChannelSession

HOST, PATH = "wss://ws.kraken.com", "/v2"
CONNECTIONS, CONNECTIONS_SECONDS = 150, 600.0  # by address
PING_AFTER_SECONDS = 30.0  # Kraken closes a connection over which nothing comes for about a minute
REQUESTS_PER_SECOND = 10  # ours: the limit is not stated
DEPTH = 10
"""Levels of a book on each side: the checksum covers so many, so that with these no lost message goes unnoticed."""


class Session(ChannelSession):
    """The subscriptions of one socket; `depth` is of books."""

    ping = b'{"method":"ping"}'
    most = 50  # ours, too

    def __init__(self, depth: int = DEPTH) -> None:
        super().__init__()
        self._depth = depth

    def request(self, method: str, channel: str, names: Sequence[str]) -> bytes:
        """Of candles the channel has the interval behind a dash."""
        word, _, interval = channel.partition("-")
        more: dict[str, object] = {"interval": int(interval), "snapshot": False} if interval else {}
        if word == "book":
            more = {"depth": self._depth}
        elif word == "ticker":
            more = {"event_trigger": "bbo"}
        return msgspec.json.encode({"method": method, "params": {"channel": word, "symbol": names, **more}})
