"""Quality over time as the page has it: what loads with bad files leave in ledgers, coverage and gap tables."""

import datetime as dt
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.stores import clickhouse_ledger, mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry
from marketdata_assets.stores.clickhouse_ledger import SliceState
from marketdata_assets.web import quality
from marketdata_demo.venues.market import Plan
from tests.bars.bar_files import csv_text, deliver, line, minutes, months, run
from tests.exchanges.landed_market import land, records
from tests.web.served_market import answer, on, served


def test_rejected_rows_of_bars_count_in_their_month(dsn: str, tmp_path: Path) -> None:
    good = [line(time) for month in (1, 2) for time in minutes(f"2024-{month:02d}-05 09:31:00", 110)]
    bad = line("2024-02-05 14:30:00", volume=-1)
    deliver(tmp_path / "2024_1min.zip", {"sh600000_2024.csv": csv_text([*good, bad])})
    run(dsn, tmp_path, months(2024)[:2])
    with psycopg.connect(dsn) as connection:
        stored = dict(
            connection.execute("SELECT to_char(time, 'YYYY-MM'), count(*) FROM stock_1min_qfq GROUP BY 1").fetchall()
        )
        found = quality.in_postgres(connection)
    bars = {one.period: one for one in found if one.dataset == "stock_1min_qfq"}
    assert {month: one.rows for month, one in bars.items()} == stored
    assert {month: one.rejected for month, one in bars.items()} == {"2024-01": 0, "2024-02": 1}


def test_units_of_a_month_that_failed_or_rejected_rows_are_named(dsn: str, tmp_path: Path) -> None:
    good = [line(time) for month in (1, 2) for time in minutes(f"2024-{month:02d}-05 09:31:00", 110)]
    bad = line("2024-02-05 14:30:00", volume=-1)
    broken = "时间,代码\n2024-01-05,1\n"
    deliver(tmp_path / "2024_1min.zip", {"sh600000_2024.csv": csv_text([*good, bad]), "sz000001_2024.csv": broken})
    run(dsn, tmp_path, months(2024)[:2])
    with served(on(postgres=dsn)) as url:
        first, second, other = (
            answer(url, f"/api/quality/postgres/stock_1min_qfq/{month}")["units"]
            for month in ("2024-01", "2024-02", "2023-12")
        )
    assert [(one["unit"], one["outcome"], one["rejected"]) for one in first] == [("sz000001_2024.csv", "failed", 0)]
    assert "sz000001_2024.csv" in first[0]["error"]
    assert [(one["unit"], one["rejected"]) for one in second] == [("sz000001_2024.csv", 0), ("sh600000_2024.csv", 1)]
    assert other == []


def test_symbols_of_a_month_that_are_not_final_are_named(
    tables_url: str, tables_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"dataset": "tick_data", "code_version": "1", "run_id": "run", "started": dt.datetime.now(dt.UTC)}
    states = (SliceState("2026-10-30", "provisional"), SliceState("2026-10-29", "unsupported"))
    clickhouse_ledger.record(
        tables_client,
        [
            clickhouse_ledger.Load(source="600000.SH", unit="2026-10", outcome="failed", error="no answer", **facts),
            clickhouse_ledger.Load(source="000001.SZ", unit="2026-10", outcome="ok", states=states, **facts),
            clickhouse_ledger.Load(source="000002.SZ", unit="2026-10", outcome="ok", **facts),
            clickhouse_ledger.Load(source="600000.SH", unit="2026-09", outcome="ok", **facts),
        ],
        1,
    )
    with served(on(clickhouse=tables_url)) as url:
        failed, provisional = answer(url, "/api/quality/clickhouse/tick_data/2026-10")["units"]
    assert (failed["source"], failed["outcome"], failed["error"]) == ("600000.SH", "failed", "no answer")
    monkeypatch.setattr(quality, "MOST_UNITS", 1)
    with served(on(clickhouse=tables_url)) as url:
        cut = answer(url, "/api/quality/clickhouse/tick_data/2026-10")
    assert ([one["outcome"] for one in cut["units"]], cut["more"]) == (["failed"], True)
    assert (provisional["source"], provisional["days"]) == ("000001.SZ", "2026-10-30 provisional")


