"""How the connections to a venue are made: over which proxy, and with how large a receive buffer."""

from dataclasses import dataclass

from marketdata_assets.http_client import DIRECT
from marketdata_assets.proxies import environment_proxy

RECEIVE_BYTES = 256 << 10
"""All of a socket's buffer is read at once, and nothing else runs until it is processed; the kernel would let it grow
to some 6 MB. When it is full, TCP makes the venue wait."""


@dataclass(frozen=True)
class Network:
    """Settings of all connections to a market.

    `proxy` is for REST and WebSockets: its URL, DIRECT for none, or None for that of the environment.
    """

    proxy: str | None = None
    receive_bytes: int = RECEIVE_BYTES

    def proxy_of(self, url: str) -> str | None:
        """The proxy for a `wss://` or `ws://` URL; None for a direct connection."""
        if self.proxy is None:
            return environment_proxy(url)
        return None if self.proxy == DIRECT else self.proxy


DEFAULT = Network()
