"""The record sets of an alpha: which there are, and what a response of the API means. Fetching is in `fetch_records`.

    GET /alphas/xVWpJpp/recordsets/pnl
    {"schema": {"name": "pnl", "properties": [{"name": "date", "type": "date"}, {"name": "pnl", "type": "amount"}]},
     "records": [["2019-01-02", 0.0], ["2019-01-03", 10480.25]]}

Correlations have `min` and `max` beside the records. Until BRAIN has computed a record set, the response has a
Retry-After and no content. Names of columns are those of the response. The submission check answers otherwise:

    GET /alphas/xVWpJpp/check
    {"is": {"checks": [{"name": "LOW_SHARPE", "result": "PASS", "limit": 1.25, "value": 2.28}, ...], ...}}
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec

CODE_VERSION = "records-1"

RecordSet = Literal[
    "pnl",
    "daily_pnl",
    "turnover",
    "sharpe",
    "yearly_stats",
    "self_correlation",
    "prod_correlation",
    "power_pool_correlation",
    "submission_check",
]
RECORD_SETS: tuple[RecordSet, ...] = get_args(RecordSet)

PATHS: dict[RecordSet, str] = {
    "pnl": "recordsets/pnl",
    "daily_pnl": "recordsets/daily-pnl",
    "turnover": "recordsets/turnover",
    "sharpe": "recordsets/sharpe",
    "yearly_stats": "recordsets/yearly-stats",
    "self_correlation": "correlations/self",
    "prod_correlation": "correlations/prod",
    "power_pool_correlation": "correlations/power-pool",
    "submission_check": "check",
}

DAILY: tuple[RecordSet, ...] = tuple(one for one in RECORD_SETS if one != "submission_check")
"""Those that are kept current; a submission check takes BRAIN a minute, and is fetched on request only."""

BY_TIME: tuple[RecordSet, ...] = ("pnl", "daily_pnl", "turnover", "sharpe", "yearly_stats")
"""Those whose first column is a time, ascending; the others are correlations, and the check."""

POLL_SECONDS = 5.0
"""The wait when a response has neither content nor a Retry-After."""


@dataclass(frozen=True)
class Records:
    """A record set by columns of equal length; `least` and `greatest` are the bounds of a correlation."""

    columns: dict[str, list[Any]]
    types: dict[str, str]
    least: float | None = None
    greatest: float | None = None


@dataclass(frozen=True)
class Pending:
    """BRAIN computes the record set; ask again after so many seconds."""

    seconds: float


def asset_name(record_set: RecordSet) -> str:
    """The asset of a record set, and its database where MARKETDATA_MONGO_DATABASES has no other name."""
    return f"alpha_{record_set}"


class _Property(msgspec.Struct):
    name: str
    type: str = ""


class _Schema(msgspec.Struct):
    properties: list[_Property]


class _Response(msgspec.Struct, rename={"least": "min", "greatest": "max"}):
    schema: _Schema
    records: list[list[Any]]
    least: float | None = None
    greatest: float | None = None


_decoder = msgspec.json.Decoder(_Response)


def decode_records(content: bytes) -> Records:
    """Decode a record set; no content is one without columns.

    Raises ValueError or msgspec.MsgspecError.
    """
    if not content.strip():
        return Records({}, {})
    found = _decoder.decode(content)
    types = {one.name: one.type for one in found.schema.properties}
    width = len(found.schema.properties)
    if len(types) < width or not all(types) or any("." in name or name[0] == "$" for name in types):
        raise msgspec.ValidationError(f"names of columns {[one.name for one in found.schema.properties]}")
    for number, row in enumerate(found.records):
        if len(row) != width:
            raise msgspec.ValidationError(f"record {number} has {len(row)} values in {width} columns")
    columns = {name: [row[place] for row in found.records] for place, name in enumerate(types)}
    return Records(columns, types, found.least, found.greatest)


class _Checks(msgspec.Struct):
    checks: list[dict[str, Any]] = []


class _Check(msgspec.Struct, rename={"in_sample": "is"}):
    in_sample: _Checks | None = None
    os: _Checks | None = None


_check_decoder = msgspec.json.Decoder(_Check)


def decode_check(content: bytes) -> Records:
    """Decode a submission check: a record a check, with a column for each key that any of them has.

    Objects and lists are JSON text. Raises ValueError or msgspec.MsgspecError.
    """
    if not content.strip():
        return Records({}, {})
    found = _check_decoder.decode(content)
    checks = [one for part in (found.in_sample, found.os) if part for one in part.checks]
    names = dict.fromkeys(("name", "result", "limit", "value", *(name for one in checks for name in one)))
    if any("." in name or name[:1] in ("", "$") for name in names):
        raise msgspec.ValidationError(f"names of columns {list(names)}")
    columns = {name: [_flat(one.get(name)) for one in checks] for name in names}
    texts = {name for name, values in columns.items() if any(isinstance(value, str) for value in values)}
    return Records(columns, {name: "string" if name in texts else "decimal" for name in names})


def _flat(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value


def decoder(record_set: RecordSet) -> Callable[[bytes], Records]:
    """What decodes the responses of a record set."""
    return decode_check if record_set == "submission_check" else decode_records
