"""The file ledger in ClickHouse: a row for each file of a folder, what a scan saw of it last, and what became of it.

It grows with the files; a scan reads it with one query, and writes what has changed with one insert. What a file has,
and when it counts as loaded, is the domain's business.
"""

import datetime as dt
import time
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
TABLE = Table(FILES, __package__, "clickhouse_files")
_LASTING: dict[str, Any] = {"version": 0, "age": 0, "forgotten": ""}
"""Of a file, whatever its content is."""
_NEW: dict[str, Any] = {
    "state": "unfinished",
    **dict.fromkeys(("units", "read", "skipped", "rows", "rejected", "attempts"), 0),
    **dict.fromkeys(("last", "compared"), NEVER),
    **dict.fromkeys(("request", "error"), ""),
}
"""Of a content that no scan has seen before."""
_AWAY = ["removed", "lost"]

log = get_logger(__name__)


def table(client: Client, dataset: str) -> pl.DataFrame:
    """The newest row of each file, by name."""
    sql = f"SELECT * FROM {FILES} FINAL WHERE dataset = {{dataset:String}} ORDER BY file"
    return TABLE.fit(clickhouse.read(client, sql, {"dataset": dataset}))


def record(client: Client, rows: pl.DataFrame) -> None:
    """Record new facts of files: rows of `table`, changed."""
    now = pl.lit(time.time_ns(), pl.UInt64)
    rows = TABLE.fit(rows.with_columns(version=pl.max_horizontal(now, pl.col("version") + 1)))
    clickhouse.insert(client, FILES, rows, TABLE.dictionaries)


def observe(client: Client, dataset: str, present: pl.DataFrame, reader: str, now_ns: int) -> pl.DataFrame:
    """The rows of the files that are present, by name, once it is recorded which are new, changed, back or gone.

    `present` has the columns file, size, modified and changed. A file that was read with
    other settings than `reader` counts as changed. `now_ns` is the scanner's clock.
    """
    known = table(client, dataset)
    seen = present.with_columns(dataset=pl.lit(dataset), reader=pl.lit(reader), observed=pl.lit(now_ns))
    same = known.join(seen, on=["file", "size", "modified", "changed", "reader"], how="semi", maintain_order="left")
    new = _new(seen.join(same, on="file", how="anti"), known)
    back = _back(same, now_ns)
    gone = known.join(seen, on="file", how="anti").filter(~pl.col("state").is_in([*_AWAY, "forgotten"]))
    gone = _gone(gone, new)
    lost = gone.filter(pl.col("state") == "lost")["file"]
    if len(lost):
        log.warning("files_lost", dataset=dataset, files=len(lost), first=lost.min())
    record(client, pl.concat([new, back, gone]))
    return merged(same, pl.concat([new, back]))


def merged(rows: pl.DataFrame, newer: pl.DataFrame) -> pl.DataFrame:
    """`rows` of files by name, with the `newer` ones in their places; without copies of rows where none is newer."""
    if newer.is_empty():
        return rows
    return pl.concat([newer, rows.join(newer, on="file", how="anti")]).sort("file")


def _new(files: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Files that are new, or have another content than is known of them."""
    # Of a content that no load has settled some rows may be loaded nevertheless, by one that was killed.
    age = pl.when(pl.col("age") == 0).then("modified").otherwise("age")
    rows = files.join(known.with_columns(age=age).select("file", *_LASTING), on="file", how="left")
    lasting = (pl.col(name).fill_null(value) for name, value in _LASTING.items())
    return TABLE.fit(rows.with_columns(*lasting, *(pl.lit(value).alias(name) for name, value in _NEW.items())))


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
