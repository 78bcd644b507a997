"""The ledger in ClickHouse, in the database whose rows it describes: written before a publish, and again after it.

The committed content of a unit and the outcome of its last attempt are separate rows, each valid by its newest version.
So a failed attempt cannot overwrite what another writer has committed, and no FINAL is needed. Before a publish the
unit is marked pending; a writer that dies in between costs a repeated load and no row.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import polars as pl

from marketdata_assets.stores import clickhouse, schema_version
from marketdata_assets.stores.bookkeeping import Entry, Quarantined, Reject
from marketdata_assets.stores.clickhouse_ddl import Table
from marketdata_assets.stores.clients import Client

LEDGER = "marketdata_ledger_rows"
COMMITTED, ATTEMPTED = "committed", "attempt"
"""The stored values of `aspect`: the committed content of a unit, and its last attempt."""
PENDING = ""
INTERRUPTED = "interrupted while it was written"
STEP = 1000
"""Versions between the rows before and after a publish; two publishes are at least a million apart."""
NEXT_VERSION = (
    f"greatest(toUInt64(toUnixTimestamp64Nano(now64(9))), (SELECT max(version) FROM marketdata_ledger_rows) + {STEP})"
)
"""In SQL: the server's clock in ns, or more when that was set back."""
MAX_RAW = 2048
MAX_REJECTS = 1000
MAX_BOUND = 500
"""More sources than this are picked here instead of in the query."""

ATTEMPT = ("outcome", "attempted_hash", "error", "code_version", "run_id", "started", "finished")
"""Facts of the last attempt, not of the data."""
_NO_REJECTS: dict[str, Any] = {name: [] for name in ("reject_line", "reject_reason", "reject_raw", "reject_slice")}
_TABLE = Table(LEDGER, __package__, "clickhouse_ledger")


class SliceState(msgspec.Struct, frozen=True, array_like=True):
    """Why a slice, such as a day, is not final: `provisional` ones are requested again, the others are not.

    `incomplete` is known to lack rows, and requesting it has ended; `unsupported` has no source. Of a provisional one:
    `digest` of the answer, `since` which closing it is the same, the last `closed` day and the date when it was
    `requested` last, and whether the answer was `short`. Days are ISO dates.
    """

    slice: str
    state: Literal["provisional", "incomplete", "unsupported"]
    digest: str = ""
    since: str = ""
    closed: str = ""
    requested: str = ""
    short: bool = False


_states = msgspec.json.Decoder(tuple[SliceState, ...])


