"""Rows of ticks and factors in ClickHouse with what the ledger says of them, and minutes that make given days."""

import datetime as dt
from collections.abc import Mapping

import numpy as np
import polars as pl
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference.tables import ADJUST_FACTORS
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.ticks.tables import TICK_DATA

NOW = dt.datetime(2025, 2, 3, 12, tzinfo=dt.UTC)


def put_ticks(client: Client, code: str, rows: pl.DataFrame, label: str = "end") -> None:
    """Rows with time (the exchange's clock), prices, volume and turnover, as a provider's, one unit a month."""
    at = pl.col("time").dt.replace_time_zone("Asia/Shanghai").dt.convert_time_zone("UTC")
    constants = {"symbol": code, "label": label, "interval": "1m", "currency": "CNY", "flags": 0, "provider": "files"}
    constants["file"] = "a.csv"
    frame = rows.with_columns(ts=at, date=pl.col("time").dt.date(), **{k: pl.lit(v) for k, v in constants.items()})
    clickhouse.insert(client, TICK_DATA.name, frame.select(TICK_DATA.columns.names()).cast(dict(TICK_DATA.columns)))
    for (month,), part in frame.group_by(pl.col("date").dt.strftime("%Y-%m")):
        content = str(part.select("time", "close", "volume").hash_rows().sum())
        _record(client, TICK_DATA.name, code, str(month), part.height, content, [])


def put_factors(client: Client, code: str, factors: Mapping[str, float]) -> None:
    """The factors of these days, which count as known."""
    rows = [(code, dt.date.fromisoformat(day), factor, "test", NOW) for day, factor in factors.items()]
    clickhouse.insert(client, ADJUST_FACTORS.name, pl.DataFrame(rows, schema=ADJUST_FACTORS.columns, orient="row"))
    before = ledger.entries(client, ADJUST_FACTORS.name)
    days = sorted({*factors, *(day for load in before for day in load.slices)})
    _record(client, ADJUST_FACTORS.name, "ashares", "2024-05", len(days), "1", days)


def _record(client: Client, dataset: str, source: str, unit: str, rows: int, content: str, slices: list[str]) -> None:
    load = ledger.Load(
        dataset=dataset,
        source=source,
        unit=unit,
        outcome="ok",
        rows=rows,
        content_hash=content,
        slices=slices,
        code_version="1",
        run_id="test",
        started=NOW,
        finished=NOW,
    )
    ledger.record(client, [load], ledger.next_version(client))


def minutes_of(daily: pl.DataFrame, seed: int = 1) -> pl.DataFrame:
    """Minutes that make these days: the auction at the open, high and low somewhere, the close at the end."""
    rng = np.random.default_rng(seed)
    frames = []
    for day in daily.iter_rows(named=True):
        clock = dt.datetime.combine(day["trade_date"], dt.time())
        at = [*range(570, 691), *range(781, 901)]
        high, low = rng.permutation(np.arange(1, 240))[:2]
        price = rng.uniform(float(day["low"]), float(day["high"]), 241)
        price[[0, high, low, 240]] = [float(day[name]) for name in ("open", "high", "low", "close")]
        volume = rng.multinomial(int(day["volume"]), np.full(241, 1 / 241))
        turnover = np.append(np.full(240, float(day["amount"]) / 241), 0)
        turnover[240] = float(day["amount"]) - turnover.sum()
        columns = {"time": [clock + dt.timedelta(minutes=n) for n in at], "volume": volume, "turnover": turnover}
        frames.append(pl.DataFrame(columns | dict.fromkeys(("open", "high", "low", "close"), price)))
    return pl.concat(frames)
