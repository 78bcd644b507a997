"""Tushare over its HTTP API: minute bars, daily factors, adjustment factors, the list of stocks.

    POST / {"api_name": "stk_mins", "token": "...", "fields": "ts_code,trade_time,...",
            "params": {"ts_code": "600000.SH", "freq": "1min", "start_date": "2026-09-01 00:00:00", ...}}

An answer has at most 8000 rows, newest first, and both dates are included. Bars are labelled with the end of their
minute on the exchange's clock; `vol` is in shares, `amount` in yuan. https://tushare.pro/document/2?doc_id=370

    {"code": 0, "msg": "", "data": {"fields": ["ts_code", "trade_time", "close", ...], "has_more": false,
     "items": [["600000.SH", "2026-09-30 15:00:00", 9.48, ...], ...]}}
    {"code": 40203, "msg": "抱歉，您每小时最多访问该接口1次，权限的具体详情访问：...", "data": null}

The order of `fields` is not that of the request, `count` may be 0 beside rows, and the HTTP status says
nothing. What an error rejects is decided in `rejections`. https://tushare.pro/document/1?doc_id=130
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

import httpx
import msgspec
import polars as pl

from marketdata_assets.errors import MarketDataError, TransientError
from marketdata_assets.http_client import RetryLater
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.reference.records import Days, Label
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.ticks import records
from marketdata_assets.ticks.errors import BadResponse, NoToken
from marketdata_assets.ticks.provider_client import REJECTED, HttpProvider, ProviderClient, RateLimiter
from marketdata_assets.ticks.providers_file import Session, WebProvider
from marketdata_assets.ticks.records import Delivery
from marketdata_assets.ticks.rejections import TUSHARE, rule_of

URL = "https://api.tushare.pro"
NAME = "tushare"
LABEL: Label = "end"

CAP = 8000  # the most rows of minute bars in one answer

BARS_A_DAY = 241
DAYS_A_CALL = CAP // BARS_A_DAY

LEAST_CAP = 1000
"""No answer with fewer rows is cut; one with more and a round number may be, whatever `has_more` says."""

_TIME = "%Y-%m-%d %H:%M:%S"
_BAR_COLUMNS = ("ts_code", "trade_time", "open", "high", "low", "close", "vol", "amount")
_NUMBERS = {"open": "open", "high": "high", "low": "low", "close": "close", "vol": "volume", "amount": "turnover"}

TOKEN_VARIABLE = "TUSHARE_TOKEN"  # noqa: S105 - the name, not the token
_Value = str | int | float | None  # true and false are no numbers


class _Data(msgspec.Struct):
    fields: list[str]
    items: msgspec.Raw  # rows, as arrays
    has_more: bool | None = None


class _Envelope(msgspec.Struct):
    code: int
    msg: str | None = None
    message: str | None = None
    data: _Data | None = None


class Answer(msgspec.Struct, frozen=True):
    """The rows of an answer, by column."""

    columns: dict[str, list[Any]]
    rows: int
    has_more: bool
    place: str  # the request, for errors

    def numbers(self, name: str) -> pl.Series:
        """A column of numbers; BadResponse when a value is none."""
        values = self.columns[name]
        for value in values:
            if value is not None and not isinstance(value, int | float):
                raise BadResponse(self.place, f"column {name!r} must be numbers, was {value!r}")
        return pl.Series(name, values, pl.Float64)

    def days(self, name: str) -> list[dt.date]:
        """A column of days `20260930`; BadResponse when one is missing or none."""
        return [day for value in self.columns[name] if (day := self._day(name, value))]

    def days_or_null(self, name: str) -> list[dt.date | None]:
        return [None if value in (None, "") else self._day(name, value) for value in self.columns[name]]

    def keys(self, ours: Callable[[str], str | None]) -> pl.DataFrame:
        """The symbol of each row, null where `ours` knows none, and its date."""
        symbols = [ours(str(code)) for code in self.columns["ts_code"]]
        return pl.DataFrame(
            {"symbol": symbols, "date": self.days("trade_date")}, {"symbol": pl.String, "date": pl.Date}
        )

    def _day(self, name: str, value: object) -> dt.date:
        try:
            return dt.datetime.strptime(str(value), "%Y%m%d").replace(tzinfo=dt.UTC).date()
        except ValueError as error:
            raise BadResponse(self.place, f"column {name!r} must be days such as 20260930, was {value!r}") from error


_envelope = msgspec.json.Decoder(_Envelope)
_NAME = "c{}"


@dataclass(frozen=True)
class Account:
    """The token of an account, and its rate limiter."""

    token: str = field(repr=False)
    limiter: RateLimiter


@dataclass
class _Client:
    """The requests of one account."""

    token: str = field(repr=False)
    calls: ProviderClient
    waiting: int = 0


class Tushare(HttpProvider):
    """Accounts at Tushare, which share the requests: each goes to the one with the fewest waiting.

    Every method raises TokenRejected, NoPermission, AccountBlocked, QuotaSpent, RequestRejected, BadResponse or
    ProviderUnavailable; without an account, NoToken. An account that is rejected is left out as long as there is
    another.
    """

    name = NAME
    label = LABEL

    def __init__(
        self,
        accounts: Sequence[Account],
        config: WebProvider,
        *,
        url: str = URL,
        cap: int = CAP,
        **options: Any,
    ) -> None:
        self.config = config
        self._cap = cap
        secrets = tuple(account.token for account in accounts)
        options |= {"secrets": secrets, "credentials": TOKEN_VARIABLE}
        self._clients = [
            _Client(account.token, ProviderClient(NAME, url, account.limiter, config.network, **options))
            for account in accounts
        ]
        super().__init__(*(client.calls for client in self._clients))

    @property
    def configured(self) -> bool:
        """Whether it has a token."""
        return bool(self._clients)

    async def bars(self, symbol: str, days: Days) -> Delivery:
        """The minute bars of `symbol` in `days`: `ok` or `empty`. Raises UnknownSymbol."""
        theirs = self.theirs(symbol)
        tables = [table for piece in days.slices(DAYS_A_CALL) for table in await self._minutes(theirs, piece)]
        return await self._calls[0].in_thread(self._delivery, tables, symbol, theirs, days)

    async def daily(self, days: Days, symbol: str | None = None) -> pl.DataFrame:
        """The daily factors, see records.DAILY, of one symbol, or of all with one request a day."""
        return await self._by_day("daily_basic", records.DAILY, days, symbol)

    async def adjustments(self, days: Days, symbol: str | None = None) -> pl.DataFrame:
        """The adjustment factors, see records.ADJUSTMENTS, of one symbol, or of all with one request a day."""
        return await self._by_day("adj_factor", records.ADJUSTMENTS, days, symbol)

    def _delivery(self, tables: list[Answer], symbol: str, theirs: str, days: Days) -> Delivery:
        """The bars of the answers; takes a while, in which the next request need not wait."""
        for table in tables:  # a row of another symbol would be written under this one
            if others := set(map(str, set(table.columns["ts_code"]))) - {theirs}:
                raise BadResponse(table.place, f"it has rows of {min(others)}")
        answered = tables[0].columns
        if len(tables) > 1:
            answered = {name: [value for table in tables for value in table.columns[name]] for name in _BAR_COLUMNS}
        raw = _raw(answered, self.config.session)
        local = raw["ts"].dt.convert_time_zone(self.config.session.timezone)
        for moment in (local.min(), local.max()):
            if isinstance(moment, dt.datetime) and not days.first <= moment.date() <= days.last:
                raise BadResponse(f"{NAME} stk_mins {symbol} {days}", f"it has rows of {moment.date()}")
        found = records.bars(raw, NAME, symbol, days, LABEL, "CNY", self.config)
        return replace(found, rejected=tuple(_with_text(reject, answered) for reject in found.rejected))

    async def _minutes(self, theirs: str, days: Days) -> list[Answer]:
        """The responses with all bars of `days`; one at the cap may be cut, so its days are requested in halves."""
        params = {
            "ts_code": theirs,
            "freq": "1min",
            "start_date": f"{days.first} 00:00:00",
            "end_date": f"{days.last} 23:59:59",
        }
        table = await self._ask("stk_mins", params, _BAR_COLUMNS, f"{theirs} {days}")
        if table.rows < self._cap and not table.has_more:
            return [table]
        if len(days) == 1:
            raise BadResponse(table.place, f"one day has {table.rows} rows and more, the cap is {self._cap}")
        return [table for half in days.slices((len(days) + 1) // 2) for table in await self._minutes(theirs, half)]

    async def _by_day(self, interface: str, schema: pl.Schema, days: Days, symbol: str | None) -> pl.DataFrame:
        values = [name for name in schema.names() if name not in ("provider", "symbol", "date")]
        columns = ("ts_code", "trade_date", *values)
        if symbol is None:
            requested: list[tuple[dict[str, str], str]] = [({"trade_date": f"{day:%Y%m%d}"}, f"{day}") for day in days]
        else:
            theirs = self.theirs(symbol)
            span = {"ts_code": theirs, "start_date": f"{days.first:%Y%m%d}", "end_date": f"{days.last:%Y%m%d}"}
            requested = [(span, f"{theirs} {days}")]
        frames = [schema.to_frame()]
        for params, what in requested:
            table = _whole(await self._ask(interface, params, columns, what))
            frame = table.keys(self.config.symbol_mapping.ours).with_columns(map(table.numbers, values))
            frames.append(frame.with_columns(provider=pl.lit(NAME)).select(schema.names()))
        return one_a_day(pl.concat(frames), f"{NAME} {interface} {days}")

    async def all_rows(self, interface: str, params: dict[str, str], columns: tuple[str, ...], what: str) -> Answer:
        """All rows of an interface without a key; an answer that may be cut is continued at its end."""
        answer = page = await self._ask(interface, params, columns, what)
        while page.has_more or (page.rows >= LEAST_CAP and page.rows % 100 == 0):
            following = await self._ask(interface, params | {"offset": str(answer.rows)}, columns, what)
            if not following.rows or following.columns == page.columns:  # the end, or `offset` is not understood
                return _whole(page) and answer
            page = following
            joined = {name: answer.columns[name] + page.columns[name] for name in columns}
            answer = Answer(joined, answer.rows + page.rows, False, answer.place)
        return answer

    async def _ask(self, interface: str, params: dict[str, str], columns: tuple[str, ...], what: str) -> Answer:
        rejected: list[MarketDataError] = []
        what = f"{interface} {what}"
        for client in sorted(self._clients, key=lambda client: client.waiting):
            body = {"api_name": interface, "token": client.token, "params": params, "fields": ",".join(columns)}
            parse = partial(_parse, client.calls, interface, what, columns)
            client.waiting += 1
            try:
                return await client.calls.send(what, interface, parse, "POST", "/", json=body)
            except REJECTED as error:
                rejected.append(error)
            finally:
                client.waiting -= 1
        later = (error for error in rejected if isinstance(error, TransientError))
        raise next(later, rejected[-1] if rejected else NoToken(NAME, TOKEN_VARIABLE)).with_traceback(None)


def _raw(answered: dict[str, list[Any]], session: Session) -> pl.DataFrame:
    """The rows as `records.bars` takes them, but for their text."""
    odd: dict[int, str] = {}
    numbers = [_numbers(ours, name, answered[name], odd) for name, ours in _NUMBERS.items()]
    times = [value if isinstance(value, str) else None for value in answered["trade_time"]]
    reasons = pl.Series("reason", [odd.get(row) for row in range(len(times))], pl.String)
    frame = pl.DataFrame([pl.Series("ts", times, pl.String), *numbers, reasons]).with_row_index("line", 1)
    ts = records.to_utc(pl.col("ts").str.to_datetime(_TIME, strict=False), session)
    return frame.with_columns(pl.col("line").cast(pl.Int64), ts=ts, raw=pl.lit(""))


def _with_text(reject: Reject, answered: dict[str, list[Any]]) -> Reject:
    values = [answered[name][reject.line - 1] for name in _BAR_COLUMNS]
    return replace(reject, raw=",".join("" if value is None else str(value) for value in values))


def _numbers(ours: str, name: str, values: list[Any], odd: dict[int, str]) -> pl.Series:
    """A column of numbers; rows with something else are noted in `odd`."""
    try:
        return pl.Series(ours, values, pl.Float64)
    except TypeError:
        numbers = [value if _number(value) else None for value in values]
        for row, value in enumerate(values):
            if not _number(value):
                odd.setdefault(row, f"{name} is not a number")
        return pl.Series(ours, numbers, pl.Float64)


def _number(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def one_a_day(rows: pl.DataFrame, place: str) -> pl.DataFrame:
    """The rows that have a symbol, ordered, each symbol and date once; BadResponse where two of them differ."""
    rows = rows.drop_nulls("symbol").unique().sort("symbol", "date")
    if repeated := rows.filter(pl.struct("symbol", "date").is_duplicated())["symbol"].to_list():
        raise BadResponse(place, f"it has two different rows of {repeated[0]} for one day")
    return rows


def _whole(table: Answer) -> Answer:
    if table.has_more:
        raise BadResponse(table.place, f"it was cut after {table.rows} rows")
    return table


def _parse(
    calls: ProviderClient, interface: str, what: str, columns: Sequence[str], response: httpx.Response
) -> Answer | RetryLater:
    """The table of a response, or why to retry; raises an error for any other."""
    try:
        envelope = _envelope.decode(response.content)
    except NOT_JSON:
        return calls.rejected(interface, what, response)
    if envelope.code:
        text = envelope.msg or envelope.message or ""
        return calls.reject(interface, what, rule_of(TUSHARE, envelope.code, text), envelope.code, text)
    place = f"tushare {what}"
    if envelope.data is None:
        raise BadResponse(place, "the answer says it is good and has no data")
    data = envelope.data
    missing = [name for name in columns if name not in data.fields]
    if missing:
        raise BadResponse(place, f"columns {', '.join(missing)} are missing; it has {', '.join(data.fields) or 'none'}")
    if len(set(data.fields)) < len(data.fields):
        raise BadResponse(place, f"a column is there twice in {', '.join(data.fields)}")
    rows = _rows(data, place)
    by_column = {name: list(map(attrgetter(_NAME.format(data.fields.index(name))), rows)) for name in columns}
    return Answer(by_column, len(rows), bool(data.has_more), place)


def _rows(data: _Data, place: str) -> list[Any]:
    """The rows as structs with a field for each column; BadResponse when one has more or fewer values."""
    try:
        return _decoder(len(data.fields)).decode(data.items)
    except msgspec.ValidationError:
        for item in msgspec.json.decode(data.items, type=list[list[_Value]]):
            if len(item) != len(data.fields):
                cause = f"a row has {len(item)} values for {len(data.fields)} columns: {item!r:.100}"
                raise BadResponse(place, cause) from None
        raise


@lru_cache
def _decoder(columns: int) -> msgspec.json.Decoder[list[Any]]:
    """Reads rows of so many columns. Thousands of lists would keep the garbage collector busy; these structs do not."""
    names = [(_NAME.format(number), _Value) for number in range(columns)]
    row = msgspec.defstruct("Row", names, array_like=True, gc=False, forbid_unknown_fields=True)
    return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
