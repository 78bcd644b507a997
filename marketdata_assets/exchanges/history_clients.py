"""The histories of all venues behind one door. What a venue's history has is the business of its own module."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from urllib.parse import urlsplit

from marketdata_assets.budget import BudgetPlace
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.errors import ExchangesError
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.venue import Venue
from marketdata_assets.exchanges.venue_history import VenueHistory
from marketdata_assets.http_client import RetryPolicy
from marketdata_assets.proxies import LOOPBACK

HOSTS = "MARKETDATA_EXCHANGE_HOSTS"


@dataclass(frozen=True)
class HistoryHosts:
    """REST hosts of the venues and the retry policy. `budgets` are the rate limits that all processes share.

    `urls` is by venue, by venue and market type, as `binance-spot`, or by venue for its public archive, as
    `binance-archive`; the address of the venue where not named.
    """

    budgets: BudgetPlace
    urls: Mapping[str, str] = field(default_factory=dict)
    patience: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        """Raises ExchangesError."""
        for host, url in self.urls.items():
            if host not in (known := dict(_named_hosts())):
                near = get_close_matches(host, sorted(known), 1, 0)
                raise ExchangesError(f"{HOSTS}: {host!r} is no host of a history; did you mean {near[0]!r}?")
            parts = urlsplit(url)
            if not parts.hostname or (parts.scheme != "https" and parts.hostname not in LOOPBACK):
                raise ExchangesError(f"{HOSTS}: {host}: {url!r} must be https://host, or http://127.0.0.1:port")
            if cause := known[host].why_not_at(url):
                raise ExchangesError(f"{HOSTS}: {host}: {cause}")

    def url(self, exchange: Exchange, market_type: MarketType) -> str:
        """The address of a market's REST; at another host, with the venue's own path where none is given."""
        own = venues.find(exchange).markets[market_type].rest
        given = self.urls.get(f"{exchange}-{market_type}") or self.urls.get(exchange)
        if given is None or urlsplit(given).path.strip("/"):
            return given or own
        return given.rstrip("/") + urlsplit(own).path


def _named_hosts() -> Iterator[tuple[str, Venue]]:
    """The names that a host of a history may have, each with whose it is."""
    for main in venues.every():
        for venue in (main, main.apart("testnet")) if main.testnet else (main,):
            yield venue.name, venue
            yield from ((f"{venue.name}-{market_type}", venue) for market_type in venue.markets)
            if venue.archive:
                yield f"{venue.name}-archive", venue


@asynccontextmanager
async def open_history(hosts: HistoryHosts, exchange: Exchange, market_type: MarketType) -> AsyncIterator[VenueHistory]:
    """The history of a market, closed on exit; opening it sends no request."""
    venue, url = venues.find(exchange), hosts.url(exchange, market_type)
    async with venue.client(market_type, hosts.budgets, hosts.patience, url=url) as client:
        yield venue.history(client, venue.adapter(venue, market_type))