def test_exchange_days_have_rows_rejects_and_gaps(clickhouse_url: str, clickhouse_client: Client) -> None:
    now = dt.datetime.now(dt.UTC)
    begin = (now - dt.timedelta(days=2)).replace(hour=23, minute=55, second=0, microsecond=0)
    told = list(records(Plan(begin, 10), ("binance",)))
    land(clickhouse_client, told)
    with served(on(clickhouse=clickhouse_url)) as url:
        periods = answer(url, "/api/quality/clickhouse")["periods"]
    by_day = {(one["dataset"], one["period"]): one for one in periods}
    for day in (begin.date(), begin.date() + dt.timedelta(days=1)):
        rows = clickhouse_client.command(f"SELECT count() FROM exchange_trades WHERE toDate(time) = '{day}'")
        assert by_day["exchange_trades", str(day)]["rows"] == rows > 0
    gaps = [one for one in periods if one["dataset"] == "exchange_gaps"]
    last_day = "toDate(fromUnixTimestamp64Nano(greatest(ts_to - 1, ts_from), 'UTC'))"
    spans = clickhouse_client.query(f"SELECT toDate(time), {last_day} FROM exchange_gaps FINAL").result_rows
    expected = Counter(
        str(first + dt.timedelta(days)) for first, last in spans for days in range((last - first).days + 1)
    )
    assert expected
    assert {one["period"]: one["gaps"] for one in gaps} == expected
    assert len(by_day) == len(periods), "each period is there once"


def test_a_gap_counts_on_every_day_that_it_touches(clickhouse_client: Client) -> None:
    schema.ensure(clickhouse_client)
    day, about = 86_400 * 10**9, ("okx", "spot", "ABC-USDT", "ABC-USDT")
    since = int(dt.datetime(2025, 1, 1, tzinfo=dt.UTC).timestamp()) * 10**9
    spans = [(since - 5 * day, since + day, None), (since + day // 2, since + 2 * day + 1, since + 3 * day)]
    gaps = [Gap(*about, f"trades{last}", 1, 9, first, last, "disconnect", ended) for first, last, ended in spans]  # type: ignore[arg-type]
    insert_records(clickhouse_client, gaps)
    found = quality.in_clickhouse(clickhouse_client, dt.datetime(2025, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=92))
    counted = [(one.period, one.gaps, one.open_gaps) for one in found if one.dataset == "exchange_gaps"]
    assert counted == [("2025-01-01", 2, 1), ("2025-01-02", 1, 0), ("2025-01-03", 1, 0)]


def test_rows_of_files_and_histories_are_of_their_domain_and_count_once(tables_url: str, tables_client: Client) -> None:
    day = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    units = {"exchange_history": day, "exchange_captures": "a.zst", "reference_files": "a.csv", "tick_data": day[:7]}
    facts = {"code_version": "1", "run_id": "run", "outcome": "ok", "rows": 7, "started": dt.datetime.now(dt.UTC)}
    loads = [clickhouse_ledger.Load(dataset=name, source="x", unit=unit, **facts) for name, unit in units.items()]
    clickhouse_ledger.record(tables_client, loads, 1)
    with served(on(clickhouse=tables_url)) as url:
        periods = answer(url, "/api/quality/clickhouse")["periods"]
    assert {one["dataset"]: (one["domain"], one["counted"]) for one in periods if one["dataset"] in units} == {
        "exchange_history": ("exchanges", False),
        "exchange_captures": ("exchanges", False),
        "reference_files": ("reference", False),
        "tick_data": ("ticks", True),
    }


def test_older_days_of_exchanges_are_left_out(clickhouse_client: Client) -> None:
    old = dt.datetime(2020, 1, 5, tzinfo=dt.UTC)
    land(clickhouse_client, records(Plan(old, 4), ("okx",)))
    assert quality.in_clickhouse(clickhouse_client, dt.datetime(2025, 1, 1, tzinfo=dt.UTC)) == []
    found = quality.in_clickhouse(clickhouse_client, old + dt.timedelta(days=1))
    assert {one.period for one in found} == {"2020-01-05"}


def test_months_of_alphas_are_the_sums_of_their_packages(mongo_uri: str) -> None:
    at = mongo_ledger.now()
    facts = {"dataset": "regular_alphas", "code_version": "1", "run_id": "run", "started": at, "finished": at}
    units = [("a", "2031-01-02", 5, 1, "ok"), ("a", "2031-01-03", 7, 0, "ok"), ("b", "2031-01-02", 0, 0, "failed")]
    with mongo.databases(mongo_uri) as databases:
        for account, unit, rows, rejected, outcome in units:
            entry = Entry(source=account, unit=unit, rows=rows, rejected=rejected, outcome=outcome, **facts)  # type: ignore[arg-type]
            mongo_ledger.write(databases["regular_alphas"], entry)
        [month] = [one for one in quality.in_mongo(databases) if one.period == "2031-01"]
    assert (month.dataset, month.rows, month.rejected, month.failed) == ("regular_alphas", 12, 1, 1)


def test_records_that_a_table_could_not_take_count_on_the_day_they_were_seen(clickhouse_client: Client) -> None:
    schema.ensure(clickhouse_client)
    clickhouse_client.command(
        "INSERT INTO exchange_rejects (type, reason, raw, source, seen)"
        " VALUES ('trade', 'no price', '{}', 'test', '2025-01-05 12:00:00')"
    )
    found = quality.in_clickhouse(clickhouse_client, dt.datetime(2025, 1, 6, tzinfo=dt.UTC))
    assert [(one.dataset, one.period, one.rejected) for one in found] == [("exchange_trades", "2025-01-05", 1)]
