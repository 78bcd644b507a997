"""What was delivered against what the tables hold: is anything lacking, invented or there twice.

Counted and compared without the project's own code.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import psycopg
from pymongo import MongoClient

from marketdata_assets.stores import clickhouse
from tests.soak.world import ARCHIVED, FETCHED, World

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

KEYS = {
    "tick_data": "symbol, ts",
    "order_book": "symbol, ts",
    "exchange_trades": "exchange, market_type, instrument, time, trade_id, aggregated",
    "exchange_ohlcv_1m": "exchange, market_type, instrument, time",
}


def differences(world: World) -> list[str]:
    """Where the tables hold something else than was delivered, or something twice."""
    return [*_bars(world), *_daily(world), *_alphas(world), *_clickhouse(world)]


def _bars(world: World) -> Iterator[str]:
    expected = 0
    for path in world.settings.bars_folder.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                expected += sum(1 for line in io.BytesIO(archive.read(member)) if line.strip()) - 1
    yield from _postgres(world, "stock_1min_qfq", "code, time", expected)


def _daily(world: World) -> Iterator[str]:
    folder = world.settings.flows_data_folder / "stock_daily"
    expected = sum(len(path.read_bytes().splitlines()) - 2 for path in folder.glob("*.csv"))
    yield from _postgres(world, "stock_daily", "code, trade_date", expected)


def _postgres(world: World, table: str, key: str, expected: int) -> Iterator[str]:
    assert world.stack.endpoints.postgres_dsn
    with psycopg.connect(world.stack.endpoints.postgres_dsn) as connection:
        row = connection.execute(f"SELECT count(*), count(DISTINCT ({key})) FROM {table}").fetchone()  # type: ignore[arg-type]
    assert row
    if row != (expected, expected):
        yield f"{table}: {row[0]} rows, {row[1]} different, {expected} delivered"


def _alphas(world: World) -> Iterator[str]:
    with MongoClient(world.stack.endpoints.mongo_uri) as client:
        for kind in ("regular", "super"):
            served = {name for name, alpha in world.alphas.items() if alpha.kind == kind}
            archived = _archived(world.settings.alphas_folder / ARCHIVED, kind)
            for account, expected in ((FETCHED, served), (ARCHIVED, archived)):
                ids = [one["id"] for one in client[f"{kind}_alphas"][account].find({}, {"id": 1})]
                if len(ids) != len(set(ids)):
                    yield f"{kind}_alphas of {account}: {len(ids)} documents of {len(set(ids))} alphas"
                if expected - set(ids):
                    yield f"{kind}_alphas of {account}: {len(expected - set(ids))} lacking"
                # What was imported from a slice stays when another takes its place: only the served can be invented.
                if account == FETCHED and set(ids) - expected:
                    yield f"{kind}_alphas of {account}: {len(set(ids) - expected)} invented"


def _archived(folder: Path, kind: str) -> set[str]:
    """Alphas that stand in the files of an archive: arrays in slices, single ones in the days of the old tool."""
    found: set[str] = set()
    for part in ("primeval_data", "final_data"):
        for path in (folder / part).rglob(f"*{kind}_alpha*.json"):
            told = json.loads(path.read_bytes())
            found |= {one["id"] for one in (told if isinstance(told, list) else [told]) if "id" in one}
    return found


def _clickhouse(world: World) -> Iterator[str]:
    assert world.stack.endpoints.clickhouse_url
    with clickhouse.connect(world.stack.endpoints.clickhouse_url) as client:
        for table, key in KEYS.items():
            final = "FINAL" if table.startswith("exchange_") else ""
            rows, different = client.query(
                f"SELECT toInt64(count()), toInt64(uniqExact({key})) FROM {table} {final}"
            ).result_rows[0]
            if rows != different:
                yield f"{table}: {rows} rows, {different} different"
        yield from _dropped(world, client)
        yield from _traded(world, client)


def _dropped(world: World, client: "Client") -> Iterator[str]:
    """Bars and books of the dropped files, the last delivery of each, to the value."""
    folder = world.settings.ticks_folder
    bars = [_read(path) for path in (*folder.glob("*.csv"), *folder.glob("*.parquet"))]
    books = [_read(path) for path in folder.glob("*/*.csv")]
    for table, frames, ours, theirs in (
        ("tick_data", bars, ("close", "volume"), "close, toInt64(volume)"),
        ("order_book", books, ("bid_price_1", "bid_size_1"), "bid_price[1], bid_size[1]"),
    ):
        frame = pl.concat(frames, how="vertical_relaxed").sort("symbol", "ts")
        symbols = frame["symbol"].unique().to_list()
        query = f"SELECT toString(symbol), {theirs} FROM {table} WHERE symbol IN {{symbols:Array(String)}}"
        stand = client.query(f"{query} ORDER BY symbol, ts", parameters={"symbols": symbols}).result_rows
        wanted = frame.select("symbol", *ours).rows()
        if list(map(tuple, stand)) != wanted:
            equal = sum(one == other for one, other in zip(stand, wanted, strict=False))
            yield f"{table}: {len(stand)} rows of dropped files, {len(wanted)} delivered, {equal} of them equal"


def _read(path: Path) -> pl.DataFrame:
    if path.suffix == ".csv":
        return pl.read_csv(path, infer_schema_length=None)
    return pl.read_parquet(path).with_columns(pl.col("ts").dt.strftime("%Y-%m-%d %H:%M:%S"))


def _traded(world: World, client: "Client") -> Iterator[str]:
    """Trades of the stream by their ids; those of captures by their number."""
    found = client.query("SELECT trade_id FROM exchange_trades FINAL WHERE instrument = 'ABCUSDT'").result_rows
    stand = {str(row[0]) for row in found}
    if stand != world.trades:
        yield f"exchange_trades: {len(world.trades - stand)} lacking, {len(stand - world.trades)} invented"
    query = "SELECT exchange, instrument, toInt64(count()) FROM exchange_trades FINAL WHERE instrument != 'ABCUSDT'"
    found = client.query(f"{query} GROUP BY exchange, instrument").result_rows
    counted = {(str(venue), str(instrument)): rows for venue, instrument, rows in found}
    if counted != world.captured:
        yield f"exchange_trades of captures: {sorted(counted.items() ^ world.captured.items())}"
