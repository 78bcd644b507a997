"""Trades and books in the layout of nautilus_trader's Parquet data catalog, of its standard 128-bit build.

https://nautilustrader.io/docs/latest/concepts/data#data-catalog. The files are
`data/trade_tick/<instrument id>/<first>_<last>.parquet` and `data/order_book_delta/...`. Prices and sizes are 16-byte
little-endian integers in units of 1e-16; the schema's metadata has the instrument id and the digits that are shown. A
file covers one day of `ts_init`, the time of receipt.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from marketdata_assets.export.book_events import level_rows
from marketdata_assets.export.exchange_rows import CannotExport, Day
from marketdata_assets.state_files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

SCALE = 16
FOLDERS = {"trade": "trade_tick", "orderbook": "order_book_delta"}
UPDATE, DELETE, CLEAR, ADD = 2, 3, 4, 1  # actions of an OrderBookDelta
BUY, SELL = 1, 2  # sides of an order, and of an aggressor
LAST, SNAPSHOT = 128, 32  # flags
DECIMALS = ("price", "size")


def instrument_id(day: Day) -> str:
    """As BTCUSDT.BINANCE; outside of spot with the market, as BTCUSDT-LINEAR.BINANCE."""
    market = "" if day.market_type == "spot" else f"-{day.market_type.upper()}"
    return f"{day.instrument}{market}.{day.exchange.upper()}"


def path_of(record_type: str, day: Day) -> Path:
    """Where the records of a day are, below the folder of the catalog."""
    span = f"{day.date}T00-00-00-000000000Z_{day.date}T23-59-59-999999999Z.parquet"
    return Path("data") / FOLDERS[record_type] / instrument_id(day).replace("/", "") / span


def write(path: Path, day: Day, precisions: tuple[int, int], frames: Iterable[pl.DataFrame]) -> int:
    """Write frames of `trades` or `deltas` as one file; the number of rows. Raises CannotExport."""
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise CannotExport("pyarrow is not installed; run: pip install pyarrow") from error
    if max(precisions) > SCALE:
        raise CannotExport(
            f"{day.instrument} on {day.date} has {max(precisions)} digits after the point, the layout has {SCALE}. Use"
            " the layout plain."
        )
    names = ("instrument_id", "price_precision", "size_precision")
    metadata = dict(zip(names, (instrument_id(day), *map(str, precisions)), strict=True))
    rows, writer = 0, None
    with replacing(path) as file:
        try:
            for frame in frames:
                table = _table(frame, metadata)
                writer = writer or pq.ParquetWriter(file, table.schema)
                writer.write_table(table)
                rows += frame.height
        finally:
            if writer:
                writer.close()
    return rows


def trades(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of TradeTick."""
    return frame.select(
        "price",
        "size",
        aggressor_side=_side("buy"),
        trade_id="trade_id",
        ts_event=pl.col("exch").cast(pl.UInt64),
        ts_init=pl.col("local").cast(pl.UInt64),
    )


def deltas(events: pl.DataFrame) -> pl.DataFrame:
    """The rows of OrderBookDelta: a snapshot clears the book first, the last delta of an event has F_LAST."""
    rows = level_rows(events)
    last = pl.col("event") != pl.col("event").shift(-1)
    action = (
        pl.when(pl.col("buy").is_null()).then(CLEAR)
        .when(pl.col("whole")).then(ADD)
        .when(pl.col("size") == 0).then(DELETE)
        .otherwise(UPDATE)
    )  # fmt: skip
    flags = pl.when(last.fill_null(True)).then(LAST).otherwise(0) + pl.when("whole").then(SNAPSHOT).otherwise(0)
    return rows.select(
        action=action.cast(pl.UInt8),
        side=pl.when(pl.col("buy").is_null()).then(0).otherwise(_side("buy")).cast(pl.UInt8),
        price="price",
        size="size",
        order_id=pl.lit(0, pl.UInt64),
        flags=flags.cast(pl.UInt8),
        sequence=pl.col("last_id").fill_null(0).cast(pl.UInt64),
        ts_event=pl.col("exch").cast(pl.UInt64),
        ts_init=pl.col("local").cast(pl.UInt64),
    )


def _side(buy: str) -> pl.Expr:
    return pl.when(buy).then(BUY).otherwise(SELL).cast(pl.UInt8)


def _table(frame: pl.DataFrame, metadata: dict[str, str]) -> "pa.Table":
    import pyarrow as pa

    columns: list[Any] = []
    for name in frame.columns:
        series = frame[name].rechunk()
        if name in DECIMALS:  # the bytes of a 128-bit decimal are those of the integer
            decimals = series.cast(pl.Decimal(38, SCALE)).to_arrow()
            columns.append(pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(decimals), decimals.buffers()))
        else:
            array = series.to_arrow()
            columns.append(array.cast(pa.string()) if name == "trade_id" else array)
    fields = [pa.field(name, column.type, False) for name, column in zip(frame.columns, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata))
