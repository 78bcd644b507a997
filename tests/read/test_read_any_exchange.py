"""Bars of any frequency of any exchange, against periods that are made by hand from what the exchanges announced."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets import read
from marketdata_assets.read.errors import MissingFactors, OddValue, UnknownName
from marketdata_assets.reference import tables as reference
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.ticks import tables
from marketdata_assets.ticks.tables import FACTORS, TICK_DATA
from tests.databases import fresh_clickhouse
from tests.ticks.markets import CRYPTO, HONG_KONG, LONDON, MARKETS, TOKYO, UNITED_STATES, Exchange
from tests.ticks.tick_rows import load

SPANS = {
    UNITED_STATES.symbol: (dt.date(2024, 10, 28), dt.date(2024, 12, 6)),  # winter time, and a half day
    HONG_KONG.symbol: (dt.date(2024, 12, 16), dt.date(2025, 1, 3)),
    LONDON.symbol: (dt.date(2024, 12, 20), dt.date(2025, 1, 3)),
    TOKYO.symbol: (dt.date(2024, 10, 31), dt.date(2024, 11, 8)),  # the close moves by half an hour
    CRYPTO.symbol: (dt.date(2024, 12, 31), dt.date(2025, 1, 1)),
}
"""The first of each is a day on which the exchange is open."""
Row = tuple[dt.datetime | dt.date, float, float, float, float, int]


@pytest.fixture(scope="module")
def client(clickhouse_server: str) -> Iterator[Client]:
    """The minutes of five symbols; the price is the number of the minute."""
    with fresh_clickhouse(clickhouse_server) as url, clickhouse.connect(url) as opened:
        tables.ensure(opened)
        reference.ensure(opened)
        for market in MARKETS:
            insert(
                opened, market.symbol, [(day, time, number, 0) for number, (day, time) in enumerate(minutes(market))]
            )
        yield opened


def minutes(market: Exchange) -> list[tuple[dt.date, dt.datetime]]:
    return [(day, time) for day in market.open_days(*SPANS[market.symbol]) for time in market.starts(day)]


def insert(client: Client, symbol: str, rows: Iterable[tuple[dt.date, dt.datetime, float, int]]) -> None:
    """Day, start of the minute, price and flags."""
    schema = {"date": pl.Date, "ts": pl.Datetime("ms", "UTC"), "close": pl.Float64, "flags": pl.UInt8}
    frame = pl.DataFrame(list(rows), schema, orient="row").with_columns(
        **{name: pl.col("close") for name in ("open", "high", "low", "turnover")},
        **{name: pl.lit(text) for name, text in (("label", "start"), ("interval", "1m"), ("currency", "USD"))},
        **{name: pl.lit(text) for name, text in (("symbol", symbol), ("provider", "yahoo"), ("file", ""))},
        volume=pl.lit(1),
    )
    clickhouse.insert(
        client, "tick_data", frame.select(TICK_DATA.columns.names()).cast(TICK_DATA.columns), TICK_DATA.dictionaries
    )


def by_hand(market: Exchange, freq: str, label: str) -> list[Row]:
    """Every whole period, said without our code."""
    numbers = {time: number for number, (_, time) in enumerate(minutes(market))}
    periods: dict[dt.datetime | dt.date, list[int]] = {}
    zone, step = ZoneInfo(market.timezone), int(freq[:-1]) if freq.endswith("m") else 0
    for day in market.open_days(*SPANS[market.symbol]):
        starts = iter(market.starts(day))
        for opening, closing in market.sessions(day):
            length = sum((int(text[:2]) * 60 + int(text[3:])) * sign for text, sign in ((opening, -1), (closing, 1)))
            for at in range(0, length, step or length):
                run = [next(starts) for _ in range(min(step or length, length - at))]
                moment = run[0] if label == "start" else run[-1] + dt.timedelta(minutes=1)
                key = moment.astimezone(zone).replace(tzinfo=None) if step else named(market, day, freq, label)
                periods.setdefault(key, []).extend(numbers[time] for time in run)
    return [(key, run[0], run[-1], run[0], run[-1], len(run)) for key, run in periods.items()]


def named(market: Exchange, day: dt.date, freq: str, label: str) -> dt.date:
    """The day that names the day, week or month of a day: its first or last that is open."""
    first = {"1d": day, "1w": day - dt.timedelta(days=day.weekday()), "1mo": day.replace(day=1)}[freq]
    after = {
        "1d": first + dt.timedelta(days=1),
        "1w": first + dt.timedelta(days=7),
        "1mo": first + dt.timedelta(days=32),
    }[freq]
    after = after.replace(day=1) if freq == "1mo" else after
    every = list(market.open_days(first, after - dt.timedelta(days=1)))
    return every[0] if label == "start" else every[-1]


@pytest.mark.parametrize("label", ["start", "end"])
@pytest.mark.parametrize(
    "freq", ["30m", "1d", *(pytest.param(one, marks=pytest.mark.slow) for one in ("1m", "5m", "60m", "1w", "1mo"))]
)
def test_periods_are_those_of_the_exchange(client: Client, freq: Any, label: Any) -> None:
    for market in MARKETS:
        found = read.bars(market.symbol, freq=freq, label=label, source="ticks", adjust="none", connection=client)
        columns = [found.columns[1], "open", "high", "low", "close", "volume"]
        assert found.select(columns).rows() == by_hand(market, freq, label), market.symbol


@pytest.mark.parametrize("freq", ["1d", "1w", "1mo"])
def test_klines_of_all_exchanges_are_one_frame_in_the_calendar_of_each(client: Client, freq: Any) -> None:
    found = read.kline([market.symbol for market in MARKETS], freq=freq, clickhouse=client)
    columns = ["date", "open", "high", "low", "close", "volume"]
    for market in MARKETS:
        mine = found.filter(pl.col("code") == market.symbol)
        assert mine.select(columns).rows() == by_hand(market, freq, "end"), market.symbol
    assert found.equals(found.sort("code", "date"))
    assert found.select("source", "factor").unique().rows() == [("ticks", 1.0)]


def test_symbols_of_several_exchanges_are_read_together_by_code_and_time(client: Client) -> None:
    codes = [market.symbol for market in MARKETS]
    found = read.bars(codes, "2024-12-31", "2025-01-02", freq="1d", source="ticks", adjust="none", connection=client)
    assert found.select("code", "date").rows() == [
        ("0700.HK", dt.date(2024, 12, 31)),
        ("BTC-USD", dt.date(2024, 12, 31)),
        ("BTC-USD", dt.date(2025, 1, 1)),
        ("VOD.L", dt.date(2024, 12, 31)),
    ]
    asked: dict[str, Any] = {"freq": "1m", "source": "ticks", "adjust": "none", "connection": client, "label": "start"}
    bound = dt.datetime(2024, 11, 4, 14, 30, tzinfo=dt.UTC)  # the opening in New York, in winter time
    assert read.bars("AAPL.US", bound, **asked)["time"][0] == dt.datetime(2024, 11, 4, 9, 30)
    with pytest.raises(UnknownName, match=r"0700\.HK"):
        read.bars("hk00700", source="ticks", connection=client)


def test_minutes_outside_of_the_session_are_no_part_of_a_bar(client: Client) -> None:
    day, zone = dt.date(2024, 6, 3), ZoneInfo("America/New_York")
    times = {"08:00": 64, "09:30": 0, "15:59": 0, "16:00": 0, "17:00": 64}
    rows = [
        (day, dt.datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=zone).astimezone(dt.UTC), number, flags)
        for number, (time, flags) in enumerate(times.items())
    ]
    insert(client, "MSFT.US", rows)
    for freq, count in (("1m", 2), ("1d", 1)):
        found = read.bars("MSFT.US", freq=freq, source="ticks", adjust="none", connection=client)
        assert (found.height, found["open"][0], found["close"][-1], found["volume"].sum()) == (count, 1.0, 3.0, 3)


DAYS = [dt.date(2024, 6, day) for day in (3, 4, 5)]


def priced(client: Client, symbol: str, prices: list[float], events: list[tuple[dt.date, str, float]]) -> None:
    """A bar of each of DAYS, and the splits and dividends that Yahoo has of the month."""
    at = dt.time(15, 0)
    insert(
        client,
        symbol,
        [(day, dt.datetime.combine(day, at, dt.UTC), price, 0) for day, price in zip(DAYS, prices, strict=True)],
    )
    rows = [(symbol, day, kind, value, "yahoo") for day, kind, value in events]
    frame = pl.DataFrame(rows, FACTORS.columns, orient="row")
    clickhouse.insert(client, "factors", frame, FACTORS.dictionaries)
    entry = replace(load(symbol, Days.month("2024-06"), None), dataset="factors", rows=len(rows))
    ledger.record(client, [entry], ledger.next_version(client))


@pytest.mark.parametrize(
    ("symbol", "prices", "events", "back"),
    [
        ("A.US", [100.0, 25.0, 26.0], [(DAYS[1], "split", 4.0)], [100.0, 100.0, 104.0]),
        ("B.US", [25.0, 25.0, 26.0], [(DAYS[1], "split", 4.0)], [25.0, 25.0, 26.0]),  # adjusted by Yahoo already
        ("C.US", [1.0, 10.0, 10.0], [(DAYS[1], "split", 0.1)], [1.0, 1.0, 1.0]),
        ("D.US", [100.0, 98.0, 98.0], [(DAYS[1], "dividend", 2.0)], [100.0, 100.0, 100.0]),
        ("E.US", [100.0, 49.0, 49.0], [(DAYS[1], "dividend", 2.0), (DAYS[1], "split", 2.0)], [100.0, 100.0, 100.0]),
        ("F.US", [100.0, 98.0, 98.0], [(DAYS[0], "dividend", 2.0)], [100.0, 98.0, 98.0]),  # before the first bar
    ],
)
def test_splits_and_dividends_adjust_where_the_bars_are_not_adjusted(
    client: Client, symbol: str, prices: list[float], events: list[tuple[dt.date, str, float]], back: list[float]
) -> None:
    priced(client, symbol, prices, events)
    asked: dict[str, Any] = {"freq": "1d", "source": "ticks", "connection": client, "columns": ["close"]}
    assert read.bars(symbol, adjust="back", **asked)["close"].to_list() == pytest.approx(back)
    forward = [price / back[-1] * prices[-1] for price in back]
    assert read.bars(symbol, adjust="forward", **asked)["close"].to_list() == pytest.approx(forward)
    before = read.bars(symbol, adjust="forward", as_of=DAYS[0], **asked)["close"].to_list()
    assert before == prices[:1]  # nothing that comes later is known


def test_days_whose_splits_and_dividends_nobody_has_said_are_not_adjusted(client: Client) -> None:
    asked: dict[str, Any] = {"freq": "1d", "source": "ticks", "connection": client}
    with pytest.raises(MissingFactors, match=r"^factors has .* AAPL\.US for bars from 2024-10-28.*asset factors,"):
        read.bars("AAPL.US", **asked)
    priced(client, "G.US", [1.0, 1.0, 1.0], [(DAYS[1], "dividend", 72.0)])  # pence for pounds
    with pytest.raises(OddValue, match=r"dividend 72\.0 of G\.US on 2024-06-04 is not below 1\.0"):
        read.bars("G.US", **asked)
