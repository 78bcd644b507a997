"""The ledger in ClickHouse, in the database whose rows it describes: written before a publish, and again after it.

What stands of a unit and how its last attempt ended are rows of their own, each the truth by its newest version. So a
failed attempt cannot undo what another writer says of the data, and no FINAL is needed. Before a publish the unit is
said to be in doubt; a writer that dies in between costs a repeat and no row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import polars as pl

from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.bookkeeping import Entry, Quarantined, Reject
from marketdata_assets.stores.clickhouse import naming_failures

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LEDGER = "marketdata_ledger_rows"
PENDING = ""
INTERRUPTED = "interrupted while it was written"
STEP = 1000
"""Versions between the row before a publish and the row after it; publishes are a million and more apart."""
NEXT_VERSION = (
    f"greatest(toUInt64(toUnixTimestamp64Nano(now64(9))), (SELECT max(version) FROM marketdata_ledger_rows) + {STEP})"
)
"""In SQL: the server's clock in ns, or more when that was set back."""
MAX_RAW = 2048
MAX_REJECTS = 1000
MAX_BOUND = 500
"""More sources than this are picked here instead of in the query."""

_STANDS = ("content_hash", "previous_hash", "slices", "read", "skipped", "rows", "rejected", "origin")
ATTEMPT = ("outcome", "attempted_hash", "error", "code_version", "run_id", "started", "finished")
"""What a row says of the last attempt and not of the data."""
_PLAIN = ("dataset", "unit", "source", *(name for name in (*_STANDS, *ATTEMPT) if name != "slices"))
_NO_REJECTS: dict[str, Any] = {name: [] for name in ("reject_line", "reject_reason", "reject_raw", "reject_slice")}
_TIME = pl.Datetime("us", "UTC")
_COLUMNS = pl.Schema(
    {
        **dict.fromkeys(("dataset", "unit", "source", "aspect"), pl.String()),
        "version": pl.UInt64(),
        **dict.fromkeys(("content_hash", "previous_hash", "slices"), pl.String()),
        **dict.fromkeys(("read", "skipped", "rows", "rejected"), pl.Int64()),
        **dict.fromkeys(("origin", "outcome", "attempted_hash", "error", "code_version", "run_id"), pl.String()),
        **dict.fromkeys(("started", "finished"), _TIME),
        "reject_line": pl.List(pl.Int64()),
        **dict.fromkeys(("reject_reason", "reject_raw", "reject_slice"), pl.List(pl.String())),
    }
)
_DICTIONARIES = ("dataset", "unit", "source", "aspect", "slices", "origin", "outcome", "code_version", "run_id")


@dataclass(frozen=True)
class Load(Entry):
    """An entry, with whom the rows came from. `version` is that of what stands, 0 when nothing ever stood.

    `content_hash` is PENDING when a writer said that it would publish and never came back.
    """

    origin: str = ""
    rejects: tuple[Reject, ...] = ()
    version: int = 0

    @property
    def pending(self) -> bool:
        """Whether nobody knows which version of the unit stands; only loading it again tells."""
        return self.content_hash == PENDING


def ensure(client: "Client") -> None:
    """Create the ledger where it is missing; safe to call at any time."""
    text = files(__package__).joinpath("sql/clickhouse_ledger.sql").read_text()
    with naming_failures():
        for statement in text.split(";\n"):
            if statement.strip():
                client.command(statement)


def table(
    client: "Client", dataset: str, units: Iterable[str] | None = None, sources: Iterable[str] | None = None
) -> pl.DataFrame:
    """The rows of the view, of some units and sources or of all, ordered by source and unit; slices are one text."""
    sql = "SELECT * FROM marketdata_ledger WHERE dataset = %(dataset)s"
    parameters: dict[str, Any] = {"dataset": dataset}
    picked: dict[str, list[str]] = {}
    for name, wanted in (("unit", units), ("source", sources)):
        values = None if wanted is None else sorted(set(wanted))
        if values is not None and 0 < len(values) <= MAX_BOUND:
            sql += f" AND {name} IN %({name})s"
            parameters[name] = values
        elif values is not None:
            picked[name] = values
    found = clickhouse.read(client, sql, parameters)
    for name, values in picked.items():
        found = found.filter(pl.col(name).is_in(values))
    return found.sort("source", "unit")


def entries(
    client: "Client", dataset: str, units: Iterable[str] | None = None, sources: Iterable[str] | None = None
) -> list[Load]:
    """The ledger of some units and sources or of all, ordered by source and unit, without the refused rows."""
    names = [field.name for field in fields(Load) if field.name != "rejects"]
    at = names.index("slices")
    known: dict[str, list[str]] = {}
    loads = []
    for row in table(client, dataset, units, sources).select(names).iter_rows():
        values: list[Any] = list(row)
        text = values[at]
        if text not in known:
            known[text] = text.split(",") if text else []
        values[at] = known[text]
        loads.append(Load(**dict(zip(names, values, strict=True))))
    return loads


