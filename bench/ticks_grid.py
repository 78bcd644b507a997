"""Dagster's grid of months and symbols: a month end to end, and then what the UI and the nightly scan cost over it all.

The month is loaded by a run from a simulated provider with few bars a day. The other months of the grid get copies of
its events and entries of the ledger. The page of a table that is partitioned by months alone is measured beside it.
"""

import asyncio
import datetime as dt
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
import psycopg

from bench.figure import Figure
from bench.size import sized
from bench.ticks_stack import QUIET, ledger_columns, ticks_stack
from marketdata_assets.cli.instance import PACKAGE
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse

if TYPE_CHECKING:
    import dagster as dg
    from aiohttp import web

SYMBOLS = [f"{600000 + number}.SH" for number in range(int(os.environ.get("BENCH_SYMBOLS") or sized(5000, 20)))]
MONTHS = int(os.environ.get("BENCH_MONTHS") or sized(24, 3))
BARS_A_DAY = 5
ROUNDS = sized(3, 1)
MINUTES = "stk_mins"
PAGE = """
query PartitionHealthQuery($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) { ... on AssetNode {
    id
    partitionKeysByDimension { name type partitionKeys }
    assetPartitionStatuses {
      ... on TimePartitionStatuses { ranges { status startTime endTime startKey endKey } }
      ... on DefaultPartitionStatuses { materializedPartitions materializingPartitions failedPartitions }
      ... on MultiPartitionStatuses { primaryDimensionName ranges {
        primaryDimStartKey primaryDimEndKey primaryDimStartTime primaryDimEndTime
        secondaryDim {
          ... on TimePartitionStatuses { ranges { status startTime endTime startKey endKey } }
          ... on DefaultPartitionStatuses { materializedPartitions materializingPartitions failedPartitions }
        }
      } }
    }
  } }
}
"""
"""What the page of an asset asks of its partitions."""


@dataclass
class Progress:
    """What is seen of a run while it is in progress."""

    peak_mb: float = 0.0
    logged: list[int] = field(default_factory=list)
    """Materializations, once a second."""


def figures() -> Iterator[Figure]:
    """All figures of the grid."""
    with ticks_stack("bench.ticks_grid", MONTHS) as stack:
        yield from _grid(stack.clickhouse, stack.dagster)


def _grid(url: str, storage: str) -> Iterator[Figure]:
    import dagster as dg

    from marketdata_assets.defs.ticks import symbols
    from marketdata_assets.defs.ticks.run_config import window_now

    months = window_now()
    month = months[-2]
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=10)
        symbols.add(instance, SYMBOLS)
        _register(url)
        yield from _month(instance, url, storage, month)
        others = [name for name in months if name != month]
        _copy(url, storage, month, others)
        yield _page(instance)
        yield _scan(instance, url, months)


