"""The sensor's scan of dropped files: which symbol-months to load now, so many that one run can load them.

What is due is in the ledger of files; the cursor has nothing but the keys of the last requests.
"""

import datetime as dt
import json
from dataclasses import dataclass

import polars as pl

from marketdata_assets.loading.watch import fingerprint
from marketdata_assets.stores import clickhouse_files
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks import file_ledger
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA, Table

MAX_UNITS = 20_000  # symbol-months of one run; further files are for the next one
MAX_FILES = 5_000
SECONDS = 1.5  # for reading what is in new files of one kind, once they are listed; the next scan continues
ANY_DAY = dt.date(2099, 12, 31)


@dataclass(frozen=True)
class Batch:
    """Files to load in one run: their rows as they were scanned, their symbol-months, and the key of the run."""

    key: str
    files: pl.DataFrame
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class FileScan:
    """What to load now of bars and of order books.

    `unfinished` files may still be written, and `left` ones are registered by the next scans. `unreadable` has the
    cause for each file of which nothing can be read.
    """

    batches: dict[str, Batch]
    cursor: str
    unfinished: tuple[str, ...] = ()
    left: int = 0
    unreadable: tuple[str, ...] = ()

    def units(self, table: Table) -> tuple[Unit, ...]:
        batch = self.batches.get(table.name)
        return batch.units if batch else ()


def scan(
    client: Client,
    files: Files,
    cursor: str | None,
    *,
    now_ns: int,
    quiet_seconds: float,
    seconds: float = SECONDS,
) -> FileScan:
    """The files that are finished and not yet requested, or were requested last without a cursor being stored.

    A file that was removed changes nothing: the rows loaded from it are kept.
    """
    before = json.loads(cursor) if cursor else {}
    requested: dict[str, str] = before if isinstance(before, dict) else {}
    batches, unfinished, unreadable, left = dict[str, Batch](), list[str](), list[str](), 0
    for table in (TICK_DATA, ORDER_BOOK):
        known = file_ledger.FileLedger(client, files, table)
        seen = known.see(now_ns=now_ns, quiet_seconds=quiet_seconds, seconds=seconds, again=False)
        unfinished += seen.unfinished[: 100 if seen.left == 0 else 0]
        unreadable += seen.unreadable
        left += seen.left
        old_enough = seen.rows.filter(now_ns - pl.col("observed") >= int(quiet_seconds * 1e9))
        batch = _next(client, table, old_enough, requested.get(table.name, ""), now_ns)
        if batch:
            batches[table.name] = batch
    requested = requested | {name: batch.key for name, batch in batches.items()}
    return FileScan(batches, json.dumps(requested, sort_keys=True), tuple(unfinished), left, tuple(unreadable))


def mark(client: Client, found: FileScan) -> None:
    """Record that the files of the batches were requested; until then the next scan gives them again."""
    for batch in found.batches.values():
        clickhouse_files.record(client, batch.files.with_columns(request=pl.lit(batch.key)))


def _next(client: Client, table: Table, rows: pl.DataFrame, last: str, now_ns: int) -> Batch | None:
    newest = str(rows["request"].max() or "")
    waiting = rows.filter(pl.col("state") == "waiting")
    files, key = waiting.filter(pl.col("request") == newest), newest
    if newest <= last or files.is_empty():  # else it was recorded, and the cursor was not stored
        files = waiting.filter(pl.col("request") == "").head(MAX_FILES)
        files = files.filter(pl.col("units").cum_sum() - pl.col("units") < MAX_UNITS)
        key = f"{now_ns:020d}-{fingerprint(*files['file'])}"
    if files.is_empty():
        return None
    units = file_ledger.due(client, table, ANY_DAY, files["file"].to_list())
    return Batch(key, files, tuple(sorted(units))) if units else None