@dataclass(frozen=True)
class Load(Entry):
    """An entry, with the provider of the rows. `version` is that of the committed rows, 0 when none ever were.

    `content_hash` is PENDING from before a publish until it is recorded. A covered slice without a state is final.
    """

    origin: str = ""
    rejects: tuple[Reject, ...] = ()
    version: int = 0
    states: tuple[SliceState, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether a publish was not recorded, so the committed content is unknown until the unit is loaded again."""
        return self.content_hash == PENDING


def ensure(client: Client, *scripts: str, tables: Collection[str] = ()) -> None:
    """Create the ledger, and what these scripts create, where they are missing; safe to call at any time.

    Raises TerminalError for a database of another version: one that has the ledger, or one of `tables`, and no number.
    """
    schema_version.ensure_clickhouse(client, [LEDGER, *tables])
    clickhouse.create(client, _TABLE.ddl, *scripts)


def table(
    client: Client, dataset: str, units: Iterable[str] | None = None, sources: Iterable[str] | None = None
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
    client: Client, dataset: str, units: Iterable[str] | None = None, sources: Iterable[str] | None = None
) -> list[Load]:
    """The ledger of some units and sources or of all, ordered by source and unit, without the rejected rows."""
    known: dict[str, list[str]] = {}
    loads = []
    for row in table(client, dataset, units, sources).rename({"slice_states": "states"}).iter_rows(named=True):
        text = row["slices"]
        if text not in known:
            known[text] = text.split(",") if text else []
        row["slices"], row["states"] = known[text], states_of(row["states"])
        loads.append(Load(**row))
    return loads


def states_of(text: str) -> tuple[SliceState, ...]:
    """The states of slices as the column `slice_states` has them."""
    return _states.decode(text) if text else ()


def next_version(client: Client) -> int:
    """A version above all that are recorded."""
    return int(clickhouse.read(client, f"SELECT {NEXT_VERSION} AS version")["version"][0])


def record(client: Client, loads: Sequence[Load], version: int) -> None:
    """Record committed rows and the outcome of their attempt, with the rejected rows."""
    committed = [_row(load, COMMITTED, version) for load in loads]
    _write(client, committed + [row | {"aspect": ATTEMPTED} | _NO_REJECTS for row in committed])


def record_pending(client: Client, loads: Sequence[Load], version: int) -> None:
    """Record that a publish is pending: the slices and row counts of `loads`, and no content hash."""
    pending: dict[str, Any] = {"content_hash": PENDING, "outcome": "failed", "error": INTERRUPTED, **_NO_REJECTS}
    _write(client, [_row(load, COMMITTED, version) | pending for load in loads])


def record_attempts(client: Client, loads: Sequence[Load]) -> None:
    """Record only the outcome of an attempt, with its rejected rows; the committed entry is unchanged."""
    version = next_version(client)
    _write(client, [_row(load, ATTEMPTED, version) for load in loads])


def record_unwritten(client: Client, loads: Sequence[Load]) -> None:
    """Record new facts of units whose rows were not touched.

    `loads` describe the rows of their `version`; a publish in the meantime has a newer one and takes precedence.
    """
    attempt = next_version(client)
    committed = [_row(load, COMMITTED, load.version + 1) for load in loads]
    _write(client, committed + [row | {"aspect": ATTEMPTED, "version": attempt} | _NO_REJECTS for row in committed])


def forget(client: Client, dataset: str, sources: Iterable[str]) -> None:
    """Delete the entries of some sources in all units, with their rejected rows; the log of attempts is kept."""
    where = "dataset = %(dataset)s AND source IN %(sources)s"
    with clickhouse.naming_failures():
        client.command(f"DELETE FROM {LEDGER} WHERE {where}", {"dataset": dataset, "sources": sorted(set(sources))})


def rejects(client: Client, dataset: str, unit: str, sources: Iterable[str]) -> dict[str, tuple[Reject, ...]]:
    """The rejected rows of the committed entry of some sources in a unit."""
    sql = f"""
        SELECT source, reject_line, reject_reason, reject_raw, reject_slice FROM {LEDGER}
        WHERE dataset = %(dataset)s AND unit = %(unit)s AND aspect = '{COMMITTED}' AND source IN %(sources)s
        ORDER BY version DESC LIMIT 1 BY source"""
    found = clickhouse.read(client, sql, {"dataset": dataset, "unit": unit, "sources": sorted(set(sources))})
    return {
        source: tuple(Reject(line, reason, raw, day or None) for line, reason, raw, day in zip(*columns, strict=True))
        for source, *columns in found.iter_rows()
    }


def quarantined(client: Client, dataset: str, limit: int = 100) -> list[Quarantined]:
    """Up to `limit` rejected rows of committed entries and of failed attempts, ordered by place."""
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


def _write(client: Client, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        clickhouse.insert(client, LEDGER, pl.DataFrame(rows, schema=_TABLE.columns), _TABLE.dictionaries)


def _row(load: Load, aspect: str, version: int) -> dict[str, Any]:
    if any("," in name or not name for name in load.slices):
        raise ValueError(f"a slice must have a name without commas, was {load.slices}")
    rejects = load.rejects[:MAX_REJECTS]
    facts = vars(load) | {
        "aspect": aspect,
        "version": version,
        "slices": ",".join(load.slices),
        "slice_states": msgspec.json.encode(load.states).decode() if load.states else "",
        "reject_line": [reject.line for reject in rejects],
        "reject_reason": [reject.reason for reject in rejects],
        "reject_raw": [reject.raw[:MAX_RAW] for reject in rejects],
        "reject_slice": [reject.slice or "" for reject in rejects],
    }
    return {name: facts[name] for name in _TABLE.columns}
