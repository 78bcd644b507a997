"""Reading: minute bars against psql's copy of the same rows to nowhere, and against what people use instead."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import polars as pl
import psycopg

from bench.figure import Figure, spread
from bench.peers import NoPeer, environment, unmeasured
from bench.server import Server
from bench.size import sized
from marketdata_assets import read
from marketdata_assets.bars import kline, schema
from marketdata_assets.exchanges.records import OrderBook
from marketdata_assets.exchanges.tables import rows
from marketdata_assets.exchanges.tables import schema as tables
from marketdata_assets.local.postgres import programs
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse

BARS = sized(1_000_000, 1_000)
ROUNDS = sized(5, 1)
COLUMNS = ("time", "code", "open", "high", "low", "close", "volume", "amount")
QUERY = f"SELECT {', '.join(COLUMNS)} FROM stock_1min_qfq"
PEERS = {
    "pandas": ["pandas>=2.2", "sqlalchemy>=2", "psycopg[binary]>=3.2"],
    "connectorx": ["connectorx>=0.4", "polars>=1.20", "pyarrow>=18"],
}
FILL = """
    INSERT INTO stock_1min_qfq (time, code, name, open, high, low, close, volume, amount)
    SELECT timestamp '2024-01-01' + i %% 100000 * interval '1 minute', 600000 + i / 100000 || '.SH', '示例',
        10 + random() * 20, 10 + random() * 20, 10 + random() * 20, 10 + random() * 20, random() * 10000, random() * 1e7
    FROM generate_series(0, %s - 1) i"""

FIRST_YEAR = 2000
YEARS = sized(26, 1)
STOCKS = sized(5000, 3)
FILL_SPAN = """
    INSERT INTO stock_1min_qfq (time, code, name, open, high, low, close, volume, amount)
    SELECT day + time '09:30' + CASE WHEN minute > 120 THEN minute + 89 ELSE minute END * interval '1 minute',
        600000 + code || '.SH', '示例', price, price + 0.05, price - 0.05, price + 0.01, minute * 100, minute * 1000
    FROM generate_series(timestamp '2000-01-03', %(last)s, %(between)s::interval) day,
        generate_series(0, %(codes)s - 1) code, generate_series(0, 240, %(step)s) minute,
        LATERAL (SELECT 10 + (minute + code) %% 97 * 0.01 AS price) prices
    WHERE %(weekends)s OR extract(isodow FROM day) < 6
    ON CONFLICT DO NOTHING"""

COVERAGE = """
    INSERT INTO stock_1min_coverage (source, unit, code, month, first, last, rows, delivered)
    SELECT 'bars', code, code, date_trunc('month', time)::date, min(time), max(time), count(*), 0
    FROM stock_1min_qfq GROUP BY code, date_trunc('month', time)"""

CHANGES = sized(100_000, 500)
LEVELS = 20
SECOND = 1_000_000_000

BUSY_BEGIN = 1_767_610_800 * SECOND
BUSY_CHANGES = sized(200_000, 400)
BUSY_PER_SECOND = 300
BETWEEN_WHOLES = sized(20_000, 40)
"""Changes after which the collector records a book whole."""


def figures() -> Iterator[Figure]:
    """All figures of reading."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(home=Path(folder), postgres_dsn=None, clickhouse_url=None)
        with LocalStack(settings, services=("postgres", "clickhouse")) as stack:
            server = Server(stack, schema.ensure)
            yield from _bars(server)
            yield from _long_spans(server)
            assert stack.endpoints.clickhouse_url
            yield _book(stack.endpoints.clickhouse_url)
            yield _busy_book(stack.endpoints.clickhouse_url)


