"""What the rest of the code knows of a venue: one descriptor, which the module `venue` of its folder defines.

Nothing outside a venue's folder may ask which venue it is; it asks the descriptor. `venues` finds it by name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from marketdata_assets.budget import BudgetPlace
from marketdata_assets.exchanges.archive import PublicArchive
from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.records import DataType, Exchange, MarketType
from marketdata_assets.exchanges.rest import BodyOf, ErrorOf, Limits, Rest
from marketdata_assets.exchanges.venue_adapter import Choice, VenueAdapter
from marketdata_assets.exchanges.venue_history import VenueHistory
from marketdata_assets.http_client import RetryPolicy
from marketdata_assets.proxies import LOOPBACK

Source = tuple[Exchange, MarketType | None]
"""What a capture is of. The market is None where one socket carries all markets of a venue."""

OUR_TRADES, OUR_CANDLES = "trade", "kline_"
"""Our names of streams in gaps of all records of a type; the interval of candles follows."""

TradeForms = Literal["same", "other_times", "numbered_aggregates", "summed_by_order"]
"""How the trades of a venue's history relate to those of its stream: the same trades under the same ids; the same, with
times that differ in their last digits; aggregates that name the first and last id of the single trades in them; or
single trades, of which the stream sends sums."""


Apart = Literal["testnet", "simulated"]
TESTNET: Apart = "testnet"
SIMULATED: Apart = "simulated"
"""Markets beside the main one of a venue, with its messages and other hosts. Their records are of the exchange
`<venue>-testnet` or `<venue>-simulated`, so that no table, stream, cache or capture mixes them with the main market's.
"""


@dataclass(frozen=True)
class Testnet:
    """Where the testnet of a venue is."""

    hosts: str  # a pattern of the names of its hosts, those that the main market has too left out
    rest: Mapping[MarketType, str]  # as in VenueMarket
    sockets: Mapping[MarketType, str]  # wss://host
    headers: Mapping[str, str] = field(default_factory=dict)  # of REST, where only they select the testnet


SPOT_TYPES: tuple[DataType, ...] = ("trade", "orderbook", "kline", "ticker", "instrument_state")
"""Of records that a spot market has."""

DEFAULT_HISTORY: Mapping[DataType, int | None] = {"trade": None, "kline": None}


@dataclass(frozen=True)
class VenueMarket:
    """One market of a venue."""

    rest: str  # the address of REST, https://host and the path that all requests share
    data_types: tuple[DataType, ...] = ()  # that the collector can take
    intervals: tuple[str, ...] = ()  # of candles, as records say them
    symbols: tuple[str, ...] = ()  # collected where the configuration names none
    history: Mapping[DataType, int | None] = field(default_factory=lambda: dict(DEFAULT_HISTORY))
    """What its REST history has, and for how many days back; None for all since the listing. Empty for no history."""

    depths: tuple[int, ...] = ()  # levels of a book on each side that can be chosen
    choices: Mapping[Choice, Mapping[str, str]] = field(default_factory=dict)
    """The values of each choice, the usual one first, with why the collector cannot take it, or empty."""

    kept_candles: int | None = None  # how many of an interval its REST history keeps; None for all since the listing


@dataclass(frozen=True)
class Venue:
    """One venue."""

    name: Exchange
    title: str  # as people write it
    markets: Mapping[MarketType, VenueMarket]

    feed: Callable[..., Feed]
    adapter: Callable[..., VenueAdapter]  # this descriptor, market type and AdapterOptions
    error_of: ErrorOf
    limits: Callable[[BudgetPlace, MarketType], Limits]  # of REST, shared by all processes
    history: Callable[[Rest, VenueAdapter], VenueHistory]

    addresses: Mapping[str, MarketType | None]
    """How a capture is recognised by its URLs: patterns of their beginning, from the host name on. Of two markets that
    share an address the first one is assumed where nothing else says it."""

    recognise: Callable[[bytes], Source | None]
    """How a capture without URLs is recognised: the source of a message, if only this venue sends such."""

    trade_streams: tuple[str, ...]  # names of streams of trades, without the instrument
    candle_stream: str  # what the name of a stream of candles begins with; its interval follows
    candle_interval: Callable[[str], str | None]
    """The interval, as records say it, of what follows `candle_stream`; None when it is none."""

    testnet: Testnet | None = None
    sockets: Mapping[MarketType, str] = field(default_factory=dict)  # wss://host, where it is not the adapter's own
    headers: Mapping[str, str] = field(default_factory=dict)  # of requests of REST
    body_of: BodyOf | None = None  # where requests of REST are a POST with a JSON body
    default_markets: tuple[MarketType, ...] = ()
    """Collected where the configuration names no market; empty for all that have symbols."""
    archive: PublicArchive | None = None  # of files by day, beside the history over REST

    tardis: Mapping[Exchange, tuple[MarketType | None, ...]] = field(default_factory=dict)
    """Its names at tardis.dev, and the markets of each; None where names of instruments say it."""

    symbol_pattern: str = r"[^\s,;/:@*?]+"
    """What a symbol may look like, as the venue writes it or we do."""

    shared_socket: bool = False  # one socket carries all markets, so a capture is not of one market
    trades: TradeForms = "same"
    ordered_trades: bool = True  # the number at the end of a trade's id orders trades of one moment; else receipt does

    simulator: str = ""  # "module:attribute" of the simulated venue of demo and tests
    sample: str = ""  # "module:attribute" of the venue's voice in the sample captures of the demo
    fixtures: tuple[str, ...] = field(default=())  # folders of recorded messages, for tests and fuzzing

    def client(
        self,
        market_type: MarketType,
        budgets: BudgetPlace,
        patience: RetryPolicy,
        *,
        url: str | None = None,
        host: str | None = None,
    ) -> Rest:
        """A client of a market's REST, closed on exit: at its own address, at `url`, or at the same path of `host`."""
        own = self.markets[market_type].rest
        address = url or (host + urlsplit(own).path if host else own)
        limits = self.limits(budgets, market_type)
        options = {"body_of": self.body_of, "patience": patience, "headers": self.headers}
        return Rest(self.name, address, limits, self.error_of, **options)  # type: ignore[arg-type]

    def pool(self, market_type: MarketType) -> str:
        """The budget that requests to the REST of a market are counted in; markets of one pool share it."""
        return self.limits(Path(), market_type).host.name

    def sources_of(self, address: str) -> list[Source]:
        """What may come from an address, which begins with the host name, the likeliest first; none of another's."""
        tested = self._is_of_testnet(re.split("[/?]", address, maxsplit=1)[0])
        name = f"{self.name}-{TESTNET}" if tested else self.name
        return [(name, market_type) for pattern, market_type in self._addresses if pattern.match(address)]

    def why_not_at(self, url: str) -> str:
        """Why records from an address would not be of this exchange; empty where they may be."""
        host = urlsplit(url).hostname or ""
        main, _, kind = self.name.rpartition("-")
        if kind != TESTNET:
            name = f"{self.name}-{TESTNET}"
            return (
                f"{host} is of the testnet, whose records stay apart; use {name}" if self._is_of_testnet(host) else ""
            )
        own = {*LOOPBACK, *(urlsplit(market.rest).hostname for market in self.markets.values())}
        return "" if host in own or self._is_of_testnet(host) else f"{host} is not of the testnet; use {main}"

    def apart(self, kind: Apart) -> "Venue":
        """The descriptor of the venue's testnet, or of its simulator, which has no hosts until somebody starts it."""
        paths = {name: urlsplit(market.rest).path for name, market in self.markets.items()}
        nowhere = Testnet("", {name: f"http://127.0.0.1{path}" for name, path in paths.items()}, {})
        at = self.testnet if kind == TESTNET and self.testnet else nowhere
        markets = {name: replace(self.markets[name], rest=rest) for name, rest in at.rest.items()}
        if at is nowhere:
            markets = {name: replace(market, history={}) for name, market in markets.items()}
        same = {name for name, rest in at.rest.items() if rest == self.markets[name].rest}

        def limits(place: BudgetPlace, market_type: MarketType) -> Limits:
            """A host of its own has a budget of its own."""
            own = self.limits(place, market_type)
            if market_type in same:
                return own
            lanes = {lane: replace(one, name=f"{one.name}-{kind}") for lane, one in own.lanes.items()}
            return replace(own, host=replace(own.host, name=f"{own.host.name}-{kind}"), lanes=lanes)

        name = f"{self.name}-{kind}"
        return replace(
            self,
            name=name,
            title=f"{self.title} {kind}",
            markets=markets,
            default_markets=tuple(one for one in self.default_markets if one in markets),
            feed=partial(self.feed, exchange=name),
            limits=limits,
            sockets=at.sockets,
            headers=at.headers,
            archive=None,
        )

    def _is_of_testnet(self, host: str) -> bool:
        return self.testnet is not None and re.fullmatch(self.testnet.hosts, host) is not None

    def interval_of(self, stream: str) -> str | None:
        """The interval of a stream of candles, as records say it; None for another stream."""
        if stream.startswith(OUR_CANDLES):
            return stream.removeprefix(OUR_CANDLES)
        word = stream.removeprefix(self.candle_stream)
        return self.candle_interval(word) if word != stream else None

    @cached_property
    def _addresses(self) -> list[tuple[re.Pattern[str], MarketType | None]]:
        return [(re.compile(pattern), market_type) for pattern, market_type in self.addresses.items()]
