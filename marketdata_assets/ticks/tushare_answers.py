"""What Tushare answers: the envelope, its error codes, and the columns by their names.

    {"code": 0, "msg": "", "data": {"fields": ["ts_code", "trade_time", "close", ...], "has_more": false,
     "items": [["600000.SH", "2026-09-30 15:00:00", 9.48, ...], ...]}}
    {"code": 40203, "msg": "抱歉，您每小时最多访问该接口1次，权限的具体详情访问：...", "data": null}

The order of `fields` is not the one that was asked for, `count` may be 0 beside rows, and the HTTP status says
nothing. Both a rate limit and a missing permission are 40203; a rate limit mentions permissions too, so it is looked
for first. https://tushare.pro/document/1?doc_id=130
"""

import datetime as dt
from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import httpx
import msgspec
import polars as pl

from marketdata_assets.ticks.errors import BadAnswer, NoPermission, QuotaSpent, RequestRefused, TokenRefused
from marketdata_assets.ticks.provider_client import ProviderClient, RetryLater

TOKEN_VARIABLE = "TUSHARE_TOKEN"  # noqa: S105 - the name, not the token
BAD_TOKEN = 40101

_PERIODS = (("每分钟", 60.0), ("每小时", 3600.0))
_OTHER_RATES = ("频率", "频次", "访问过快", "访问太频繁")
_DAILY = ("每天", "每日最多")
_PERMISSION = ("权限", "积分")


_Value = str | int | float | None  # true and false are no numbers


class _Data(msgspec.Struct):
    fields: list[str]
    items: msgspec.Raw  # rows, as arrays
    has_more: bool | None = None


class _Envelope(msgspec.Struct):
    code: int
    msg: str | None = None
    data: _Data | None = None


class Table(msgspec.Struct, frozen=True):
    """The rows of an answer, by column."""

    columns: dict[str, list[Any]]
    rows: int
    has_more: bool
    place: str  # the request, for errors

    def numbers(self, name: str) -> pl.Series:
        """A column of numbers; BadAnswer when a value is none."""
        values = self.columns[name]
        for value in values:
            if value is not None and not isinstance(value, int | float):
                raise BadAnswer(self.place, f"column {name!r} must be numbers, was {value!r}")
        return pl.Series(name, values, pl.Float64)

    def days(self, name: str) -> list[dt.date]:
        """A column of days `20260930`; BadAnswer when one is missing or none."""
        return [day for value in self.columns[name] if (day := self._day(name, value))]

    def days_or_null(self, name: str) -> list[dt.date | None]:
        return [None if value in (None, "") else self._day(name, value) for value in self.columns[name]]

    def _day(self, name: str, value: object) -> dt.date:
        try:
            return dt.datetime.strptime(str(value), "%Y%m%d").replace(tzinfo=dt.UTC).date()
        except ValueError as error:
            raise BadAnswer(self.place, f"column {name!r} must be days such as 20260930, was {value!r}") from error


_envelope = msgspec.json.Decoder(_Envelope)
_NAME = "c{}"


def judged(
    calls: ProviderClient, interface: str, what: str, columns: Sequence[str], response: httpx.Response
) -> Table | RetryLater:
    """The table of an answer, or why it is to be asked for again, or an error."""
    try:
        envelope = _envelope.decode(response.content)
    except msgspec.MsgspecError:
        if not response.is_success:
            return calls.refused(what, response)
        raise
    if envelope.code:
        return _refusal(calls, interface, what, envelope.code, envelope.msg or "")
    place = f"tushare {what}"
    if envelope.data is None:
        raise BadAnswer(place, "the answer says it is good and has no data")
    return _table(envelope.data, place, columns)


def _table(data: _Data, place: str, columns: Sequence[str]) -> Table:
    missing = [name for name in columns if name not in data.fields]
    if missing:
        raise BadAnswer(place, f"columns {', '.join(missing)} are missing; it has {', '.join(data.fields) or 'none'}")
    if len(set(data.fields)) < len(data.fields):
        raise BadAnswer(place, f"a column is there twice in {', '.join(data.fields)}")
    rows = _rows(data, place)
    by_column = {name: list(map(attrgetter(_NAME.format(data.fields.index(name))), rows)) for name in columns}
    return Table(by_column, len(rows), bool(data.has_more), place)


def _rows(data: _Data, place: str) -> list[Any]:
    """The rows as structs with a field for each column; BadAnswer when one has more or fewer values."""
    try:
        return _decoder(len(data.fields)).decode(data.items)
    except msgspec.ValidationError:
        for item in msgspec.json.decode(data.items, type=list[list[_Value]]):
            if len(item) != len(data.fields):
                cause = f"a row has {len(item)} values for {len(data.fields)} columns: {item!r:.100}"
                raise BadAnswer(place, cause) from None
        raise


@lru_cache
def _decoder(columns: int) -> msgspec.json.Decoder[list[Any]]:
    """Reads rows of so many columns. Thousands of lists would keep the garbage collector busy; these structs do not."""
    names = [(_NAME.format(number), _Value) for number in range(columns)]
    row = msgspec.defstruct("Row", names, array_like=True, gc=False, forbid_unknown_fields=True)
    return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]


def _refusal(calls: ProviderClient, interface: str, what: str, code: int, message: str) -> RetryLater:
    text = calls.clean(message) or "no reason given"
    said = f"{code} ({text})"
    if code == BAD_TOKEN:
        raise TokenRefused("tushare", TOKEN_VARIABLE, text)
    if any(word in message for word in _DAILY):
        raise QuotaSpent(f"tushare {what}", said)
    for word, seconds in _PERIODS:
        if word in message:
            return RetryLater(said, seconds)
    if any(word in message for word in _OTHER_RATES):
        return RetryLater(said, _PERIODS[0][1])
    if any(word in message for word in _PERMISSION):
        raise NoPermission("tushare", interface, text)
    raise RequestRefused(f"tushare {what}", code, text)