def _bars(server: Server) -> Iterator[Figure]:
    dsn = server.fresh()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(FILL, [BARS])
        connection.execute("VACUUM ANALYZE stock_1min_qfq")
    ours, floor = [], []
    for _ in range(ROUNDS):
        floor.append(_wall(partial(_psql, dsn)))
        ours.append(_wall(lambda: read.minute_bars(columns=COLUMNS, connection=dsn)))
    detail = f"{BARS:,} bars of {len(COLUMNS)} columns, {ROUNDS} interleaved rounds; ours {spread(ours)} s,"
    detail += f" psql {spread(floor)} s"
    yield Figure("read.bars_wall_ratio", median(ours) / median(floor), "x wall of psql copy", ("<=", 2), detail)
    for name, requirements in PEERS.items():
        try:
            peer = _peer(name, requirements, dsn)
            assert peer["rows"] == BARS
        except (NoPeer, subprocess.CalledProcessError) as error:
            yield from unmeasured(error, f"read.bars_vs_{name}")
            continue
        detail = f"the same rows by {name}: median {peer['wall_s']:.2f} s of 3; floats or decimals of another scale"
        yield Figure(f"read.bars_vs_{name}", peer["wall_s"] / median(ours), "x speed", (">=", 1), detail)


def _long_spans(server: Server) -> Iterator[Figure]:
    """All years of a stock, a day of all stocks and the K-line of the market, each beside psql's plain query."""
    dsn = server.fresh()
    year = FIRST_YEAR + YEARS
    spans = [(1, "1 day", f"{year - 1}-12-31", 1), (STOCKS, "1 month", f"{year - 1}-12-31", 241)]
    with psycopg.connect(dsn, autocommit=True) as connection:
        for codes, between, last, step in (*spans, (STOCKS, "1 day", "2000-01-03", 1)):
            values = {"codes": codes, "between": between, "last": last, "step": step, "weekends": step > 1}
            connection.execute(FILL_SPAN, values)
        connection.execute(COVERAGE)
        connection.execute("VACUUM ANALYZE stock_1min_qfq")
    kline.refresh(dsn, [f"{one}-{month:02d}" for one in range(FIRST_YEAR, year) for month in range(1, 13)])
    names = ", ".join(COLUMNS)
    daily = """SELECT code, time::date, (array_agg(open ORDER BY time))[1], max(high), min(low),
        (array_agg(close ORDER BY time DESC))[1], sum(volume), sum(amount)
        FROM stock_1min_qfq WHERE code = '600000.SH' GROUP BY code, time::date ORDER BY 2"""
    asked: dict[str, tuple[Callable[[], pl.DataFrame], str, float]] = {
        "stock_1m": (
            lambda: read.bars("600000.SH", connection=dsn),
            f"SELECT {names} FROM stock_1min_qfq WHERE code = '600000.SH' ORDER BY time",
            0.3,
        ),
        "stock_1d": (lambda: read.bars("600000.SH", freq="1d", connection=dsn), daily, 0.3),
        "market_day": (
            lambda: read.bars(None, "2000-01-03", "2000-01-04", connection=dsn),
            f"SELECT {names} FROM stock_1min_qfq WHERE time < '2000-01-03 16:00' ORDER BY code, time",
            1.0,
        ),
        "market_kline": (
            lambda: read.monthly_kline(connection=dsn),
            "SELECT * FROM stock_monthly_kline ORDER BY code, month",
            2.0,
        ),
    }
    for name, (ours, plain, limit) in asked.items():
        walls = [(_wall(partial(_psql, dsn, plain)), _wall(ours)) for _ in range(ROUNDS)]
        floor, took = (median(one) for one in zip(*walls, strict=True))
        detail = f"{ours().height:,} rows; psql {floor:.2f} s, {took / floor:.2f} times that; {ROUNDS} rounds in turn"
        yield Figure(f"read.{name}_s", took, "s", ("<", limit), detail)


