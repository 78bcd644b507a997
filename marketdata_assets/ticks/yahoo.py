"""Yahoo's v8 chart: minute bars of the last 30 days, splits and dividends.

    GET /v8/finance/chart/600000.SS?interval=1m&period1=1748995200&period2=1749600000&includePrePost=false
    {"chart": {"result": [{"meta": {"currency": "CNY", ...}, "timestamp": [1749000600, ...],
     "indicators": {"quote": [{"open": [9.48, null], ...}]}}], "error": null}}

Times are epoch seconds in UTC already (`gmtoffset` is for display), `period2` is excluded. Bars are labelled with the
start of their minute, there is no turnover. A bar that is null in all five arrays is skipped. An empty window has no
`timestamp`. 404 is an unknown symbol, 400 no data, 422 a window beyond the reach or too long, 429 plain text.
"""

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import polars as pl

from marketdata_assets.errors import TransientError
from marketdata_assets.http_client import RetryLater
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.reference.exchanges import exchange_of
from marketdata_assets.reference.records import Days, Label
from marketdata_assets.ticks import records
from marketdata_assets.ticks.errors import BadResponse, TicksError, UnknownSymbol
from marketdata_assets.ticks.provider_client import HttpProvider, ProviderClient, RateLimiter
from marketdata_assets.ticks.providers_file import Session, WebProvider
from marketdata_assets.ticks.records import Delivery
from marketdata_assets.ticks.rejections import YAHOO, rule_of

URL = "https://query1.finance.yahoo.com"
NAME = "yahoo"
LABEL: Label = "start"

INTERFACE = "chart"
PROBE = "600000.SS"
DAYS_A_CALL = 7
REACH = dt.timedelta(days=30)  # how far back minute bars go

_ARRAYS = ("open", "high", "low", "close", "volume")


class _Meta(msgspec.Struct):
    currency: str | None = None
    symbol: str | None = None
    data_granularity: str | None = msgspec.field(name="dataGranularity", default=None)


class _Quote(msgspec.Struct):
    open: list[float | None] | None = None
    high: list[float | None] | None = None
    low: list[float | None] | None = None
    close: list[float | None] | None = None
    volume: list[float | None] | None = None


class _Indicators(msgspec.Struct):
    quote: list[_Quote]


class _Dividend(msgspec.Struct):
    date: int
    amount: float


class _Split(msgspec.Struct):
    date: int
    numerator: float
    denominator: float


class _Events(msgspec.Struct):
    dividends: dict[str, _Dividend] = {}
    splits: dict[str, _Split] = {}


class _Result(msgspec.Struct):
    meta: _Meta
    indicators: _Indicators
    timestamp: list[int] | None = None
    events: _Events = msgspec.field(default_factory=_Events)


class _Error(msgspec.Struct):
    code: str = ""
    description: str = ""


class _Chart(msgspec.Struct):
    result: list[_Result] | None = None
    error: _Error | None = None


class _Answer(msgspec.Struct):
    chart: _Chart


_answer = msgspec.json.Decoder(_Answer)


