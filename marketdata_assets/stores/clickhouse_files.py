"""The file ledger in ClickHouse: a row for each file of a folder, what a scan saw of it last, and what became of it.

It grows with the files, and a scan reads and writes it in a few requests. What a file has, and when it counts as
loaded, is the domain's business.
"""

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import polars as pl

from marketdata_assets.logs import get_logger
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clickhouse_ddl import Table
from marketdata_assets.stores.clients import Client

FILES = "marketdata_files"
State = Literal["unfinished", "waiting", "loaded", "failed", "forgotten", "removed", "lost"]
"""`unfinished` may still be written, `waiting` is to be loaded, `forgotten` is not; `removed` was deleted after it was
loaded, `lost` before."""
NEVER = dt.date(1970, 1, 1)
_TABLE = Table(FILES, __package__, "clickhouse_files")
_NEW: dict[str, Any] = {
    "state": "unfinished",
    **dict.fromkeys(("units", "read", "skipped", "rows", "rejected", "attempts", "age"), 0),
    **dict.fromkeys(("last", "compared"), NEVER),
    **dict.fromkeys(("request", "error", "forgotten"), ""),
    "version": 0,
}

SCANNED = ("file", "size", "modified", "observed", "state", "units", "request", "reader", "age", "forgotten", "version")
_LASTING = ("version", "age", "forgotten")
"""Of a file, whatever its content is."""
_AWAY = ["removed", "lost"]
CHUNK_NAMES = 500
MAX_NAMED = 10_000

log = get_logger(__name__)


def ensure(client: Client) -> None:
    """Create the table where it is missing; safe to call at any time."""
    clickhouse.create(client, _TABLE.ddl)


def table(client: Client, dataset: str) -> pl.DataFrame:
    """The newest row of each file, by name."""
    sql = f"SELECT * FROM {FILES} FINAL WHERE dataset = {{dataset:String}} ORDER BY file"
    return _TABLE.fit(clickhouse.read(client, sql, {"dataset": dataset}))


def record(client: Client, rows: pl.DataFrame) -> None:
    """Record new facts of files: rows of `table`, changed. The columns that it lacks are those of a new file."""
    now = pl.lit(time.time_ns(), pl.UInt64)
    rows = _filled(rows).with_columns(version=pl.max_horizontal(now, pl.col("version") + 1))
    clickhouse.insert(client, FILES, rows, _TABLE.dictionaries)


def _filled(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows, with the columns of a new file where they lack some."""
    missing = [pl.lit(value).alias(name) for name, value in _NEW.items() if name not in rows.columns]
    return _TABLE.fit(rows.with_columns(missing))


def scanned(client: Client, dataset: str) -> pl.DataFrame:
    """What a scan compares of the newest row of each file, without the other columns."""
    columns = ", ".join(SCANNED)
    sql = f"SELECT {columns} FROM {FILES} FINAL WHERE dataset = {{dataset:String}}"
    return clickhouse.read(client, sql, {"dataset": dataset}).cast({"state": pl.String, "reader": pl.String})


def complete(client: Client, dataset: str, rows: pl.DataFrame) -> pl.DataFrame:
    """`rows`, which have some columns of some files, with the other columns as they are recorded."""
    if rows.height > MAX_NAMED:
        recorded = table(client, dataset)
    else:
        sql = f"SELECT * FROM {FILES} FINAL WHERE dataset = {{dataset:String}} AND file IN {{files:Array(String)}}"
        found = read_named(client, sql, {"dataset": dataset}, rows["file"].to_list())
        recorded = pl.concat([_TABLE.columns.to_frame(), *map(_TABLE.fit, found)])
    others = [name for name in _TABLE.columns.names() if name == "file" or name not in rows.columns]
    return rows.join(recorded.select(others), on="file").select(_TABLE.columns.names())


def read_named(client: Client, sql: str, parameters: Mapping[str, Any], names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The results of a query of some files, `{files:Array(String)}`, for a part of them at a time."""
    for at in range(0, len(names), CHUNK_NAMES):
        yield clickhouse.read(client, sql, {**parameters, "files": names[at : at + CHUNK_NAMES]})


def observe(client: Client, dataset: str, present: pl.DataFrame, reader: str, now_ns: int) -> pl.DataFrame:
    """The rows of the files that are present, as `scanned`, once it is recorded which are new, changed, back or gone.

    `present` has the columns file, size and modified. A file that was read with other settings than `reader` counts as
    changed. `now_ns` is the scanner's clock.
    """
    known = scanned(client, dataset)
    seen = present.with_columns(reader=pl.lit(reader))
    same = known.join(seen, on=["file", "size", "modified", "reader"], how="semi")
    # Of a content that no load has settled some rows may be loaded nevertheless, by one that was killed.
    before = known.with_columns(age=pl.when(pl.col("age") == 0).then("modified").otherwise("age"))
    new = seen.join(same, on="file", how="anti").join(before.select("file", *_LASTING), on="file", how="left")
    gone = known.filter(~pl.col("state").is_in([*_AWAY, "forgotten"])).join(seen, on="file", how="anti")
    new = new.with_columns(pl.col(name).fill_null(_NEW[name]) for name in _LASTING)
    new = _filled(new.with_columns(dataset=pl.lit(dataset), observed=pl.lit(now_ns)))
    back = _back(same, now_ns)
    gone = _gone(gone, new)
    lost = gone.filter(pl.col("state") == "lost")["file"]
    if len(lost):
        log.warning("files_lost", dataset=dataset, files=len(lost), first=lost.min())
    for frame in (new, *(complete(client, dataset, one) for one in (back, gone) if not one.is_empty())):
        record(client, frame)
    if new.is_empty() and back.is_empty():
        return same.sort("file")
    kept = same.join(back, on="file", how="anti")
    return pl.concat([new.select(SCANNED), back.select(SCANNED), kept]).sort("file")


def _back(same: pl.DataFrame, now_ns: int) -> pl.DataFrame:
    """Files that were gone, and those that were observed before the clock was set back, with their state now.

    One that was loaded is again: others may have replaced its rows meanwhile, and have given some back.
    """
    returned = pl.col("state").is_in(_AWAY)
    waits = (pl.col("state") == "lost") & (pl.col("units") > 0)
    state = pl.when(waits).then(pl.lit("waiting")).otherwise(pl.lit("unfinished"))
    early = (pl.col("state") == "unfinished") & (pl.col("observed") > now_ns)
    rows = same.filter(returned | early).with_columns(state=state, observed=pl.lit(now_ns, pl.Int64))
    return rows.with_columns(request=pl.lit(""), error=pl.lit(""))


def _gone(gone: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Files that were deleted; a file that was moved is one that appears elsewhere in the same state."""
    moved = gone.join(new, on=["size", "modified"], how="semi").select("file", moved=pl.lit(True))
    gone = gone.join(moved, on="file", how="left")
    safe = (pl.col("state") == "loaded") | pl.col("moved").fill_null(False)
    state = pl.when(safe).then(pl.lit("removed")).otherwise(pl.lit("lost"))
    error = pl.when(safe).then(pl.lit("")).otherwise(pl.lit("deleted before it was loaded"))
    return gone.with_columns(state=state, error=error).drop("moved")