def _month(instance: "dg.DagsterInstance", url: str, storage: str, month: str) -> Iterator[Figure]:
    """A run over the partitions of a month, as the UI asks for it."""
    import dagster as dg

    from marketdata_assets.definitions import defs
    from marketdata_assets.partitions import tick_rectangle

    job = defs().get_repository_def().get_job("ticks")
    tags = tick_rectangle([month], SYMBOLS)
    key = dg.AssetKey("tick_data")
    with _watched(storage) as progress:
        started = time.perf_counter()
        result = job.execute_in_process(instance=instance, tags=tags, run_config=QUIET, asset_selection=[key])
        wall = time.perf_counter() - started
    assert result.success
    with clickhouse.connect(url) as client:
        rows = int(clickhouse.read(client, "SELECT count() FROM tick_data").item())
    last = instance.fetch_materializations(key, limit=1).records[0].asset_materialization
    assert last is not None
    library = float(str(last.metadata["seconds"].value))
    what = f"one run of {len(SYMBOLS)} symbols x 1 month, {rows:,} bars ({BARS_A_DAY} a day and symbol), 7 checks"
    half = progress.logged[len(progress.logged) // 2 - 1] if progress.logged else 0
    seen = f"{half} materializations logged at half of the time, peak of the process {progress.peak_mb:.0f} MB"
    yield Figure("history.ticks_month_s", wall, "s", None, f"{what}; {seen}")
    detail = f"{what}; run {wall:.1f} s, load by the library {library:.1f} s"
    yield Figure("history.grid_backfill_month_s", wall - library, "s beside the load", None, detail)
    with psycopg.connect(storage) as connection:
        row = connection.execute(
            "SELECT count(*), sum(length(event)) FROM event_logs WHERE run_id = %s", [result.run_id]
        ).fetchone()
    assert row is not None
    detail = f"{what}; {row[1] / len(SYMBOLS):.0f} bytes of events a key"
    yield Figure("history.grid_event_rows_per_key", row[0] / len(SYMBOLS), "rows", None, detail)


@contextmanager
def _watched(storage: str) -> Iterator[Progress]:
    """Watch this process and the event log until the block ends."""
    progress, ended, process = Progress(), threading.Event(), psutil.Process()
    sql = "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"

    def watch() -> None:
        with psycopg.connect(storage, autocommit=True) as connection:
            while not ended.wait(1):
                progress.peak_mb = max(progress.peak_mb, process.memory_info().rss / 2**20)
                row = connection.execute(sql).fetchone()
                progress.logged.append(row[0] if row else 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield progress
    finally:
        ended.set()
        watcher.join()


def _page(instance: "dg.DagsterInstance") -> Figure:
    """What the page of `tick_data` asks of its partitions, beside that of a table with months alone."""
    import httpx

    from marketdata_assets.dagster_internals import ui_application

    async def ask(application: Any, asset: str) -> list[float]:
        body = {"query": PAGE, "variables": {"assetKey": {"path": [asset]}}}
        taken = []
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://ui") as client:
            for _ in range(1 + ROUNDS):
                started = time.perf_counter()
                answer = await client.post("/graphql", json=body, timeout=900)
                taken.append(time.perf_counter() - started)
                assert answer.json()["data"]["assetNodeOrError"]["assetPartitionStatuses"], answer.text[:500]
        sizes[asset] = len(answer.content)
        return taken

    sizes: dict[str, int] = {}
    with ui_application(instance, PACKAGE / "workspace.yaml", read_only=True) as application:
        months_alone = asyncio.run(ask(application, "stock_1min_qfq"))
        grid = asyncio.run(ask(application, "tick_data"))
    detail = (
        f"GraphQL of the partitions of tick_data, {MONTHS} x {len(SYMBOLS)} keys, all materialized; first time"
        f" {grid[0]:.2f} s, then {median(grid[1:]):.2f} s, {sizes['tick_data'] / 2**20:.1f} MB; stock_1min_qfq, by"
        f" months alone, {months_alone[0]:.2f} s, then {median(months_alone[1:]):.2f} s"
    )
    return Figure("history.grid_page_s", median(grid[1:]), "s", None, detail)


def _scan(instance: "dg.DagsterInstance", url: str, months: Sequence[str]) -> Figure:
    """What the nightly repair asks of `tick_data`: what is due by the ledger, and what Dagster does not show."""
    from marketdata_assets.defs.ticks import automation
    from marketdata_assets.ticks import status

    with clickhouse.connect(url) as client:
        by_ledger, behind = _timed(lambda: status.behind(client, months, dt.datetime.now(dt.UTC)))
        by_dagster, unmarked = _timed(lambda: automation._unmarked(instance, client, "tick_data", months))
    assert not unmarked
    found = f"{len(behind.load)} symbol-months due, none is to be marked"
    peak = f"peak of this process so far {psutil.Process().memory_info().rss / 2**20:.0f} MB"
    detail = (
        f"{MONTHS} x {len(SYMBOLS)} keys of tick_data; by the ledger {by_ledger:.1f} s, by Dagster's events"
        f" {by_dagster:.1f} s; {found}; {peak}"
    )
    return Figure("history.grid_nightly_scan_s", by_ledger + by_dagster, "s", None, detail)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def _register(url: str) -> None:
    import polars as pl

    from marketdata_assets.ticks import tables

    row = {"name": "", "listed": None, "delisted": None, "status": "listed", "source": "bench"}
    rows = [{"symbol": symbol, **row, "seen": dt.datetime.now(dt.UTC)} for symbol in SYMBOLS]
    with clickhouse.connect(url) as client:
        tables.ensure(client)
        clickhouse.insert(client, "symbols", pl.DataFrame(rows, tables.SYMBOLS.columns), tables.SYMBOLS.dictionaries)


def _copy(url: str, storage: str, month: str, others: Sequence[str]) -> None:
    """Let the other months be as `month` is, in the ledger and in Dagster's storage."""
    with clickhouse.connect(url) as client:
        names = ledger_columns(client)
        for other in others:
            days = ",".join(str(day) for day in Days.month(other))
            values = {"unit": f"'{other}'", "slices": f"'{days}'", "slice_states": "''"}
            chosen = ", ".join(values.get(name, name) for name in names)
            client.command(
                f"INSERT INTO marketdata_ledger_rows ({', '.join(names)}) SELECT {chosen}"
                f" FROM marketdata_ledger_rows FINAL WHERE dataset = 'tick_data' AND unit = '{month}'"
            )
    with psycopg.connect(storage, autocommit=True) as connection:
        for other in others:
            connection.execute(
                """
                INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
                SELECT run_id, replace(event, %(month)s || '|', %(other)s || '|'), dagster_event_type, timestamp,
                       step_key, asset_key, replace(partition, %(month)s, %(other)s)
                FROM event_logs
                WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND partition LIKE %(month)s || '|%%'
                """,
                {"month": month, "other": other},
            )
        connection.execute("VACUUM ANALYZE event_logs")


def serve() -> None:
    """Answer with some bars a day until stdin ends; what a month has is prepared."""
    from aiohttp import web

    from marketdata_demo.servers.tushare import TushareServer

    bodies: dict[str, bytes] = {}

    class Ready(TushareServer):
        async def answer(self, request: "web.Request") -> "web.StreamResponse":
            asked = await request.json()
            if asked["api_name"] != MINUTES:
                return await super().answer(request)
            params = asked["params"]
            month = params["start_date"][:7]
            body = bodies.setdefault(month, _body(month)).replace(b"SYMBOL", params["ts_code"].encode())
            return web.Response(body=body, content_type="application/json")

    with Ready(SYMBOLS) as server:
        print(server.url, flush=True)
        sys.stdin.read()


def _body(month: str) -> bytes:
    from marketdata_demo.servers.tushare import minute_rows

    fields = ["ts_code", "trade_time", "close", "open", "high", "low", "vol", "amount"]
    days = ashares().trading_days(Days.month(month))
    rows = [row for day in reversed(days) for row in reversed(minute_rows("SYMBOL", day)[:BARS_A_DAY])]
    data: Mapping[str, Any] = {"fields": fields, "items": rows, "has_more": False}
    return json.dumps({"code": 0, "msg": "", "data": data}).encode()


if __name__ == "__main__":
    serve()