def next_version(client: "Client") -> int:
    """A version above all that are recorded."""
    return int(clickhouse.read(client, f"SELECT {NEXT_VERSION} AS version")["version"][0])


def record(client: "Client", loads: Sequence[Load], version: int) -> None:
    """Write what stands now and that the attempt ended so, with the refused rows of what stands."""
    stands = [_row(load, "stands", version) for load in loads]
    _write(client, stands + [row | {"aspect": "attempt"} | _NO_REJECTS for row in stands])


def record_pending(client: "Client", loads: Sequence[Load], version: int) -> None:
    """Write that what stands is in doubt from now on: what `loads` say of slices and rows, and no hash."""
    doubt: dict[str, Any] = {"content_hash": PENDING, "outcome": "failed", "error": INTERRUPTED, **_NO_REJECTS}
    _write(client, [_row(load, "stands", version) | doubt for load in loads])


def record_attempts(client: "Client", loads: Sequence[Load]) -> None:
    """Write only how an attempt ended, with its refused rows; what stands is left as it is."""
    version = next_version(client)
    _write(client, [_row(load, "attempt", version) for load in loads])


def record_unwritten(client: "Client", loads: Sequence[Load]) -> None:
    """Write what is now known of units whose rows were not touched.

    `loads` tell of what stood at their `version`; whoever publishes in the meantime knows better.
    """
    attempt = next_version(client)
    stands = [_row(load, "stands", load.version + 1) for load in loads]
    _write(client, stands + [row | {"aspect": "attempt", "version": attempt} | _NO_REJECTS for row in stands])


def interrupted(client: "Client", dataset: str) -> list[Load]:
    """The units in doubt."""
    return [load for load in entries(client, dataset) if load.pending]


def rejects(client: "Client", dataset: str, unit: str, sources: Iterable[str]) -> dict[str, tuple[Reject, ...]]:
    """The refused rows of what stands of some sources in a unit."""
    sql = f"""
        SELECT source, reject_line, reject_reason, reject_raw, reject_slice FROM {LEDGER}
        WHERE dataset = %(dataset)s AND unit = %(unit)s AND aspect = 'stands' AND source IN %(sources)s
        ORDER BY version DESC LIMIT 1 BY source"""
    found = clickhouse.read(client, sql, {"dataset": dataset, "unit": unit, "sources": sorted(set(sources))})
    return {
        source: tuple(Reject(line, reason, raw, day or None) for line, reason, raw, day in zip(*columns, strict=True))
        for source, *columns in found.iter_rows()
    }


def quarantined(client: "Client", dataset: str, limit: int = 100) -> list[Quarantined]:
    """Up to `limit` refused rows of what stands and of failed attempts, ordered by place."""
    sql = f"""
        SELECT line, reason, raw, if(slice = '', NULL, slice) AS slice, source, unit
        FROM (
            SELECT * FROM {LEDGER} WHERE dataset = {{dataset:String}}
            ORDER BY version DESC LIMIT 1 BY source, unit, aspect
        )
        ARRAY JOIN reject_line AS line, reject_reason AS reason, reject_raw AS raw, reject_slice AS slice
        ORDER BY source, unit, line LIMIT 1 BY source, unit, line, reason, raw LIMIT {{limit:UInt32}}"""
    found = clickhouse.read(client, sql, {"dataset": dataset, "limit": limit})
    return [Quarantined(**row) for row in found.iter_rows(named=True)]


def _write(client: "Client", rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        clickhouse.insert(client, LEDGER, pl.DataFrame(rows, schema=_COLUMNS), _DICTIONARIES)


def _row(load: Load, aspect: str, version: int) -> dict[str, Any]:
    rejects = load.rejects[:MAX_REJECTS]
    return {
        **{name: getattr(load, name) for name in _PLAIN},
        "aspect": aspect,
        "version": version,
        "slices": _joined(load.slices),
        "reject_line": [reject.line for reject in rejects],
        "reject_reason": [reject.reason for reject in rejects],
        "reject_raw": [reject.raw[:MAX_RAW] for reject in rejects],
        "reject_slice": [reject.slice or "" for reject in rejects],
    }


def _joined(slices: Iterable[str]) -> str:
    names = list(slices)
    if any("," in name or not name for name in names):
        raise ValueError(f"a slice has a comma or no name: {names}")
    return ",".join(names)
