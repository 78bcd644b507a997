"""Bars of any frequency from real tables: minutes, ticks and daily files, which agree where they should."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import psycopg
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets import read
from marketdata_assets.bars import ingest as load_bars
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import discovery
from marketdata_assets.flows.run import run_flow
from marketdata_assets.read.bars import Query
from marketdata_assets.read.errors import (
    BadMoment,
    CannotAdjust,
    MissingFactors,
    NothingLoaded,
    OddValue,
    UnknownColumn,
    UnknownName,
)
from marketdata_assets.read.resampling import MINUTES, PRICES, VALUES, of_minutes
from marketdata_assets.reference import tables as reference
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.ticks import tables
from marketdata_demo import sample_bars, sample_flows, sample_reconciliation
from tests.bar_tables import minutes_of, put_factors, put_ticks
from tests.bars.bar_files import csv_text, deliver, line, minutes
from tests.databases import fresh_clickhouse, fresh_postgres

NOW = dt.datetime(2025, 2, 3, 12, tzinfo=dt.UTC)
TWO_DAYS = [
    time
    for day in (2, 3)
    for start, count in (("09:30", 121), ("13:01", 120))
    for time in minutes(f"2024-01-0{day} {start}:00", count)
]


@pytest.fixture(scope="module")
def dsn(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two days of two stocks; the price is the number of the minute, negative for the second stock."""
    folder = tmp_path_factory.mktemp("bars")
    for code, sign in (("sh600000", ""), ("sz000001", "-")):
        rows = [line(time, code, f"{sign}{number}.00") for number, time in enumerate(TWO_DAYS, 1)]
        deliver(folder / f"{code}_2024.csv", csv_text(rows))
    with fresh_postgres(server_dsn) as fresh:
        load_bars.ingest(fresh, folder, ["2024-01"], run_id="test", fanout=Fanout(1))
        yield fresh


@pytest.fixture(scope="module")
def client(clickhouse_server: str) -> Iterator[Client]:
    """A database with the empty tables of ticks and reference data."""
    with fresh_clickhouse(clickhouse_server) as url, clickhouse.connect(url) as opened:
        tables.ensure(opened)
        reference.ensure(opened)
        yield opened


def load_daily(dsn: str, folder: Path) -> None:
    [flow] = [one.flow for one in discovery.shipped() if one.name == "stock_daily"]
    assert flow
    run_flow(flow, dsn, folder, run_id="test", fanout=Fanout(1))


def test_minutes_become_bars_by_code_and_time_in_shares(dsn: str) -> None:
    found = read.bars(["600000.SH", "000001.SZ"], "2024-01-02", "2024-01-03", freq="60m", connection=dsn)
    assert found.schema == Query(freq="60m").columns
    first = found.row(0, named=True)
    assert (first["code"], str(first["time"])) == ("000001.SZ", "2024-01-02 10:30:00")
    assert [first[name] for name in ("open", "high", "low", "close")] == [-1.0, -1.0, -61.0, -61.0]
    assert (first["volume"], first["amount"], first["factor"]) == (61 * 500, sum(range(1, 62)) * 500.0, None)
    hours = found.filter(pl.col("code") == "600000.SH")
    assert hours["time"].dt.strftime("%H:%M").to_list() == ["10:30", "11:30", "14:00", "15:00"]
    assert hours["close"].to_list() == [61.0, 121.0, 181.0, 241.0]


def test_days_weeks_and_months_of_all_stocks(dsn: str) -> None:
    days = read.bars(freq="1d", columns=["code", "date", "open", "close", "volume"], connection=dsn)
    first, second = dt.date(2024, 1, 2), dt.date(2024, 1, 3)
    assert days.rows()[2:] == [
        ("600000.SH", first, 1.0, 241.0, 120_500),
        ("600000.SH", second, 242.0, 482.0, 120_500),
    ]
    for freq, last in (("1w", dt.date(2024, 1, 5)), ("1mo", dt.date(2024, 1, 31))):
        asked: dict[str, Any] = {"freq": freq, "columns": ["date", "open", "close", "volume"], "connection": dsn}
        assert read.bars("600000.SH", **asked).rows() == [(last, 1.0, 482.0, 241_000)]
        assert read.bars("600000.SH", label="start", **asked)["date"].to_list() == [first]