def _book(url: str) -> Figure:
    """A book at one instant, on a day of changes."""
    begin = 1_767_571_200 * SECOND
    record: Callable[..., OrderBook] = partial(OrderBook, "okx", "linear", "BTC-USDT", "BTC-USDT-SWAP")
    bids = tuple((f"{100_000 - step / 10:.1f}", "1.5") for step in range(400))
    asks = tuple((f"{100_001 + step / 10:.1f}", "1.5") for step in range(400))
    made = [record(begin, begin, "snapshot", bids, asks, "contracts", None, 0)]
    for number in range(1, CHANGES):
        at = begin + number * SECOND // 4
        changed = tuple((bids[(number * 7 + step * 3) % 400][0], str(number % 90)) for step in range(LEVELS))
        made.append(record(at, at, "delta", changed, (), "contracts", None, number, number - 1))
    with clickhouse.connect(url) as client:
        tables.ensure(client)
        rows.insert_records(client, made)
        last = begin + CHANGES * SECOND // 4
        taken = [
            _wall(lambda: read.books("okx", "linear", "BTC-USDT-SWAP", last, connection=client)) for _ in range(ROUNDS)
        ]
    detail = f"after {CHANGES:,} changes of {LEVELS} levels since the snapshot, {spread(taken)}"
    return Figure("read.book_at_s", median(taken), "s", None, detail)


def _busy_book(url: str) -> Figure:
    """A book at random instants, and just before it is recorded whole again, which is the longest way."""
    random, step = Random(3), SECOND // BUSY_PER_SECOND
    made = _busy_changes(random, step)
    last = [BUSY_BEGIN + number * step for number in range(BETWEEN_WHOLES - 1, BUSY_CHANGES, BETWEEN_WHOLES)]
    anywhere = [BUSY_BEGIN + random.randrange(BUSY_CHANGES * step) for _ in range(2 * len(last))]
    with clickhouse.connect(url) as client:
        for start in range(0, len(made), 50_000):
            rows.insert_records(client, made[start : start + 50_000])
        client.command(f"OPTIMIZE TABLE {tables.ORDERBOOKS.name} FINAL")

        def taken(at: int) -> float:
            return _wall(lambda: read.books("okx", "linear", "ETH-USDT-SWAP", at, connection=client)) * 1000

        longest, usual = [taken(at) for at in 2 * last], [taken(at) for at in anywhere]
    often = f"{BUSY_PER_SECOND} changes/s, recorded whole every {BETWEEN_WHOLES:,}"
    detail = f"{often}; just before that {spread(longest)} ms, at random instants {spread(usual)} ms"
    return Figure("read.book_instant_ms", median(longest), "ms", ("<", 100), detail)


def _busy_changes(random: Random, step: int) -> list[OrderBook]:
    """Some levels of 500 a side at each step, and the whole book every BETWEEN_WHOLES."""
    record: Callable[..., OrderBook] = partial(OrderBook, "okx", "linear", "ETH-USDT", "ETH-USDT-SWAP")
    sides = [[f"{(100_001 + side * level) / 10:.1f}" for level in range(1, 501)] for side in (-1, 1)]
    made = []
    for number in range(BUSY_CHANGES + 1):
        at = BUSY_BEGIN + number * step
        if number % BETWEEN_WHOLES == 0:
            kind = "checkpoint" if number else "snapshot"
            whole = [tuple((price, str(random.randrange(1, 10**6))) for price in side) for side in sides]
            made.append(record(at, at, kind, *whole, "contracts", None, number))
        changed = [{random.choice(side[:300]): str(random.randrange(10**4)) for _ in range(4)} for side in sides]
        few = [tuple(side.items()) for side in changed]
        made.append(record(at + 1, at + 1, "delta", *few, "contracts", None, number + 1, number))
    return made


def _psql(dsn: str, query: str = QUERY) -> None:
    command = f"\\copy ({' '.join(query.split())}) to '/dev/null' csv"
    subprocess.run([str(programs() / "psql"), dsn, "-qc", command], check=True)


def _peer(name: str, requirements: list[str], dsn: str) -> dict[str, Any]:
    at = psycopg.conninfo.conninfo_to_dict(dsn)
    url = f"postgresql://{at['user']}:{at['password']}@{at['host']}:{at['port']}/{at['dbname']}"
    script = Path(__file__).with_name("read_peer.py")
    command = [str(environment(f"read-{name}", requirements)), str(script), name, url, QUERY]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(told)
    return found


def _wall(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
