"""The market page: its answers over a market of 26 years, a day of a busy book, and a year of an instrument's minutes.

With BENCH_WEB_HOLD=1 the page stays up after the figures until Enter, to be looked at in a browser.
"""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx
import psycopg
import uvicorn

from bench import web_pages
from bench.figure import Figure, Target, spread
from bench.server import Server
from bench.size import sized
from marketdata_assets.bars import schema
from marketdata_assets.exchanges.tables import schema as tables
from marketdata_assets.local.process import free_port
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from marketdata_assets.stores.mongo import Server as Mongo
from marketdata_assets.stores.postgres import statement
from marketdata_assets.web.application import application
from marketdata_assets.web.database import Servers

STOCKS = sized(5000, 20)
MONTHS = sized(312, 24)
SIZE = f"{STOCKS:,} stocks of {MONTHS} months"
CHANGES_PER_SECOND = 10
BOOK_SECONDS = sized(86_400, 120)
BEGIN = 1_767_571_200
BETWEEN_WHOLES = sized(36_000, 300)
"""Changes after which the collector records the book whole: an hour's."""
INSTRUMENT_DAYS = sized(365, 3)
ROUNDS = sized(15, 2)
CODE = "600000.SH"

MARKET = """
    INSERT INTO stock_1min_coverage (source, unit, code, month, first, last, rows, delivered)
    SELECT to_char(month, 'YYYY') || '.zip', code, code, month, month + time '09:30',
        month + interval '1 month' - interval '9 hours', 4820, 0
    FROM (SELECT 600000 + number || '.SH' AS code FROM generate_series(0, %(stocks)s - 1) number) codes,
        (SELECT date '2000-01-01' + number * interval '1 month' AS month
         FROM generate_series(0, %(months)s - 1) number) months;
    INSERT INTO stock_1min_days (code, month, bars)
    SELECT code, month, array(SELECT CASE WHEN extract(isodow FROM month + day) < 6 THEN 241 ELSE 0 END::smallint
                              FROM generate_series(0, 30) day)
    FROM stock_1min_coverage;
    INSERT INTO stock_monthly_kline (code, month, name, open, high, low, close, volume, amount)
    SELECT code, month, '示例' || left(code, 6), 10 + random(), 12 + random(), 8 + random(), 10 + random(), 1e6, 1e8
    FROM stock_1min_coverage;
    INSERT INTO stock_1min_qfq (time, code, name, open, high, low, close, volume, amount)
    SELECT day + minute * interval '1 minute', '600000.SH', '示例', 10, 12, 8, 11, 100, 1000
    FROM generate_series(timestamp '2023-01-02 09:30', timestamp '2025-12-31', interval '1 day') day,
        generate_series(0, 240) minute
    WHERE extract(isodow FROM day) < 6
"""
MINUTES = """
    INSERT INTO exchange_ohlcv_1m
    SELECT 'okx', 'linear', 'ETH-USDT', 'ETH-USDT-SWAP',
        toDateTime64('2025-01-01 00:00:00', 9, 'UTC') + toIntervalMinute(number),
        100 + number % 7, 110 + number % 5, 90, 100 + number % 11, 5, NULL, 500, 2, 200, 20, 0
    FROM numbers({minutes:UInt64})
"""
BOOKS = """
    INSERT INTO exchange_orderbooks
        (exchange, market_type, symbol, instrument, ts_event, ts_recv, kind, bids, asks, unit, last_id, prev_id)
    WITH number % {between:UInt64} = 0 AS with_whole, arrayJoin(if(with_whole, [true, false], [false])) AS whole,
        {begin:Int64} * 1000000000 + toInt64(number) * 1000000000 / {per_second:Int64} + if(whole, 0, 1) AS at,
        if(whole, range(1, 501), arrayMap(step -> 1 + cityHash64(number, step) % 300, range(4))) AS levels
    SELECT 'okx', 'linear', 'ETH-USDT', 'ETH-USDT-SWAP', toInt64(at), toInt64(at),
        if(whole, if(number = 0, 'snapshot', 'checkpoint'), 'delta'),
        arrayMap(level -> (toDecimal128(10000 - level * 0.1, 18), toDecimal128(level % 90, 18)), levels),
        arrayMap(level -> (toDecimal128(10000 + level * 0.1, 18), toDecimal128(1 + level % 90, 18)), levels),
        'contracts', toInt64(number) + if(whole, 0, 1), if(whole, NULL, toInt64(number))
    FROM numbers({changes:UInt64})
"""

TICK_MONTHS = sized(24, 2)
LEDGER = """
    INSERT INTO marketdata_ledger_rows
        (dataset, unit, source, aspect, version, content_hash, slices, rows, outcome, attempted_hash, error, finished)
    WITH number % {stocks:UInt64} AS stock, intDiv(number, {stocks:UInt64}) AS month, stock % 100 = 7 AS failed
    SELECT 'tick_data', formatDateTime(toDate('2024-01-01') + toIntervalMonth(month), '%Y-%m'),
        concat(toString(600000 + stock), '.SH'), arrayJoin(['committed', 'attempt']), number + 1, 'a', '', 4820,
        if(failed, 'failed', 'ok'), 'a', if(failed, 'the provider rejected the request', NULL),
        toDateTime64('2026-01-01', 6)
    FROM numbers({stocks:UInt64} * {months:UInt64})
"""


