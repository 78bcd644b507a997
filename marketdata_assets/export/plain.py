"""Records of one type as Parquet with hive partitions, as ClickHouse writes it: all columns of the table."""

import datetime as dt
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import polars as pl

from marketdata_assets.exchanges.tables.schema import FINAL, TABLES
from marketdata_assets.export.exchange_rows import Day
from marketdata_assets.read.exchanges import about
from marketdata_assets.state_files import replacing
from marketdata_assets.stores.clickhouse import naming_failures, quoted

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

IN_PATH = ("exchange", "market_type", "instrument")
CHUNK = 1 << 20
PARQUET = "output_format_parquet_string_as_string = 1, output_format_parquet_compression_method = 'zstd'"


def path_of(record_type: str, day: Day) -> Path:
    """Where the records of a day are, below the folder of the export."""
    parts = {"type": record_type, "exchange": day.exchange, "market_type": day.market_type}
    parts["instrument"] = quote(day.instrument, safe="")
    return Path(*(f"{name}={value}" for name, value in parts.items())) / f"{day.date}.parquet"


def write(record_type: str, day: Day, client: "Client", path: Path) -> int:
    """Write the records whose `time` is in that day (UTC), in its order; the number of rows."""
    table = TABLES[record_type]
    columns = [name for name in (*table.columns, "time") if name not in IN_PATH]
    midnight = dt.datetime.combine(day.date, dt.time(), dt.UTC)
    end = midnight + dt.timedelta(days=1)
    where = about(table.name, day.exchange, day.market_type, day.instrument, midnight, end)
    order = ["time", *(name for name in ("last_id", "trade_id", "interval", "stream", "ts_recv") if name in columns)]
    sql = (
        f"SELECT {', '.join(map(quoted, columns))} FROM {table.name} FINAL WHERE {where}"
        f" ORDER BY {', '.join(map(quoted, order))} SETTINGS {FINAL}, {PARQUET}"
    )
    with replacing(path, path.with_name(f".{path.name}.partial")) as file, naming_failures():
        stream = client.raw_stream(sql, parameters=where.values, fmt="Parquet")
        shutil.copyfileobj(stream, file, CHUNK)  # type: ignore[arg-type]
    return int(pl.scan_parquet(path).select(pl.len()).collect().item())
