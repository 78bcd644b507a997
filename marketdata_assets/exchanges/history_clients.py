"""The histories of all venues behind one door. What a venue's history has is the business of its own module."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from marketdata_assets.exchanges.binance import history as binance
from marketdata_assets.exchanges.binance.rest import failure as binance_error
from marketdata_assets.exchanges.binance.session import MARKETS
from marketdata_assets.exchanges.deribit import history as deribit
from marketdata_assets.exchanges.deribit.parse import INTERVALS
from marketdata_assets.exchanges.deribit.rest import error_of as deribit_error
from marketdata_assets.exchanges.deribit.session import REST as DERIBIT_URL
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.okx import history as okx
from marketdata_assets.exchanges.okx.parse import bar_of
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.rest import ErrorOf, Limits, Rest
from marketdata_assets.exchanges.rest_history import Cursor, Page, Window
from marketdata_assets.http_client import RetryPolicy


class HistoryClient(Protocol):
    """The common interface of all venues' histories. Call `listed` before requesting an instrument."""

    async def listed(self) -> Sequence[Instrument]: ...
    def trades(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]: ...
    def klines(self, instrument: str, interval: str, where: Window | Cursor) -> AsyncIterator[Page]: ...


@dataclass(frozen=True)
class HistoryHosts:
    """REST hosts of the venues and the retry policy. `budgets` is the folder of rate limits that all processes share.

    `urls` is by venue, Binance's by venue and market type, as `binance-spot`; the venue's own where not named.
    """

    budgets: Path
    urls: Mapping[str, str] = field(default_factory=dict)
    patience: RetryPolicy = field(default_factory=RetryPolicy)

    def url(self, exchange: Exchange, market_type: MarketType) -> str:
        """The address of a market's REST host."""
        own = {"binance": MARKETS[market_type].rest, "okx": okx.URL, "deribit": DERIBIT_URL}[exchange]
        return self.urls.get(f"{exchange}-{market_type}") or self.urls.get(exchange) or own


@asynccontextmanager
async def open_history(
    hosts: HistoryHosts, exchange: Exchange, market_type: MarketType
) -> AsyncIterator[HistoryClient]:
    """The history client of a market, closed on exit; opening it sends no request."""
    limits_of_market = partial(binance.limits, market_type=market_type)
    of_market, known = partial(binance.BinanceHistory, market_type=market_type), Instruments(exchange)
    venues: dict[Exchange, tuple[Callable[[Path], Limits], ErrorOf, Callable[[Rest], HistoryClient]]] = {
        "binance": (limits_of_market, binance_error, of_market),
        "okx": (okx.limits, okx.error_of, partial(okx.OkxHistory, instruments=known)),
        "deribit": (deribit.limits, deribit_error, partial(deribit.DeribitHistory, instruments=known)),
    }
    limits, error_of, history = venues[exchange]
    url = hosts.url(exchange, market_type)
    async with Rest(exchange, url, limits(hosts.budgets), error_of, patience=hosts.patience) as client:
        yield history(client)


def kline_interval(exchange: Exchange, stream: str) -> str | None:
    """The interval of a venue's stream of candles, as records say it; null when it is none."""
    word = stream.removeprefix("kline_").removeprefix("candle").removeprefix("chart.trades.")
    if exchange == "okx":
        bar = bar_of(word)
        return bar.interval if bar else None
    if exchange == "deribit":
        return INTERVALS.get(word, (None, 0))[0]
    return word
