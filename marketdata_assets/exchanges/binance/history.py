"""Binance's markets with their addresses and limits, and history over REST: candles, trades, funding, open interest."""

from collections.abc import Mapping
from dataclasses import dataclass

from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.exchanges.binance.instruments import NS
from marketdata_assets.exchanges.records import FundingRate, Kline, MarketType, OpenInterest, Trade
from marketdata_assets.exchanges.rest import Limits
from marketdata_assets.exchanges.rest_history import Cursor, FetchedPage, numbered_page
from marketdata_assets.exchanges.venue_adapter import Request
from marketdata_assets.exchanges.venue_history import VenueHistory, between

ROWS = 1000  # the most rows of candles, trades and funding rates in one answer, on all markets
PAST_INTEREST = 500  # the most rows of past open interest; it reaches back 30 days

FUNDING_LANE, STATISTICS_LANE = "funding", "statistics"

SECOND = 1000 * NS
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
LONGEST_SPAN = 200 * DAY  # COIN-M answers about so long a time at most

INTERVALS = {
    "1s": SECOND,
    **{f"{count}m": count * MINUTE for count in (1, 3, 5, 15, 30)},
    **{f"{count}h": count * HOUR for count in (1, 2, 4, 6, 8, 12)},
    **{f"{count}d": count * DAY for count in (1, 3)},
    "1w": 7 * DAY,
    "1M": 28 * DAY,  # the shortest
}
"""Of candles. 1s is for spot alone. https://developers.binance.com/docs/binance-spot-api-docs/enums"""

PERIODS = {period: INTERVALS[period] for period in ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")}
"""Of past open interest."""


@dataclass(frozen=True)
class Market:
    """The addresses and limits of one market."""

    socket: str
    rest: str
    path: str  # what every address of REST begins with
    streams: int  # of one connection
    messages_per_second: float  # that we send; more closes the connection, and repeated violations cause a ban
    pool: str  # the hosts of one pool share the weight of REST
    weight_per_minute: int  # of a pool, by address; exchangeInfo has the number of today
    snapshot_weights: Mapping[int, int]  # of a book by its levels, the usual ones first


_SPOT = ("api.binance.com", 6000, {1000: 50, 500: 25, 100: 5})
_FUTURES = ("fapi.binance.com", 2400, {1000: 20, 500: 10, 100: 5, 50: 2})
"""USD-M and COIN-M share one pool since 2026-06-30.
https://developers.binance.com/docs/derivatives/coin-margined-futures/Important-CM-UM-Integration-Notice"""

_OPTIONS = ("eapi.binance.com", 400, {1000: 20})

MARKETS: dict[MarketType, Market] = {
    "spot": Market("wss://stream.binance.com:9443", "https://api.binance.com", "/api/v3", 1024, 5.0, *_SPOT),
    "linear": Market("wss://fstream.binance.com", "https://fapi.binance.com", "/fapi/v1", 1024, 10.0, *_FUTURES),
    "inverse": Market("wss://dstream.binance.com", "https://dapi.binance.com", "/dapi/v1", 1024, 10.0, *_FUTURES),
    "option": Market("wss://fstream.binance.com", "https://eapi.binance.com", "/eapi/v1", 200, 10.0, *_OPTIONS),
}

WEIGHTS: dict[MarketType, dict[str, int]] = {
    "spot": {"klines": 2, "aggTrades": 4, "exchangeInfo": 20},
    "linear": {"klines": 5, "aggTrades": 20, "exchangeInfo": 1},
    "inverse": {"klines": 5, "aggTrades": 20, "exchangeInfo": 1},
    "option": {"klines": 1, "exchangeInfo": 1},
}
"""What requests of ROWS rows cost; all others cost 1.
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api
"""


def limits(budgets: BudgetPlace, market_type: MarketType) -> Limits:
    """The rate limits of a pool of hosts, shared by all processes that use these budgets."""
    market = MARKETS[market_type]
    lanes = {
        FUNDING_LANE: Budget(budgets, f"{market.pool}.{FUNDING_LANE}", 300.0, 500),
        STATISTICS_LANE: Budget(budgets, f"{market.pool}.{STATISTICS_LANE}", 300.0, 1000),
    }
    return Limits(Budget(budgets, market.pool, 60.0, market.weight_per_minute), lanes)


def request_of(market_type: MarketType, what: str, params: Mapping[str, str | int], lane: str = "") -> Request:
    """A request to the path of a market with this name, at its weight."""
    return Request(f"{MARKETS[market_type].path}/{what}", params, lane, WEIGHTS[market_type].get(what, 1))


class BinanceHistory(VenueHistory):
    """Histories of one market of Binance."""

    intervals, periods = INTERVALS, PERIODS

    async def _klines(self, instrument: str, interval: str, cursor: Cursor) -> FetchedPage:
        longest = LONGEST_SPAN if self.market_type == "inverse" else ROWS * INTERVALS[interval]
        request = request_of(self.market_type, "klines", {"symbol": instrument, "interval": interval, "limit": ROWS})
        return await self._span(cursor, min(ROWS * INTERVALS[interval], longest), Kline, request)

    async def _trades(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        """Aggregate trades: one for each order and price. Pages go by time until the first one, one hour each as the
        venue requires, and then by number."""
        number, reached = cursor.number, min(cursor.at + HOUR, cursor.end)
        query: dict[str, str | int] = {"symbol": instrument, "limit": ROWS}
        timed = between(request_of(self.market_type, "aggTrades", query), cursor.at, reached)
        if timed is None:
            return FetchedPage((), False, reached)
        numbered = request_of(self.market_type, "aggTrades", query | {"fromId": number or 0})
        rows = await self._rows(cursor, Trade, timed if number is None else numbered)
        if number is None and not rows:
            return FetchedPage((), False, reached)
        more = number is None or len(rows) >= ROWS
        return numbered_page(cursor, "aggTrades", self.instruments[instrument], rows, more=more)

    async def _funding(self, instrument: str, _: str, cursor: Cursor) -> FetchedPage:
        request = request_of(self.market_type, "fundingRate", {"symbol": instrument, "limit": ROWS}, FUNDING_LANE)
        bounded = between(request, cursor.at, cursor.end)
        rows = await self._rows(cursor, FundingRate, bounded) if bounded else []
        different = {(row.time, row.key): row for row in rows}  # a dividend's rate may equal the regular one
        return FetchedPage([*different.values()], len(rows) < ROWS)

    async def _past_interest(self, instrument: str, period: str, cursor: Cursor) -> FetchedPage:
        query = {"symbol": instrument}
        if self.market_type == "inverse":  # by pair and kind of contract, which do not identify a dated future
            pair, _, kind = instrument.partition("_")
            if kind != "PERP":
                raise ValueError(f"{instrument}: Binance keeps open interest of COIN-M perpetuals by name, of no other")
            query = {"pair": pair, "contractType": "PERPETUAL"}
        params: dict[str, str | int] = {**query, "period": period, "limit": PAST_INTEREST}
        request = Request("/futures/data/openInterestHist", params, STATISTICS_LANE)
        return await self._span(cursor, PAST_INTEREST * PERIODS[period], OpenInterest, request)
