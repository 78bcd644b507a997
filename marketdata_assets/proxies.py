"""Which HTTP proxy the environment names for a server; servers of this machine are always reached directly."""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def environment_proxy(url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name for a URL of http, https, ws or wss.

    None is a direct connection: where there is no proxy, and to this machine.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get("https" if parts.scheme in ("https", "wss") else "http") or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"
