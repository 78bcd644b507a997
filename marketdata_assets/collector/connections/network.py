"""How the connections to a venue are made: over which proxy, and with how large a receive buffer."""

from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from marketdata_assets.http_client import DIRECT, LOOPBACK

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
            return _of_environment(url)
        return None if self.proxy == DIRECT else self.proxy


DEFAULT = Network()


def _of_environment(url: str) -> str | None:
    """From the same variables as for REST: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; none to this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get("https" if parts.scheme == "wss" else "http") or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"
