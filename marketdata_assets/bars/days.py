"""How many minutes of the exchange's day the table has of each stock, day by day, in `stock_1min_days`.

Written in the loader's transaction, so that no check has to count the minutes again.
"""

from collections.abc import Collection, Sequence

import polars as pl
import psycopg
from psycopg import sql

from marketdata_assets.bars.coverage import Spans, first_day
from marketdata_assets.stores import pgread
from marketdata_assets.stores.postgres import statement

DAYS = pl.Schema({"symbol": pl.String(), "date": pl.Date(), "have": pl.Int64(), "source": pl.String()})


def record(
    connection: psycopg.Connection,
    loading: Spans,
    had: Collection[tuple[str, str]],
    others: Collection[tuple[str, str]],
) -> None:
    """Write the counts of what a unit loads, and of the codes and months that it had.

    In the codes and months of `others`, where other units have minutes too, the table is counted.
    """
    if before := sorted({*had, *others}):
        connection.execute(statement(__package__, "days/forget.sql"), _places(before))
    if others:
        connection.execute(statement(__package__, "days/recount.sql"), _places(sorted(others)))
    alone = [place for place in loading if place not in others]
    if alone:
        bars = ["{" + ",".join(map(str, loading[place].days.tolist())) + "}" for place in alone]
        connection.execute(statement(__package__, "days/record.sql"), {**_places(alone), "bars": bars})


def fill(connection: psycopg.Connection) -> None:
    """Count the minutes of the codes and months that have none on record: those of a backup without the counts."""
    query = """
        SELECT DISTINCT code, to_char(month, 'YYYY-MM') FROM stock_1min_coverage c
        WHERE NOT EXISTS (SELECT FROM stock_1min_days d WHERE (d.code, d.month) = (c.code, c.month))"""
    if missing := connection.execute(query).fetchall():
        connection.execute(statement(__package__, "days/recount.sql"), _places(missing))


def read(connection: psycopg.Connection, months: Sequence[str]) -> pl.DataFrame:
    """The minutes of each stock and day in `months` that has any, with the newest file of the month; see DAYS."""
    query = sql.SQL(statement(__package__, "days/read.sql")).format(
        months=sql.Literal([first_day(month) for month in months])
    )
    blocks = [
        pl.read_csv(
            block,
            has_header=False,
            schema={"symbol": pl.String, "month": pl.Date, "bars": pl.String, "source": pl.String},
        )
        for block in pgread.copy_rows(connection, query)
    ]
    if not blocks:
        return DAYS.to_frame()
    counts = pl.col("bars").str.strip_chars("{}").str.split(",").cast(pl.List(pl.Int64))
    frame = pl.concat(blocks).with_columns(have=counts, day=pl.int_ranges(0, 31)).explode("have", "day")
    frame = frame.filter(pl.col("have") > 0)
    return frame.select("symbol", (pl.col("month") + pl.duration(days="day")).alias("date"), "have", "source")


def _places(places: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {"codes": [code for code, _ in places], "months": [first_day(month) for _, month in places]}
