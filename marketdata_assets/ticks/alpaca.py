"""Alpaca's stock bars: minutes of US stocks since 2016, with the keys of an account, which is free.

    GET /v2/stocks/bars?symbols=AAPL&timeframe=1Min&start=2026-09-01T13:30:00Z&end=2026-09-01T19:59:59Z&adjustment=raw
    {"bars": {"AAPL": [{"t": "2026-09-01T13:30:00Z", "o": 230.1, "h": 230.4, "l": 229.9, "c": 230.2, "v": 1204112,
     "n": 9713, "vw": 230.15}]}, "next_page_token": null, "currency": "USD"}

Bars are labelled with the start of their minute in UTC, prices are as traded (`adjustment=raw`), a minute without a
trade has no bar, and there is no turnover. `feed=sip` is all exchanges; of the last 15 minutes a free account may not
have it. Each session is a request of its own, as there are bars of the hours before and after it too.
https://docs.alpaca.markets/reference/stockbars
"""

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import polars as pl

from marketdata_assets.http_client import RetryLater
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.reference.records import Days, Label
from marketdata_assets.ticks import records
from marketdata_assets.ticks.errors import BadResponse, NoToken, UnknownSymbol
from marketdata_assets.ticks.provider_client import HttpProvider, ProviderClient, RateLimiter
from marketdata_assets.ticks.providers_file import ALPACA_KEYS, WebProvider
from marketdata_assets.ticks.records import Delivery
from marketdata_assets.ticks.rejections import ALPACA, WEB, rule_of

URL = "https://data.alpaca.markets"
NAME = "alpaca"
LABEL: Label = "start"
INTERFACE = "bars"

FIRST_DAY = dt.date(2016, 1, 1)
DELAY = dt.timedelta(minutes=16)  # a free account has no bars of the last 15 minutes
LIMIT = 10_000  # bars in one answer; a session has 390


class _Bar(msgspec.Struct):
    t: dt.datetime  # start of the minute, UTC
    o: float | None = None
    h: float | None = None
    l: float | None = None  # noqa: E741 - Alpaca's name
    c: float | None = None
    v: float | None = None  # shares


class _Answer(msgspec.Struct):
    bars: dict[str, list[_Bar]] | None = None
    next_page_token: str | None = None
    currency: str = "USD"


class _Error(msgspec.Struct):
    message: str


_answer, _error = msgspec.json.Decoder(_Answer), msgspec.json.Decoder(_Error)


class Alpaca(HttpProvider):
    """One account. A method raises TokenRejected, NoPermission, AccountBlocked, QuotaSpent, RequestRejected,
    UnknownSymbol, BadResponse or ProviderUnavailable; without `keys`, id and secret, NoToken."""

    name = NAME
    label = LABEL

    def __init__(
        self,
        keys: tuple[str, str] | None,
        config: WebProvider,
        limiter: RateLimiter,
        *,
        clock: Callable[[], dt.datetime],
        url: str = URL,
        **options: Any,
    ) -> None:
        self.config = config
        self._keys, self._clock = keys, clock
        headers = dict(zip(("APCA-API-KEY-ID", "APCA-API-SECRET-KEY"), keys or (), strict=False))
        options |= {"headers": headers, "secrets": keys or (), "credentials": " and ".join(ALPACA_KEYS)}
        super().__init__(ProviderClient(NAME, url, limiter, config.network, **options))

    @property
    def configured(self) -> bool:
        """Whether it has keys."""
        return self._keys is not None

    async def bars(self, symbol: str, days: Days) -> Delivery:
        """The minute bars of `symbol` in the sessions of `days`: `ok`, `empty`, or `unsupported` before 2016."""
        theirs = self.theirs(symbol).removesuffix(".US").replace("-", ".")  # BRK-B.US is its BRK.B
        if not self._keys:
            raise NoToken(NAME, " and ".join(ALPACA_KEYS))
        if days.last < FIRST_DAY:
            return Delivery.without(NAME, symbol, days, LABEL, "unsupported", f"its bars begin on {FIRST_DAY}")
        days = Days(max(days.first, FIRST_DAY), days.last)
        bars = [bar for day in days if day.weekday() < 5 for bar in await self._session(theirs, day)]
        return records.bars(_frame(theirs, bars), NAME, symbol, days, LABEL, "USD", self.config)

    async def _session(self, theirs: str, day: dt.date) -> list[_Bar]:
        """The bars of one session, as far as an account may see them."""
        zone, spans = self.config.session.zone, self.config.session.spans
        start = dt.datetime.combine(day, spans[0][0], zone).astimezone(dt.UTC)
        end = dt.datetime.combine(day, spans[-1][1], zone).astimezone(dt.UTC)
        end = min(end, self._clock() - DELAY) - dt.timedelta(seconds=1)
        if end <= start:
            return []
        what = f"bars {theirs} {day}"
        query = {
            "symbols": theirs,
            "timeframe": "1Min",
            "start": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "end": f"{end:%Y-%m-%dT%H:%M:%SZ}",
            "limit": LIMIT,
            "adjustment": "raw",
            "feed": "sip",
        }
        parse = partial(_parse, self._calls[0], theirs, what)
        bars = await self._calls[0].send(what, INTERFACE, parse, "GET", f"/v2/stocks/bars?{urlencode(query)}")
        if others := [bar.t for bar in bars if not start <= bar.t <= end]:
            raise BadResponse(f"{NAME} {what}", f"it has a bar of {others[0]}")
        return bars


def _frame(theirs: str, bars: list[_Bar]) -> pl.DataFrame:
    """The rows as `records.bars` takes them."""
    numbers = dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64)
    values = [(bar.t, bar.o, bar.h, bar.l, bar.c, bar.v) for bar in bars]
    frame = pl.DataFrame(values, {"ts": pl.Datetime("us", "UTC"), **numbers}, orient="row").with_row_index("line", 1)
    text = pl.concat_str(pl.lit(theirs), "ts", *numbers, separator=",", ignore_nulls=False)
    ts = pl.col("ts").cast(pl.Datetime("ms", "UTC"))
    return frame.with_columns(pl.col("line").cast(pl.Int64), ts, raw=text)


def _parse(calls: ProviderClient, theirs: str, what: str, response: httpx.Response) -> list[_Bar] | RetryLater:
    """The bars of a response, or why to retry; raises an error for any other."""
    if not response.is_success:
        try:
            text = _error.decode(response.content).message
        except NOT_JSON:
            return calls.rejected(INTERFACE, what, response)
        if "invalid symbol" in text:
            raise UnknownSymbol(NAME, theirs, calls.redact(text))
        status = response.status_code
        return calls.reject(INTERFACE, what, rule_of((*ALPACA, *WEB), status, text), status, text)
    try:
        answer = _answer.decode(response.content)
    except NOT_JSON:
        return calls.rejected(INTERFACE, what, response)
    if answer.next_page_token:
        raise BadResponse(f"{NAME} {what}", f"a session has more than {LIMIT} bars")
    bars = answer.bars or {}
    if answer.currency != "USD" or bars.keys() - {theirs}:
        raise BadResponse(f"{NAME} {what}", f"it is about {', '.join(sorted(bars))} in {answer.currency}")
    return bars.get(theirs) or []