class Yahoo(HttpProvider):
    """Every method raises UnknownSymbol, RequestRejected, BadResponse, ProviderUnavailable, AccountBlocked or
    QuotaSpent."""

    name = NAME
    label = LABEL

    def __init__(
        self,
        config: WebProvider,
        limiter: RateLimiter,
        *,
        clock: Callable[[], dt.datetime],
        url: str = URL,
        **options: Any,
    ) -> None:
        self.config = config
        self._clock = clock
        headers = {"User-Agent": "marketdata-assets"}  # not that of a browser: Yahoo may know who asks, and say no
        super().__init__(ProviderClient(NAME, url, limiter, config.network, headers=headers, **options))

    async def bars(self, symbol: str, days: Days) -> Delivery:
        """The minute bars of `symbol` in `days`: `ok`, `empty`, or `unsupported` when the last day is beyond the reach.

        The days of the delivery are those that it reaches.
        """
        without = partial(Delivery.without, NAME, symbol, days, LABEL)
        theirs = self.theirs(symbol)
        now = self._clock()
        beyond = f"1-minute bars go back {REACH.days} days, {days.first} is earlier"
        first = self.first_day(symbol)
        reached = Days(max(days.first, first), days.last) if first <= days.last else None
        if reached is None:
            return without("unsupported", beyond)
        cut, days = reached != days, reached
        opening = self._opening(days.first, symbol)
        results: list[_Result] = []
        for piece in days.slices(DAYS_A_CALL):
            start, end = self._span(piece, symbol)
            if start >= now.timestamp():
                break
            start = max(start, int(opening.timestamp()))
            answer = await self._ask(theirs, f"interval=1m&period1={start}&period2={end}&includePrePost=false")
            if isinstance(answer, str):
                return without("unsupported", answer)
            if isinstance(answer, _Result):
                results.append(self._checked(answer, symbol, days, theirs))
        currency = next((result.meta.currency for result in results if result.meta.currency), None)
        found = records.bars(_frame(results, theirs), NAME, symbol, days, LABEL, currency, self.config)
        return without("unsupported", beyond) if cut and found.outcome == "empty" else found

    def first_day(self, symbol: str) -> dt.date:
        """The first day whose opening it reaches."""
        earliest = self._clock() - REACH
        day = earliest.astimezone(self._session(symbol).zone).date()
        return day if self._opening(day, symbol) > earliest else day + dt.timedelta(days=1)

    def _opening(self, day: dt.date, symbol: str) -> dt.datetime:
        session = self._session(symbol)
        return dt.datetime.combine(day, session.spans[0][0], session.zone)

    def _session(self, symbol: str) -> Session:
        return self.config.session.of(exchange_of(symbol))

    async def actions(self, symbol: str, days: Days) -> pl.DataFrame:
        """Splits and dividends of `symbol` in `days`, see records.ACTIONS, by date; they go back to its listing."""
        theirs = self.theirs(symbol)
        start, end = self._span(days, symbol)
        answer = await self._ask(theirs, f"interval=1d&period1={start}&period2={end}&events=div%7Csplit")
        rows: list[tuple[Any, ...]] = []
        if isinstance(answer, _Result):
            splits, dividends = answer.events.splits.values(), answer.events.dividends.values()
            rows += [(split.date, "split", split.numerator, split.denominator, None, None) for split in splits]
            rows += [
                (dividend.date, "dividend", None, None, dividend.amount, answer.meta.currency) for dividend in dividends
            ]
        names = ("date", "kind", "numerator", "denominator", "amount", "currency")
        schema = {name: pl.Int64 if name == "date" else records.ACTIONS[name] for name in names}
        epoch = pl.from_epoch("date").dt.replace_time_zone("UTC")
        frame = pl.DataFrame(rows, schema, orient="row").with_columns(
            epoch.dt.convert_time_zone(self._session(symbol).timezone).dt.date(),
            provider=pl.lit(NAME),
            symbol=pl.lit(symbol),
        )
        inside = pl.col("date").is_between(days.first, days.last)
        return frame.select(records.ACTIONS.names()).filter(inside).sort("date", "kind")

    def _span(self, days: Days, symbol: str) -> tuple[int, int]:
        zone = self._session(symbol).zone
        start = dt.datetime.combine(days.first, dt.time(), zone)
        end = dt.datetime.combine(days.last + dt.timedelta(days=1), dt.time(), zone)
        return int(start.timestamp()), int(end.timestamp())

    async def _ask(self, theirs: str, query: str) -> _Result | str | None:
        what = f"chart {theirs} {query}"
        parse = partial(_parse, self._calls[0], theirs, what)
        return await self._calls[0].send(what, INTERFACE, parse, "GET", f"/v8/finance/chart/{quote(theirs)}?{query}")

    def _checked(self, result: _Result, symbol: str, days: Days, theirs: str) -> _Result:
        place = f"{NAME} chart {theirs} {days}"
        if result.meta.symbol not in (None, theirs):
            raise BadResponse(place, f"it is about {result.meta.symbol}")
        if result.meta.data_granularity not in (None, "1m"):
            raise BadResponse(place, f"its bars are of {result.meta.data_granularity}, not of 1m")
        for name in _ARRAYS if result.timestamp else ():
            array = getattr(result.indicators.quote[0], name) if result.indicators.quote else None
            if array is None or len(array) != len(result.timestamp or ()):
                has = "no" if array is None else len(array)
                raise BadResponse(place, f"it has {len(result.timestamp or ())} times and {has} values of {name!r}")
        start, end = self._span(days, symbol)
        if others := [second for second in result.timestamp or () if not start <= second < end]:
            raise BadResponse(place, f"it has a bar of {dt.datetime.fromtimestamp(others[0], dt.UTC)}")
        return result

    async def why_closed(self) -> str:
        """Why it does not answer this machine now, by one request; empty when it does. Raises nothing of Yahoo's."""
        what = "chart of one stock"
        parse = partial(_parse, self._calls[0], PROBE, what)
        try:
            await self._calls[0].probe(what, parse, f"/v8/finance/chart/{PROBE}?interval=1d&range=5d")
        except UnknownSymbol:
            pass
        except (TicksError, TransientError) as error:
            return str(error)
        return ""


def _frame(results: list[_Result], theirs: str) -> pl.DataFrame:
    """The rows as `records.bars` takes them."""
    columns: dict[str, list[Any]] = {name: [] for name in ("ts", *_ARRAYS)}
    for result in results:
        columns["ts"] += result.timestamp or []
        for name in _ARRAYS if result.timestamp else ():
            columns[name] += getattr(result.indicators.quote[0], name)
    raw = pl.DataFrame(columns, {"ts": pl.Int64, **dict.fromkeys(_ARRAYS, pl.Float64)}).with_row_index("line", 1)
    text = pl.concat_str(pl.lit(theirs), *("ts", *_ARRAYS), separator=",", ignore_nulls=False)
    return raw.filter(pl.any_horizontal(pl.col(*_ARRAYS).is_not_null())).with_columns(
        pl.col("line").cast(pl.Int64),
        raw=text,
        ts=pl.from_epoch("ts").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC"),
    )


def _parse(
    calls: ProviderClient, theirs: str, what: str, response: httpx.Response
) -> _Result | str | RetryLater | None:
    """The result, the reason why the window is out of reach, or None for a known symbol with nothing in the window."""
    rejected = partial(calls.rejected, INTERFACE, what, response, rules=YAHOO)
    try:
        chart = _answer.decode(response.content).chart
    except NOT_JSON:
        return rejected()
    said = calls.redact(chart.error.description or chart.error.code) if chart.error else ""
    if response.status_code == httpx.codes.NOT_FOUND:
        raise UnknownSymbol(NAME, theirs, said)
    if "last 30 days" in said:
        return said
    if response.status_code == httpx.codes.BAD_REQUEST and said.startswith("Data doesn't exist"):
        return None
    if not response.is_success or rule_of(YAHOO, response.status_code, said).scope == "account":
        return rejected(said)
    if not chart.result or chart.error:
        raise BadResponse(f"{NAME} {what}", f"the answer has no result ({said or 'no reason given'})")
    return chart.result[0]
