"""One symbol published into a full month, against the same with a DELETE of all parts, in turn on one server."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from unittest.mock import patch

import psutil

from bench.figure import Figure, spread, tree_cpu_s
from bench.size import sized
from bench.ticks import DAYS, MONTH, landing_of
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clickhouse_rewrite import Stage
from marketdata_assets.ticks.table_writer import write
from marketdata_assets.ticks.tables import TICK_DATA, ensure

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SYMBOLS = int(os.environ.get("BENCH_SYMBOLS") or sized(5000, 20))
AT_ONCE = sized(500, 5)
ROUNDS = sized(15, 1)
SESSIONS = [day for day in DAYS if day.weekday() < 5]
MINUTES = 241

FILL = """
    INSERT INTO tick_data
    SELECT symbol, date, toDateTime64(date, 3, 'UTC') + toIntervalMinute(if(minute < 121, 90, 180) + minute), 'end',
        '1m', open, greatest(open, close) + 0.01, least(open, close) - 0.01, close, volume, round(close * volume, 2),
        'CNY', 0, 'tushare', ''
    FROM (
        SELECT concat(toString(600000 + stock), '.SH') AS symbol, date, minute,
            round(5 + cityHash64(stock) % 70 + sin(minute / 17 + stock) + cityHash64(stock, date, minute) % 7 / 100, 2)
                AS close,
            round(close + (toInt64(cityHash64(minute, stock, date) % 5) - 2) / 100, 2) AS open,
            100 * toInt64(exp(3 + cityHash64(date, minute, stock) % 5000 / 1000)) AS volume
        FROM (
            SELECT {first:UInt32} + intDiv(number, {days:UInt32} * {minutes:UInt32}) AS stock,
                {sessions:Array(Date)}[1 + intDiv(number, {minutes:UInt32}) % {days:UInt32}] AS date,
                number % {minutes:UInt32} AS minute
            FROM numbers(toUInt64({stocks:UInt32}) * {days:UInt32} * {minutes:UInt32})
        )
    )"""
"""Rows of some stocks: prices in cents, no two stocks alike."""


def figures() -> Iterator[Figure]:
    """The wall time, with the CPU time of client and server, and the ratio to a DELETE of all parts."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(home=Path(folder) / "stack", clickhouse_url=None, clickhouse_port=0)
        with LocalStack(settings, services=("clickhouse",)) as stack:
            assert stack.endpoints.clickhouse_url
            with clickhouse.connect(stack.endpoints.clickhouse_url) as client:
                ensure(client)
                server = psutil.Process(stack.server("clickhouse").pid)
                yield from _publish_figures(client, server, Path(folder) / "turns")


def _publish_figures(client: "Client", server: psutil.Process, turns: Path) -> Iterator[Figure]:
    for first in range(0, SYMBOLS, AT_ONCE):
        sizes = {"first": first, "stocks": AT_ONCE, "days": len(SESSIONS), "minutes": MINUTES}
        client.command(FILL, parameters=sizes | {"sessions": SESSIONS})
    taken: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
    for number in range(ROUNDS):
        for whole in (True, False) if number % 2 else (False, True):
            symbol = f"{600000 + (397 * number + 199 * whole) % SYMBOLS}.SH"
            taken[whole].append(_published(client, server, turns, symbol, whole=whole))
    rows = int(clickhouse.read(client, "SELECT count() FROM tick_data").item())
    assert rows == SYMBOLS * len(SESSIONS) * MINUTES
    (ours, server_s, client_s), (before, server_before, client_before) = (
        tuple(map(median, zip(*taken[whole], strict=True))) for whole in (False, True)
    )
    walls = spread([wall for wall, _, _ in taken[False]])
    detail = (
        f"one of {SYMBOLS} symbols in a month of {rows:,} rows, {ROUNDS} interleaved rounds, the server merges nothing;"
        f" {walls} s; CPU of the server {server_s:.2f} s, of the client {client_s:.2f} s; with a DELETE of all parts"
        f" {before:.2f} s, CPU {server_before:.2f} and {client_before:.2f} s, ratio {ours / before:.2f}"
    )
    yield Figure("history.publish_symbol_s", ours, "s", None, detail)


def _published(
    client: "Client", server: psutil.Process, turns: Path, symbol: str, *, whole: bool
) -> tuple[float, float, float]:
    """Wall, CPU of the server and of the client; `whole` deletes in all parts."""
    while client.command("SELECT count() FROM system.merges"):
        time.sleep(0.1)
    sql = "SELECT * FROM tick_data WHERE symbol = {symbol:String} ORDER BY ts"
    landing = landing_of(symbol, clickhouse.read(client, sql, {"symbol": symbol}).cast(TICK_DATA.columns))

    def delete_whole(stage: Stage, condition: str, parameters: dict[str, object]) -> None:
        stage._delete_from(stage.name, condition, parameters)

    with patch.object(Stage, "delete", delete_whole if whole else Stage.delete):
        server_s, client_s, wall = tree_cpu_s(server), time.process_time(), time.perf_counter()
        write(client, TICK_DATA, MONTH, [landing], turns=turns)
        wall = time.perf_counter() - wall
    return wall, tree_cpu_s(server) - server_s, time.process_time() - client_s
