"""What a flow reads of the books does not grow with the units of other flows, with and without statistics."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import checks, status, storage
from marketdata_assets.flows.forget import forget
from marketdata_assets.flows.rebuild import rebuild
from marketdata_assets.flows.targets import contents
from marketdata_demo import sample_books
from tests.flows.flow_files import PRICES, deliver, flow, lines, run

OTHERS = 20_000
DELETE = PRICES.replace("  key:", "  removed_rows: delete\n  key:")
MODES = {"upsert": DELETE, "replace": PRICES.replace("upsert", "replace"), "append": PRICES.replace("upsert", "append")}
BOOKS = ("marketdata_flow_units", "marketdata_flow_moves", "marketdata_ledger", "marketdata_quarantine")


def fill_books(dsn: str, analyze: bool) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        sample_books.fill(connection, OTHERS)
        for table in BOOKS if analyze else ():
            connection.execute(f"ANALYZE {table}".encode())


def rows_read(dsn: str) -> dict[str, int]:
    """Rows of each book that any statement has read so far, once all other sessions have ended and said so."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        sessions = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        sessions += " AND backend_type = 'client backend'"
        while connection.execute(sessions).fetchone() != (0,):
            time.sleep(0.01)
        query = "SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables"
        return {name: count for name, count in connection.execute(query) if name in BOOKS}


@pytest.mark.parametrize(
    ("mode", "analyze"), [("upsert", False), ("upsert", True), ("replace", True), ("append", False)]
)
def test_no_statement_reads_the_units_of_other_flows(dsn: str, tmp_path: Path, analyze: bool, mode: str) -> None:
    fill_books(dsn, analyze)
    data = tmp_path / "data"
    prices = flow(tmp_path, MODES[mode])
    for code, days in {"day_1": [1, 2, 3], "day_2": [4, 5], "b": [1, 2, 3]}.items():
        deliver(data, f"{code}.csv", lines("a" if mode == "upsert" else code, days))

    def load(name: str = "", closes: tuple[int, ...] = (), **options: Any) -> None:
        if name:
            deliver(data, name, lines("a" if mode == "upsert" else name[:-4], closes))
        assert run(prices, dsn, data, **options).failed == ()

    def ask(question: Callable[..., Any], *arguments: Any) -> None:
        with psycopg.connect(dsn) as connection:
            question(connection, *arguments)

    steps: dict[str, Callable[[], Any]] = {"first load": load, "unchanged": load}
    if mode != "append":
        steps |= {
            "delivered again": lambda: load("day_2.csv", (6,)),
            "forced": lambda: load(force=True),
            "forgotten": lambda: ask(forget, prices, ["day_1.csv"]),
            "after it": load,
            "rebuilt": lambda: rebuild(prices, dsn, data, run_id="again", fanout=Fanout(1), drop_rows=True),
        }
    steps |= {
        "accounted": lambda: ask(checks.every_row_accounted, prices),
        "states": lambda: ask(status.entries, prices, data),
        "summary": lambda: ask(status.summary, prices, data),
        "dropped": lambda: ask(lambda connection: connection.execute("DROP TABLE prices")),
        "loaded again": load,
    }
    before = rows_read(dsn)
    scans: dict[str, dict[str, int]] = {}
    for name, step in steps.items():
        step()
        now = rows_read(dsn)
        read, before = {book: now[book] - before[book] for book in BOOKS}, now
        if max(read.values()) >= OTHERS // 10:
            scans[name] = read
    assert scans == {}


def test_what_is_read_of_a_flow_grows_with_its_files_after_statistics_of_a_first_load(dsn: str, tmp_path: Path) -> None:
    """Its moves have a single source by then: the rows came from nobody."""
    files, prices = 3000, flow(tmp_path, MODES["upsert"])
    with psycopg.connect(dsn, autocommit=True) as connection:
        storage.ensure(connection, prices)
        connection.execute(
            """WITH made AS (
                   INSERT INTO marketdata_flow_units (dataset, unit)
                   SELECT %s, 'file_' || n FROM generate_series(1, %s) AS n RETURNING id)
               INSERT INTO marketdata_flow_moves (source, target, rows) SELECT 0, id, 1 FROM made""",
            [prices.dataset, files],
        )
        connection.execute("ANALYZE marketdata_flow_units, marketdata_flow_moves")
    before = rows_read(dsn)["marketdata_flow_moves"]
    with psycopg.connect(dsn) as connection:
        held = list(contents.of(connection, prices).holders(()))
        checks.every_row_accounted(connection, prices)
    assert len(held) == files
    assert rows_read(dsn)["marketdata_flow_moves"] - before < 100 * files
