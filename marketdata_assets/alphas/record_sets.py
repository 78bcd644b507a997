"""The record sets of an alpha: which there are, and what a response of the API means. Fetching is in `fetch_records`.

    GET /alphas/xVWpJpp/recordsets/pnl
    {"schema": {"name": "pnl", "properties": [{"name": "date", "type": "date"}, {"name": "pnl", "type": "amount"}]},
     "records": [["2019-01-02", 0.0], ["2019-01-03", 10480.25]]}

Correlations have `min` and `max` beside the records. Until BRAIN has computed a record set, the response has a
Retry-After and no content. Names of columns are those of the response.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec

CODE_VERSION = "records-1"

RecordSet = Literal["pnl", "turnover", "sharpe", "yearly_stats", "self_correlation", "prod_correlation"]
RECORD_SETS: tuple[RecordSet, ...] = get_args(RecordSet)

PATHS: dict[RecordSet, str] = {
    "pnl": "recordsets/pnl",
    "turnover": "recordsets/turnover",
    "sharpe": "recordsets/sharpe",
    "yearly_stats": "recordsets/yearly-stats",
    "self_correlation": "correlations/self",
    "prod_correlation": "correlations/prod",
}

BY_TIME: tuple[RecordSet, ...] = ("pnl", "turnover", "sharpe", "yearly_stats")
"""Those whose first column is a time, ascending; the others are correlations."""

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
