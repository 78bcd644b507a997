"""Ticks: landing bars against INSERT SELECT FROM file(parquet), one symbol into a full month, reading the ledger."""

import datetime as dt
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from bench.figure import Figure, spread
from bench.size import sized
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.reference.records import Days
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from marketdata_assets.ticks.load_run import Limits
from marketdata_assets.ticks.table_writer import UnitWrite, write
from marketdata_assets.ticks.tables import TICK_DATA, ensure

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MONTH = "2026-01"
DAYS = Days.month(MONTH)
SYMBOLS = sized(855, 3)
"""Three batches of the loader."""
MINUTES = [*range(91, 211), *range(301, 421)]
"""Of a trading day, in UTC, labelled by their end."""
ROUNDS = sized(9, 1)
MONTHS = sized(24, 2)
REPLACED = 15  # symbols, one at a time
LISTED = sized(5000, 20)


def figures() -> Iterator[Figure]:
    """All figures of the domain."""
    # In a folder of its own: the server reads the Parquet file from there.
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(home=Path(folder) / "stack", clickhouse_url=None, clickhouse_port=0)
        with LocalStack(settings, services=("clickhouse",)) as stack:
            assert stack.endpoints.clickhouse_url
            with clickhouse.connect(stack.endpoints.clickhouse_url) as client:
                ensure(client)
                yield from _store_figures(client, Path(folder))


def _store_figures(client: "Client", folder: Path) -> Iterator[Figure]:
    landings = [_landing(number) for number in range(SYMBOLS)]
    yield _insert_figure(client, landings, folder)
    yield _one_symbol_figure(client, landings)
    yield _ledger_figure(client)


def _insert_figure(client: "Client", landings: list[UnitWrite], folder: Path) -> Figure:
    rows = pl.concat([one.frame for one in landings if one.frame is not None])
    rows.write_parquet(folder / "bars.parquet")
    names = ", ".join(rows.columns)
    source = f"file('{folder / 'bars.parquet'}', Parquet)"
    floor, ours = [], []
    for _ in range(ROUNDS):
        client.command("CREATE TABLE floor AS tick_data")
        _settle(client)
        floor.append(_seconds(lambda: client.command(f"INSERT INTO floor ({names}) SELECT {names} FROM {source}")))
        expected = _sums(client, "floor")
        client.command("DROP TABLE floor SYNC")
        client.command("TRUNCATE TABLE tick_data SYNC")
        _settle(client)
        ours.append(_seconds(lambda: _land(client, landings, folder / "turns")))
        assert _sums(client, "tick_data") == expected
    ratios = [one / other for one, other in zip(floor, ours, strict=True)]
    detail = (
        f"{rows.height:,} bars of {SYMBOLS} symbols, a frame each, published with their ledger rows in batches of"
        f" {Limits().rows:,} as the loader does, against one Parquet file of them, {ROUNDS} interleaved rounds;"
        f" ours {rows.height / median(ours) / 1e6:.2f} M rows/s;"
        f" {spread(ratios)}"
    )
    return Figure("ticks.insert_vs_parquet", median(ratios), "x speed of INSERT FROM file", (">=", 0.6), detail)


def _land(client: "Client", landings: list[UnitWrite], turns: Path) -> None:
    batch: list[UnitWrite] = []
    for one in landings:
        batch.append(one)
        if sum(each.load.rows for each in batch) >= Limits().rows or one is landings[-1]:
            write(client, TICK_DATA, MONTH, batch, turns=turns)
            batch = []


def _one_symbol_figure(client: "Client", landings: list[UnitWrite]) -> Figure:
    """The month is full from the figure before."""
    before = _sums(client, "tick_data")
    taken = []
    for one in landings[:REPLACED]:
        _settle(client)
        taken.append(_seconds(lambda one=one: write(client, TICK_DATA, MONTH, [one])) * 1e3)  # type: ignore[misc]
    assert _sums(client, "tick_data") == before
    rows = before[0]
    size = f"a month of {rows:,} rows"
    detail = f"one symbol replaced in {size} while the server merges nothing, {len(taken)} runs; {spread(taken, 0)}"
    return Figure("ticks.replace_symbol_ms", median(taken), "ms", None, detail)


