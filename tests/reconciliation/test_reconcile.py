"""The sample's changed values, and nothing else, are found by a comparison of the loaded tables."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import psycopg
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.bars.bases import FACTORS
from marketdata_assets.bars.ingest import ingest
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import discovery
from marketdata_assets.flows.run import run_flow
from marketdata_assets.reconciliation.reconcile import no_disagreements, reconcile, summary
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import tables
from marketdata_demo import sample_bars, sample_reconciliation
from marketdata_demo.sample_reconciliation import Planted
from tests.databases import Databases

MONTHS = ("2026-01", "2026-02", "2026-03")
LAST = dt.date(2026, 3, 20)
DAILY_DAYS = 30
CONSTANT = pl.DataFrame(
    [(f"{code[2:]}.{code[:2].upper()}", dt.date(2026, 1, 5), 1.5) for code, _ in sample_reconciliation.STOCKS],
    FACTORS,
    orient="row",
)


def load(dsn: str, folder: Path) -> set[Planted]:
    """Minute bars of three months, and daily files of the last days; gives what is changed in these."""
    sample_bars.write_year(folder / "bars", LAST.year, sample_reconciliation.STOCKS, until=LAST)
    ingest(dsn, folder / "bars", MONTHS, run_id="test", fanout=Fanout(1))
    planted = sample_reconciliation.write(folder / "bars", folder / "flows" / "stock_daily", DAILY_DAYS)
    [flow] = [one.flow for one in discovery.shipped() if one.name == "stock_daily"]
    assert flow is not None
    run_flow(flow, dsn, folder / "flows", run_id="test", fanout=Fanout(1))
    return planted


@pytest.fixture(scope="module")
def loaded(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, set[Planted]]]:
    """A database with minute bars and daily files, loaded once, and what is changed in the files."""
    with databases.fresh() as dsn:
        yield dsn, load(dsn, tmp_path_factory.mktemp("sources"))


def load_ticks(dsn: str, client: Client, month: str) -> None:
    """The minutes of one stock as ticks: end of each minute in UTC, shares."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            """SELECT code, time::date, time - interval '8 hours', 'end', '1m', open::float, high::float, low::float,
                      close::float, volume * 100, amount::float, 'CNY', 0, 'files', 'a.csv'
               FROM stock_1min_qfq WHERE code = '000001.SZ' AND to_char(time, 'YYYY-MM') = %s""",
            [month],
        ).fetchall()
    tables.ensure(client)
    columns = tables.TICK_DATA.columns
    frame = pl.DataFrame(rows, list(columns), orient="row").with_columns(pl.col("ts").dt.replace_time_zone("UTC"))
    clickhouse.insert(client, "tick_data", frame.cast(columns), tables.TICK_DATA.dictionaries)


def found(dsn: str) -> set[Planted]:
    with psycopg.connect(dsn) as connection:
        return set(connection.execute("SELECT symbol, date, field FROM reconciliation").fetchall())


def test_exactly_the_changed_values_are_found(loaded: tuple[str, set[Planted]], clickhouse_client: Client) -> None:
    dsn, planted = loaded
    reports = reconcile(dsn, clickhouse_client, MONTHS, CONSTANT, run_id="test")
    assert len(planted) == len(sample_reconciliation.CHANGES)
    assert found(dsn) == planted
    assert sum(report.disagreements for report in reports) == len(planted)
    assert sum(report.compared for report in reports) == DAILY_DAYS * len(sample_reconciliation.STOCKS)
    with psycopg.connect(dsn) as connection:
        assert no_disagreements(connection, MONTHS).count == len(planted)
        assert no_disagreements(connection, ["2026-01"]).passed
        assert connection.execute("SELECT count(*) FROM reconciliation").fetchone() == (len(planted),)
        told = summary(connection)
    days = [day for _, day, _ in planted]
    assert (told.compared, told.empty, told.disagreements, told.newest) == (2, 1, len(planted), max(days))
    assert told.symbols == len({symbol for symbol, _, _ in planted})
    assert told.last_compared is not None
    with psycopg.connect(dsn) as connection:
        both = connection.execute("SELECT value, other_value FROM reconciliation WHERE field = 'high'").fetchone()
    assert both is not None
    assert both[1] == pytest.approx(both[0] * 1.02, abs=0.01)


def test_what_agrees_again_is_no_longer_in_the_table(loaded: tuple[str, set[Planted]]) -> None:
    dsn, prices = loaded[0], {"high", "close"}
    reconcile(dsn, None, MONTHS, FACTORS.to_frame(), run_id="test")
    assert {field for _, _, field in found(dsn)} == {"volume", "turnover"}, "without factors no price is compared"
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE before AS TABLE stock_daily")
        connection.execute(
            """UPDATE stock_daily d SET volume = m.volume, amount = m.amount FROM (
                   SELECT code, time::date AS day, sum(volume) * 100 AS volume, sum(amount) AS amount
                   FROM stock_1min_qfq GROUP BY 1, 2) m
               WHERE upper(left(d.code, 2)) = right(m.code, 2) AND right(d.code, 6) = left(m.code, 6)
                 AND d.trade_date = m.day"""
        )
    reconcile(dsn, None, MONTHS, CONSTANT, run_id="test")
    remaining = found(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("TRUNCATE stock_daily; INSERT INTO stock_daily TABLE before; DROP TABLE before")
    assert {field for _, _, field in remaining} == prices


def test_ticks_are_compared_with_bars_where_there_is_no_daily_file(
    loaded: tuple[str, set[Planted]], clickhouse_client: Client
) -> None:
    dsn, planted = loaded
    load_ticks(dsn, clickhouse_client, "2026-01")
    reconcile(dsn, clickhouse_client, MONTHS, CONSTANT, run_id="test")
    assert found(dsn) == planted
    day = dt.date(2026, 1, 13)
    clickhouse_client.command(
        f"ALTER TABLE tick_data UPDATE close = close + 1, high = high + 1 WHERE date = '{day}'"
        " SETTINGS mutations_sync = 1"
    )
    reconcile(dsn, clickhouse_client, ["2026-01"], CONSTANT, run_id="test")
    assert found(dsn) == planted | {("000001.SZ", day, "high"), ("000001.SZ", day, "close")}


def test_tables_that_do_not_exist_say_nothing(dsn: str) -> None:
    [report] = reconcile(dsn, None, ["2026-01"], CONSTANT, run_id="test")
    assert (report.compared, report.disagreements) == (0, 0)
    with psycopg.connect(dsn) as connection:
        assert (summary(connection).compared, summary(connection).empty) == (0, 1)
