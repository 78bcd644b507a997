"""The proxy of a WebSocket, from the same variables as for REST: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from marketdata_assets.http_client import LOOPBACK


def proxy_of(url: str) -> str | None:
    """The proxy for a `wss://` or `ws://` URL; None for a direct connection, as to this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get("https" if parts.scheme == "wss" else "http") or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"