def figures() -> Iterator[Figure]:
    """All figures of the page: medians of answers over loopback, from a request to its last byte."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(home=Path(folder), postgres_dsn=None, clickhouse_url=None, mongo_uri=None)
        with LocalStack(settings, services=("postgres", "clickhouse", "mongo")) as stack:
            dsn = Server(stack, schema.ensure).fresh()
            found = stack.endpoints
            assert found.clickhouse_url and found.mongo_uri
            _fill_market(dsn)
            records = _fill_exchange(found.clickhouse_url)
            servers = Servers(lambda: dsn, lambda: str(found.clickhouse_url), lambda: Mongo(str(found.mongo_uri)))
            with _served(servers) as page:
                yield from _market(page)
                yield from _exchange(page, records)
                yield from web_pages.figures(str(page.base_url), ROUNDS, SIZE)
                if os.environ.get("BENCH_WEB_HOLD"):
                    input(f"{page.base_url} until Enter ")


def _market(page: httpx.Client) -> Iterator[Figure]:
    began = time.perf_counter()
    for path in ("/api/stocks", "/api/status/bars"):
        _get(page, path)
    yield Figure("web.front_s", time.perf_counter() - began, "s", None, f"list of stocks and state, first time; {SIZE}")
    yield _timed(page, "web.search_ms", "/api/stocks", {"q": "6000"}, SIZE)
    yield _timed(page, "web.candles_ms", f"/api/stocks/{CODE}/candles", {}, f"all {MONTHS} months of a stock")
    yield _timed(page, "web.coverage_ms", f"/api/stocks/{CODE}/coverage", {}, f"{MONTHS} months of a stock")
    yield _timed(page, "web.quality_ms", "/api/quality/postgres", {}, f"kept, {SIZE}")
    detail = f"which of {STOCKS:,} symbols of a month failed, of {STOCKS * TICK_MONTHS:,} units"
    yield _timed(page, "web.failed_symbols_ms", "/api/quality/clickhouse/tick_data/2024-02", {}, detail, ("<", 100))


def _exchange(page: httpx.Client, records: int) -> Iterator[Figure]:
    market = {"exchange": "okx", "market_type": "linear", "instrument": "ETH-USDT-SWAP"}
    began = time.perf_counter()
    _get(page, "/api/instruments")
    yield Figure(
        "web.instruments_s", time.perf_counter() - began, "s", None, f"list, first time; {records:,} book records"
    )
    random, taken = Random(5), []
    for _ in range(2 * ROUNDS):
        at = {"at": f"{BEGIN + random.randrange(BOOK_SECONDS - 1)}500000000"}
        taken.append(_wall(page, "/api/instrument/book", market | at))
    detail = f"{records:,} records of {BOOK_SECONDS / 3600:.1f} h; at random instants {spread(taken)} ms"
    yield Figure("web.book_ms", median(taken), "ms", ("<", 1000), detail)
    yield _timed(page, "web.instrument_ms", "/api/instrument", market, f"gaps and days of {records:,} records")
    for name, start in (("day", "2025-01-03"), ("year", "2025-01-01")):
        bounds = {"start": start, "end": "2025-01-03" if name == "day" else "2026-01-01"}
        path = "/api/instrument/candles"
        yield _timed(page, f"web.instrument_{name}_ms", path, market | bounds, f"of {INSTRUMENT_DAYS} days of minutes")


def _timed(
    page: httpx.Client, name: str, path: str, params: dict[str, str], detail: str, target: Target | None = None
) -> Figure:
    taken = [_wall(page, path, params) for _ in range(ROUNDS)]
    return Figure(name, median(taken), "ms", target, f"{detail}; {spread(taken)} ms")


def _wall(page: httpx.Client, path: str, params: dict[str, str]) -> float:
    began = time.perf_counter()
    _get(page, path, params)
    return (time.perf_counter() - began) * 1000


def _get(page: httpx.Client, path: str, params: dict[str, str] | None = None) -> dict[str, Any]:
    answer = page.get(path, params=params)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    assert found.get("known", True), found
    return found


def _fill_market(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement(schema.__package__ or "", "kline_table.sql"))
        for part in MARKET.split(";"):
            connection.execute(part, {"stocks": STOCKS, "months": MONTHS})
        connection.execute("VACUUM ANALYZE")


def _fill_exchange(url: str) -> int:
    """Books and minutes of one instrument; returns how many records of books."""
    book = {"begin": BEGIN, "per_second": CHANGES_PER_SECOND, "between": BETWEEN_WHOLES}
    with clickhouse.connect(url) as client:
        tables.ensure(client)
        clickhouse_ledger.ensure(client)
        client.command(LEDGER, parameters={"stocks": STOCKS, "months": TICK_MONTHS})
        days = {"max_partitions_per_insert_block": INSTRUMENT_DAYS + 1}
        client.command(MINUTES, parameters={"minutes": INSTRUMENT_DAYS * 1440}, settings=days)
        client.command(BOOKS, parameters=book | {"changes": BOOK_SECONDS * CHANGES_PER_SECOND})
        counted = clickhouse.read(client, f"SELECT toInt64(count()) FROM {tables.ORDERBOOKS.name}")
        return int(counted.item())


@contextmanager
def _served(servers: Servers) -> Iterator[httpx.Client]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(application(servers), port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