@pytest.mark.parametrize("freq", ["1m", "5m", "60m", "1d", "1w"])
@pytest.mark.parametrize("label", ["start", "end"])
def test_bounds_choose_whole_bars_by_their_label(dsn: str, freq: Any, label: Any, monkeypatch: Any) -> None:
    everything = read.bars(freq=freq, label=label, connection=dsn)
    time = everything.columns[1]
    module = import_module("marketdata_assets.read.bars")
    monkeypatch.setattr(module, "MAX_CODES", 1)
    monkeypatch.setattr(module, "MAX_ROWS", 300)
    for start, end in (("2024-01-02T10:31", "2024-01-03T09:32"), ("2024-01-03", "2024-01-06"), (None, "2024-01-03")):
        found = read.bars(None, start, end, freq=freq, label=label, connection=dsn)
        low, high = (None if one is None else dt.datetime.fromisoformat(one) for one in (start, end))
        at = pl.col(time).cast(pl.Datetime("us"))
        assert found.equals(everything.filter(pl.lit(True) if low is None else at >= low, at < high))


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"codes": "sh600000"}, UnknownName, "did you mean '600000.SH'"),
        ({"codes": "600009.SH"}, UnknownName, "'600009.SH' is no stock with minutes; did you mean '600000.SH'"),
        ({"freq": "2m"}, UnknownName, "'2m' is no frequency of bars"),
        ({"source": "daily", "freq": "5m"}, UnknownName, "there are 1d, 1mo, 1w"),
        ({"columns": ["vwap"]}, UnknownColumn, "bars has no column 'vwap'"),
        ({"adjust": "none"}, CannotAdjust, 'no prices with adjust="none".*source="ticks"'),
        ({"adjust": "back"}, CannotAdjust, "subtracting dividends"),
        ({"as_of": "2024-01-02"}, CannotAdjust, "as_of='2024-01-02'"),
        ({"as_of": "2024-01-02T10:00", "source": "ticks"}, BadMoment, "as_of is a day"),
        ({"start": "2024-13-01"}, BadMoment, "2024-13-01"),
        ({"start": "2024-01-03", "end": "2024-01-02"}, BadMoment, "2024-01-0[23]"),
        ({"source": "minute"}, UnknownName, "did you mean 'minutes'"),
    ],
)
def test_a_wrong_question_says_what_is_meant(dsn: str, asked: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read.bars(**{"connection": dsn, **asked})


def test_what_is_not_there_is_said(server_dsn: str, clickhouse_url: str) -> None:
    with fresh_postgres(server_dsn) as empty:
        for source in ("minutes", "daily"):
            with pytest.raises(NothingLoaded, match="does not exist"):
                read.bars(source=source, freq="1d", adjust="forward", connection=empty)
    with pytest.raises(NothingLoaded, match="tick_data does not exist"):
        read.bars(source="ticks", connection=clickhouse_url)


def test_ticks_are_adjusted_by_the_factors_of_their_days_without_look_ahead(client: Client) -> None:
    code = "600010.SH"
    days = ["2024-05-06", "2024-05-07", "2024-05-08"]
    rows = [
        {"trade_date": dt.date.fromisoformat(day), **dict.fromkeys(("open", "high", "low", "close"), price)}
        | {"volume": 24_100, "amount": 241.0}
        for day, price in zip(days, (10.0, 5.0, 4.0), strict=True)
    ]
    put_ticks(client, code, minutes_of(pl.DataFrame(rows)))
    asked: dict[str, Any] = {"source": "ticks", "freq": "1d", "connection": client, "columns": ["close", "factor"]}
    with pytest.raises(MissingFactors, match=r"600010\.SH for bars from 2024-05-06 to 2024-05-08"):
        read.bars(code, **asked)
    assert read.bars(code, adjust="none", **asked)["close"].to_list() == [10.0, 5.0, 4.0]
    put_factors(client, code, dict(zip(days, (1.0, 2.0, 2.5), strict=True)))
    assert read.bars(code, adjust="back", **asked)["close"].to_list() == [10.0, 10.0, 10.0]
    assert read.bars(code, **asked)["close"].to_list() == [4.0, 4.0, 4.0]
    assert read.bars(code, as_of="2024-05-07", **asked).rows() == [(5.0, 0.5), (5.0, 1.0)]
    assert read.bars(code, as_of="2024-05-07", **asked | {"freq": "1w"}).rows() == [(5.0, 1.0)]
    with pytest.raises(BadMoment, match="is after the day as_of=2024-05-07"):
        read.bars(code, end="2024-05-09", as_of="2024-05-07", **asked)
    with pytest.raises(MissingFactors, match="from 2024-05-09 to 2024-05-09"):  # the base of as_of is not known
        read.bars(code, as_of="2024-05-09", **asked)
    mine = pl.DataFrame({"symbol": [code], "date": [dt.date(2024, 5, 6)], "adj_factor": [3.0]})
    assert read.bars(code, adjust="back", factors=mine, **asked)["close"].to_list() == [30.0, 15.0, 12.0]


def test_ticks_of_both_labels_make_the_same_bars(client: Client) -> None:
    time = [dt.datetime.fromisoformat(one) for one in TWO_DAYS[1:241]]
    price = np.arange(240.0)
    rows = pl.DataFrame({"time": time, "volume": 100, "turnover": 1.0} | dict.fromkeys(PRICES, price))
    put_ticks(client, "600020.SH", rows)
    put_ticks(client, "600021.SH", rows.with_columns(pl.col("time").dt.offset_by("-1m")), "start")
    put_ticks(client, "AAPL", rows)
    asked: dict[str, Any] = {"source": "ticks", "adjust": "none", "connection": client}
    for freq in ("1m", "30m", "1d"):
        ended, started = (read.bars(code, freq=freq, **asked).drop("code") for code in ("600020.SH", "600021.SH"))
        assert started.equals(ended)
    assert "AAPL" not in read.bars(freq="1d", **asked)["code"]
    put_ticks(client, "600020.SH", rows.head(1), "start")
    with pytest.raises(OddValue, match=r"600020\.SH on 2024-01-02 are labelled by their start, others by their end"):
        read.bars("600020.SH", **asked)


def test_bars_of_days_that_are_not_final_can_be_left_out(client: Client, dsn: str) -> None:
    """Of Thursday, Friday, the last day of a month and the days after; the Friday may still change."""
    code, days = "600040.SH", [dt.date(2024, 8, day) for day in (29, 30)] + [dt.date(2024, 9, day) for day in (2, 3)]
    rows = [{"trade_date": day, **dict.fromkeys(PRICES, 10.0), "volume": 24_100, "amount": 241.0} for day in days]
    put_ticks(client, code, minutes_of(pl.DataFrame(rows)))
    [load] = ledger.entries(client, "tick_data", ["2024-08"], [code])
    friday = replace(load, states=(ledger.SliceState("2024-08-30", "provisional"),))
    ledger.record(client, [friday], ledger.next_version(client))
    asked: dict[str, Any] = {"source": "ticks", "adjust": "none", "connection": client}
    for freq, final in (("1d", [29, 2, 3]), ("30m", [29, 2, 3]), ("1w", [6]), ("1mo", [30])):
        for label in ("start", "end"):
            every = read.bars(code, freq=freq, label=label, **asked)
            found = read.bars(code, freq=freq, label=label, final=True, **asked)
            kept = found[found.columns[1]].cast(pl.Date).dt.day().unique(maintain_order=True).to_list()
            assert kept == ([2] if label == "start" and freq in ("1w", "1mo") else final)
            assert set(found.rows()) <= set(every.rows())
    in_files: dict[str, Any] = {"freq": "1d", "connection": dsn}
    assert read.bars(final=True, **in_files).equals(read.bars(**in_files))


@pytest.mark.parametrize("label", ["start", "end"])
def test_clickhouse_makes_the_bars_that_the_minutes_make(client: Client, label: Any) -> None:
    """Minutes of three days, some of them outside the sessions, each value of which may be missing."""
    code, rng = {"start": "600030.SH", "end": "600031.SH"}[label], np.random.default_rng(5)
    clock = np.concatenate(
        [np.sort(rng.choice(np.arange(555, 940), 200, replace=False)) + day * 1440 for day in (1, 2, 5)]
    )
    time = [dt.datetime(2024, 1, 1) + dt.timedelta(minutes=int(minute)) for minute in clock]
    values = {name: rng.integers(1, 100, len(time)) for name in ("open", "high", "low", "close", "volume", "turnover")}
    present = {name: pl.when(pl.Series(rng.random(len(time)) < 0.7)).then(pl.col(name)) for name in values}
    put_ticks(client, code, pl.DataFrame({"time": time, **values}).with_columns(**present), label)
    raw = read.tick_data(code, connection=client).rename({"symbol": "code", "turnover": "amount"})
    local = raw.with_columns(time=pl.col("ts").dt.convert_time_zone("Asia/Shanghai").dt.replace_time_zone(None))
    for freq in (*MINUTES, "1d"):
        asked: dict[str, Any] = {"freq": freq, "label": label, "source": "ticks", "adjust": "none"}
        expected = of_minutes(local, freq, label).with_columns(factor=pl.lit(1.0))
        found = read.bars(code, connection=client, **asked)
        assert found.equals(expected.select(found.columns).cast(dict(found.schema)))


def test_days_of_ticks_are_the_vendors_days_of_its_recorded_file(
    client: Client, dsn: str, fixtures: Path, tmp_path: Path
) -> None:
    (tmp_path / "stock_daily").symlink_to(fixtures / "ashare_csv" / "daily")
    load_daily(dsn, tmp_path)
    vendors = read.table("stock_daily", only={"code": "bj920000"}, order=["trade_date"], connection=dsn)
    assert vendors.height == 100
    put_ticks(client, "920000.BJ", minutes_of(vendors))
    _same_days("920000.BJ", client, dsn)


def test_days_of_ticks_are_the_days_of_the_samples_files(client: Client, dsn: str, tmp_path: Path) -> None:
    sample_flows.write(tmp_path / "stock_daily", 3, NOW.date(), days=30)
    load_daily(dsn, tmp_path)
    for code in ("600000.SH", "000000.SZ", "300000.SZ"):
        vendors = read.table("stock_daily", only={"code": f"{code[7:].lower()}{code[:6]}"}, connection=dsn)
        put_ticks(client, code, minutes_of(vendors.sort("trade_date")))
        _same_days(code, client, dsn)


@pytest.fixture
def apart(server_dsn: str) -> Iterator[str]:
    """An empty database, for other stocks than those of the module's."""
    with fresh_postgres(server_dsn) as fresh:
        yield fresh


def test_days_of_minutes_are_the_demos_daily_files_but_for_the_planted_values(apart: str, tmp_path: Path) -> None:
    """The vendor's dividend is in the price of a minute, and not in that of a day."""
    stocks = [stock for stock in sample_bars.STOCKS if stock in sample_reconciliation.STOCKS[:3]]
    sample_bars.write_year(tmp_path / "bars", 2023, stocks, until=dt.date(2023, 1, 20))
    load_bars.ingest(apart, tmp_path / "bars", ["2023-01"], run_id="test", fanout=Fanout(1))
    planted = sample_reconciliation.write(tmp_path / "bars", tmp_path / "stock_daily")
    load_daily(apart, tmp_path)
    codes = [f"{code[2:]}.{code[:2].upper()}" for code, _ in stocks]
    asked: dict[str, Any] = {"freq": "1d", "connection": apart}
    ours = read.bars(codes, "2023-01", "2023-02", **asked)
    vendors = read.bars(codes, "2023-01", "2023-02", source="daily", adjust="none", **asked)
    assert ours["code", "date"].equals(vendors["code", "date"])
    dividend = {codes[at]: sample_bars.DIVIDENDS.get(code, 0.0) for at, (code, _) in enumerate(stocks)}
    adjusted = {name: vendors[name] - vendors["code"].replace_strict(dividend) for name in PRICES}
    differing = set()
    for name in VALUES:
        wrong = (ours[name] - adjusted.get(name, vendors[name])).abs() > 1e-3
        field = "turnover" if name == "amount" else name
        differing |= {(code, day, field) for code, day in ours.filter(wrong).select("code", "date").iter_rows()}
    assert differing == planted
    assert len(planted) == 3


def test_klines_are_of_the_first_source_that_has_the_symbol(dsn: str, clickhouse_server: str) -> None:
    """Raw ones of ticks; those of minute files are adjusted by their vendor, so raw ones are not of them."""
    days = pl.DataFrame(
        {
            "trade_date": [dt.date(2024, 1, 2), dt.date(2024, 1, 3)],
            "open": [8.0, 8.0],
            "high": 9.0,
            "low": 7.0,
            "close": [8.0, 8.5],
            "volume": 24100,
            "amount": 1e5,
        }
    )
    with fresh_clickhouse(clickhouse_server) as url, clickhouse.connect(url) as ours:
        with pytest.raises(UnknownName, match=r"'600004\.SH' is no symbol with ticks or minutes or daily"):
            read.kline("600004.SH", clickhouse=ours, postgres=dsn)
        tables.ensure(ours)
        reference.ensure(ours)
        put_ticks(ours, "600004.SH", minutes_of(days))
        asked: dict[str, Any] = {"clickhouse": ours, "postgres": dsn}
        found = read.kline("600004.SH", freq="1w", **asked)
        assert found.drop("code", "amount").rows() == [(dt.date(2024, 1, 5), 8.0, 9.0, 7.0, 8.5, 48200.0, 1.0, "ticks")]
        put_factors(ours, "600004.SH", {"2024-01-02": 2.0, "2024-01-03": 4.0})
        both = read.kline(["600004.SH", "600000.SH"], freq="1mo", adjust="forward", **asked)
        assert both.select("code", "open", "close", "factor", "source").rows() == [
            ("600000.SH", 1.0, 482.0, None, "minutes"),
            ("600004.SH", 4.0, 8.5, 1.0, "ticks"),
        ]
        with pytest.raises(UnknownName, match=r"'600000\.SH' is no symbol with ticks or minutes \(adjust='none'"):
            read.kline("600000.SH", sources=["ticks", "minutes"], **asked)
    alone = read.kline("600000.SH", adjust="forward", sources=["minutes"], postgres=dsn, columns=["date", "close"])
    assert alone.rows() == [(dt.date(2024, 1, 31), 482.0)]
    with pytest.raises(UnknownName, match="1mo"):
        read.kline("600000.SH", freq=cast(Any, "60m"))


def _same_days(code: str, client: Client, dsn: str) -> None:
    """Prices and volumes are equal to the last digit, amounts up to the order of the sum."""
    for freq in ("1d", "1w", "1mo"):
        asked: dict[str, Any] = {"freq": freq, "adjust": "none"}
        ours = read.bars(code, source="ticks", connection=client, **asked)
        vendors = read.bars(code, source="daily", connection=dsn, **asked)
        assert ours.drop("amount").equals(vendors.drop("amount"))
        assert ours["amount"].to_list() == pytest.approx(vendors["amount"].to_list(), rel=1e-12)


def test_only_what_is_asked_for_is_read(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("""ALTER TABLE stock_1min_qfq RENAME TO apart; CREATE VIEW stock_1min_qfq AS
            SELECT time, code, close, 1 / (volume - volume) AS amount FROM apart""")
        found = read.bars("600000.SH", end="2024-01-03", freq="1d", columns=["close"], connection=connection)
        assert found["close"].to_list() == [241.0]
        connection.rollback()
