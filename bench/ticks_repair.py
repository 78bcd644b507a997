"""The nightly repair of a whole grid: cells of it that failed at random are requested and loaded again.

The ledger and Dagster's storage know every cell as loaded, but those that failed. The rows of the loaded ones are left
out: the repair decides by the ledger. The simulated provider is a process of its own.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

from bench.figure import Figure
from bench.size import sized
from bench.ticks_stack import QUIET, ledger_columns, ticks_stack
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks.providers_file import Table

SYMBOLS = sized(5000, 40)
MONTHS = sized(24, 2)
SHARE = sized(0.01, 0.1)
MOST_RUNS = 2
TABLES: tuple[Table, ...] = ("tick_data", "factors")


def figures() -> Iterator[Figure]:
    """How many runs load the failed cells, and what asking and loading take."""
    with ticks_stack("bench.ticks_repair", MONTHS) as stack:
        yield from _repaired(stack.clickhouse, stack.dagster)


def _repaired(url: str, dagster: str) -> Iterator[Figure]:
    import dagster as dg

    from marketdata_assets.definitions import defs
    from marketdata_assets.defs.ticks import automation
    from marketdata_assets.defs.ticks.run_config import window_now
    from marketdata_assets.resources import Resources

    repository = defs().get_repository_def()

    def run(request: dg.RunRequest) -> None:
        job = repository.get_job(str(request.job_name))
        config = {**QUIET, **request.run_config}
        assert job.execute_in_process(instance=instance, run_config=config).success

    with dg.DagsterInstance.get() as instance:
        assert repository.get_job("symbols").execute_in_process(instance=instance, run_config=QUIET).success
        months = window_now()
        failed = _grid(url, dagster, months, instance, repository)
        runs, asked, loaded = 0, 0.0, 0.0
        while True:
            started = time.perf_counter()
            requests = automation.due(instance, Resources())
            asked = max(asked, time.perf_counter() - started)
            if not requests:
                break
            assert runs < 2 * MOST_RUNS, "the repair does not come to an end"
            started = time.perf_counter()
            for request in requests:
                run(request)
            runs += len(requests)
            loaded += time.perf_counter() - started
    detail = (
        f"{failed} of {SYMBOLS} x {MONTHS} symbol-months, at random; bars of a simulated provider, factors and checks"
    )
    yield Figure("ticks.repair_runs", runs, "runs", ("<=", MOST_RUNS), detail)
    yield Figure("ticks.repair_s", loaded, "s", None, detail)
    yield Figure("ticks.repair_scan_s", asked, "s", None, f"one scan of the whole grid; {detail}")


def _grid(url: str, dagster: str, months: Sequence[str], instance: Any, repository: Any) -> int:
    """Load one symbol, let the others be as it is, and have cells fail at random; how many failed."""
    from marketdata_assets.defs.ticks.run_config import JOB, adhoc_config

    first = _symbols()[0]
    config = {**QUIET, **adhoc_config({month: [first] for month in months}, TABLES)}
    assert repository.get_job(JOB).execute_in_process(instance=instance, run_config=config).success
    cells = [(symbol, month) for month in months for symbol in _symbols()[1:]]
    failed = Random(19).sample(cells, round(SHARE * SYMBOLS * MONTHS))
    with clickhouse.connect(url) as client:
        _copy_ledger(client, first, failed)
    _materialized(dagster, first, failed)
    return len(failed)


def _copy_ledger(client: "Client", first: str, failed: Sequence[tuple[str, str]]) -> None:
    """Let every symbol have the ledger of the first one, with a failed attempt and no content where a cell failed."""
    client.command("CREATE TABLE bench_symbols (symbol String) ENGINE = Memory")
    client.insert("bench_symbols", [[symbol] for symbol in _symbols()[1:]])
    client.command("CREATE TABLE bench_failed (symbol String, month String) ENGINE = Memory")
    client.insert("bench_failed", failed)
    columns = ledger_columns(client)
    broken = {"outcome": "'failed'", "error": "'no response'", "attempted_hash": "NULL"}
    for values, where in (
        ({}, f"dataset IN {TABLES} AND (s.symbol, toString(l.unit)) NOT IN bench_failed"),
        (broken, "dataset = 'tick_data' AND aspect = 'attempt' AND (s.symbol, toString(l.unit)) IN bench_failed"),
    ):
        chosen = ", ".join({"source": "s.symbol", **values}.get(name, f"l.{name}") for name in columns)
        source = "FROM marketdata_ledger_rows AS l FINAL CROSS JOIN bench_symbols AS s"
        client.command(
            f"INSERT INTO marketdata_ledger_rows ({', '.join(columns)}) SELECT {chosen} {source}"
            f" WHERE l.source = '{first}' AND {where}"
        )


def _materialized(dagster: str, first: str, failed: Sequence[tuple[str, str]]) -> None:
    """Let Dagster have, for every loaded cell, the materialization of the first symbol in that month."""
    with psycopg.connect(dagster) as connection:
        connection.execute("CREATE TEMPORARY TABLE missing (symbol text, month text)")
        with connection.cursor().copy("COPY missing FROM STDIN") as copy:
            for row in failed:
                copy.write_row(row)
        connection.execute("CREATE TEMPORARY TABLE symbols AS SELECT unnest(%s::text[]) AS symbol", [_symbols()[1:]])
        connection.execute(
            """
            INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
            SELECT e.run_id, replace(e.event, %(first)s, s.symbol), e.dagster_event_type, e.timestamp, e.step_key,
                   e.asset_key, replace(e.partition, %(first)s, s.symbol)
            FROM event_logs e CROSS JOIN symbols s
            WHERE e.dagster_event_type = 'ASSET_MATERIALIZATION' AND e.partition LIKE %(like)s
              AND (s.symbol, split_part(e.partition, '|', 1)) NOT IN (SELECT symbol, month FROM missing)
            """,
            {"first": first, "like": f"%|{first}"},
        )


def _symbols() -> list[str]:
    return [f"{600000 + number}.SH" for number in range(SYMBOLS)]


def serve() -> None:
    """Serve the bars of all symbols until stdin ends."""
    from marketdata_demo.servers.tushare import DAILY, TushareServer

    with TushareServer(_symbols()) as server:
        fields = ["ts_code", "name", "list_date", "delist_date", "list_status", "exchange"]
        rows: list[list[Any]] = [[symbol, symbol, "20100104", None, "L", "SSE"] for symbol in _symbols()]
        server.tables["stock_basic"] = (fields, rows)
        server.tables["daily_basic"] = (["ts_code", "trade_date", *DAILY], [])
        server.tables["adj_factor"] = (["ts_code", "trade_date", "adj_factor"], [])
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve()