def _ledger_figure(client: "Client") -> Figure:
    """Every unit is written three times, so that what is old must be passed over."""
    first = dt.date(2024, 1, 1)
    months = [(first + dt.timedelta(days=31 * number)).strftime("%Y-%m") for number in range(MONTHS)]
    for month in months:
        loads = [_landing(number, month, rows=False).load for number in range(LISTED)]
        for _ in range(3):
            clickhouse_ledger.record(client, loads, clickhouse_ledger.next_version(client))
    taken = [_seconds(lambda: clickhouse_ledger.table(client, TICK_DATA.name, months)) for _ in range(ROUNDS)]
    month_ms = (
        median(_seconds(lambda: clickhouse_ledger.table(client, TICK_DATA.name, months[:1])) for _ in range(ROUNDS))
        * 1e3
    )
    detail = (
        f"{LISTED} symbols x {MONTHS} months, three versions each; one month of them {month_ms:.0f} ms; {spread(taken)}"
    )
    return Figure("ticks.ledger_read_s", median(taken), "s", None, detail)


def _landing(number: int, month: str = MONTH, *, rows: bool = True) -> UnitWrite:
    symbol = f"{600000 + number}.SH"
    return landing_of(symbol, _bars(symbol, number) if rows else TICK_DATA.columns.to_frame(), month)


def landing_of(symbol: str, frame: pl.DataFrame, month: str = MONTH) -> UnitWrite:
    """A write of the rows as the whole month of a symbol, which a provider sent."""
    content = f"{int(symbol[:6]) - 600000:064x}"
    load = clickhouse_ledger.Load(
        dataset=TICK_DATA.name,
        source=symbol,
        unit=month,
        content_hash=content,
        previous_hash=None,
        slices=[day.isoformat() for day in Days.month(month)],
        read=frame.height,
        skipped=0,
        rows=frame.height,
        rejected=0,
        outcome="ok",
        attempted_hash=content,
        error=None,
        code_version="1",
        run_id="bench",
        started=dt.datetime(2026, 2, 1, tzinfo=dt.UTC),
        finished=dt.datetime(2026, 2, 1, tzinfo=dt.UTC),
        origin="tushare",
    )
    return UnitWrite(DAYS, frame, load)


def _bars(symbol: str, seed: int) -> pl.DataFrame:
    """A month of minutes: prices in cents that walk, volumes in hundreds, some minutes without a trade."""
    chance = np.random.default_rng(seed)
    days = [day for day in DAYS if day.weekday() < 5]
    rows = len(days) * len(MINUTES)
    starts = np.array(days, "datetime64[ms]")
    times = (starts[:, None] + np.array(MINUTES, "timedelta64[m]")).reshape(rows)
    close = np.round(np.maximum(chance.uniform(3, 80) + np.cumsum(chance.normal(0, 0.01, rows)), 1), 2)
    volume = np.where(chance.random(rows) < 0.03, 0, np.rint(chance.lognormal(5, 1.5, rows)) * 100).astype(np.int64)
    frame = pl.DataFrame({"ts": times, "close": close, "volume": volume}).with_columns(
        symbol=pl.lit(symbol),
        ts=pl.col("ts").dt.replace_time_zone("UTC"),
        date=pl.col("ts").dt.date(),
        label=pl.lit("end"),
        interval=pl.lit("1m"),
        open=pl.col("close").shift(1, fill_value=close[0]),
        high=pl.col("close") + np.round(chance.exponential(0.02, rows), 2),
        low=pl.col("close") - np.round(chance.exponential(0.02, rows), 2),
        turnover=(pl.col("close") * pl.col("volume")).round(2),
        currency=pl.lit("CNY"),
        flags=pl.lit(0),
        provider=pl.lit("tushare"),
        file=pl.lit(""),
    )
    return frame.select(TICK_DATA.columns.names()).cast(TICK_DATA.columns)


def _settle(client: "Client") -> None:
    """Wait until the server merges nothing, as it does for some time after an insert."""
    while client.command("SELECT count() FROM system.merges"):
        time.sleep(0.1)


def _sums(client: "Client", table: str) -> tuple[int, int]:
    rows, total = clickhouse.read(client, f"SELECT count(), sum(cityHash64(*)) FROM {table}").row(0)
    return rows, total


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
