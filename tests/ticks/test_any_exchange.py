"""Minute bars of any exchange: complete, final and exact against what the exchanges announced, see `markets`."""

import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets import read
from marketdata_assets.defs.repair import nightly
from marketdata_assets.months import months_from
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.completeness import gaps
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clickhouse_ledger import entries
from marketdata_assets.ticks import checks, coverage, file_ledger, registry, status
from marketdata_assets.ticks.checks import Question
from marketdata_assets.ticks.factors import compute
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.finality import Moment
from marketdata_assets.ticks.load import load
from marketdata_assets.ticks.load_run import LoadOptions
from marketdata_assets.ticks.records import FLAGS
from marketdata_assets.ticks.reports import LoadReport, Unit
from marketdata_assets.ticks.tables import TICK_DATA
from marketdata_demo.servers.yahoo import YahooServer
from tests.ticks.factor_bars import stand, values
from tests.ticks.markets import CRYPTO, FIRST, HONG_KONG, LAST, LONDON, MARKETS, TOKYO, UNITED_STATES, Exchange
from tests.ticks.tick_clients import Clients, files_config


@lru_cache(maxsize=8192)
def seconds(market: Exchange, day: dt.date) -> frozenset[int]:
    return frozenset(int(time.timestamp()) for time in market.starts(day))


class WorldYahoo(YahooServer):
    """Yahoo with five symbols, each at the hours of its exchange."""

    def __init__(self, now: dt.datetime, markets: Sequence[Exchange] = MARKETS) -> None:
        super().__init__([one.yahoo for one in markets], now=now)
        self.markets = {one.yahoo: one for one in markets}
        self.currencies = {one.yahoo: one.currency for one in markets}

    def is_open(self, symbol: str, second: int) -> bool:
        market = self.markets[symbol]
        day = dt.datetime.fromtimestamp(second, ZoneInfo(market.timezone)).date()
        return second < self.now.timestamp() and second in seconds(market, day)


def wanted(market: Exchange, first: dt.date, last: dt.date) -> pl.DataFrame:
    """Date, ts, close and volume of every bar of the server."""
    rows = [(day, time) for day in market.open_days(first, last) for time in market.starts(day)]
    frame = pl.DataFrame(rows, {"date": pl.Date, "ts": pl.Datetime("ms", "UTC")}, orient="row")
    second = pl.col("ts").dt.epoch("s")
    return frame.with_columns(close=10.0 + second % 3600 / 36000, volume=second % 7 * 100)


def landed(client: Client, symbol: str) -> pl.DataFrame:
    names = "date, ts, label, close, volume, currency, flags"
    sql = f"SELECT {names} FROM tick_data WHERE symbol = {{symbol:String}} ORDER BY ts"
    return clickhouse.read(client, sql, {"symbol": symbol}).with_columns(pl.col("label", "currency").cast(pl.String))


def fetch(client: Client, clients: Clients, server: YahooServer, units: Sequence[Unit], now: dt.datetime) -> LoadReport:
    server.now = now
    options = LoadOptions(workers=4, patience=0.0)
    return load(client, [clients.yahoo(server)], units, options=options, run_id="run", now=now)


def not_final(client: Client, symbol: str) -> set[str]:
    """The days that are provisional or incomplete."""
    states = [state for load in entries(client, "tick_data", None, [symbol]) for state in load.states]
    return {state.slice for state in states if state.state != "unsupported"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "last"),
    [
        (dt.date(2024, 12, 20), dt.date(2025, 1, 3)),
        (dt.date(2025, 3, 3), dt.date(2025, 4, 4)),
        (FIRST, LAST),
    ],
    ids=("half days and holidays", "daylight saving", "two years"),
)
def test_days_of_five_exchanges_are_complete_final_and_exact(
    client: Client, clients: Clients, tmp_path: Path, first: dt.date, last: dt.date
) -> None:
    """Loaded every week or two at 23:00 UTC, when the day has closed everywhere but for what never closes."""
    (tmp_path / "symbols.csv").write_text("\n".join(one.symbol for one in MARKETS))
    registry.refresh(client, None, tmp_path / "symbols.csv", None, now=at_night(first))
    step = 7 if (last - first).days < 100 else 14
    nights = [first + dt.timedelta(days=number) for number in range(0, (last - first).days + step, step)]
    nights.append(nights[-1] + dt.timedelta(days=4))  # the next trading days have closed
    with WorldYahoo(at_night(first)) as server:
        for night in nights:
            months = sorted(
                {f"{day:%Y-%m}" for day in (max(first, night - dt.timedelta(days=step + 8)), min(night, last))}
            )
            units = [Unit(one.symbol, month) for one in MARKETS for month in months]
            report = fetch(client, clients, server, units, at_night(night))
            assert [unit for unit in report.units if unit.outcome == "failed"] == []
        sent = server.requests
        again = fetch(client, clients, server, units, at_night(nights[-1]))
        assert (server.requests, {unit.note for unit in again.units}) == (sent, {"complete; no request was needed"})
    every = months_from(f"{first:%Y-%m}", f"{last:%Y-%m}")
    question = Question.of(client, [Unit(one.symbol, month) for one in MARKETS for month in every])
    complete = checks.ticks_complete(question)
    assert (complete.count, complete.facts["minutes_missing"]) == (0, 0)
    for market in MARKETS:
        assert [day for day in not_final(client, market.symbol) if day <= str(last)] == []
        found, expected = landed(client, market.symbol), wanted(market, first, last)
        found = found.filter(pl.col("date").is_between(first, last))
        same = found.select(expected.columns).cast(dict(expected.schema))
        assert (same.height, same.equals(expected)) == (expected.height, True)
        assert found.select("label", "currency").unique().rows() == [("start", market.currency)]
        assert set(found["flags"]) <= {0, FLAGS["zero_volume"]}
    assert [unit for unit in status.behind(client, every, at_night(nights[-1])).load if unit.month > every[0]] == []


def test_neighbouring_days_of_a_gap_are_those_of_its_exchange() -> None:
    """A weekend on which another exchange is open ends no gap; a day between that is complete does."""
    friday, monday, tuesday = (dt.date(2025, 3, day) for day in (7, 10, 11))
    weekend = [friday + dt.timedelta(days=number) for number in range(5)]
    stock = [("AAPL.US", day, 0, 390, "day") for day in (friday, monday, tuesday)]
    coin = [("BTC-USD", day, 1440 * (day == monday), 1440, "day" if day != monday else "complete") for day in weekend]
    columns = ["symbol", "date", "have", "want", "cause"]
    found = gaps(pl.DataFrame([*stock, *coin], columns, orient="row"), ashares())
    assert found.select("symbol", "first", "last", "days").rows() == [
        ("AAPL.US", friday, tuesday, 3),
        ("BTC-USD", friday, dt.date(2025, 3, 9), 3),
        ("BTC-USD", tuesday, tuesday, 1),
    ]


def test_files_of_any_exchange_are_loaded_by_the_clock_of_each(client: Client, tmp_path: Path) -> None:
    """Of a week with a change of clocks, a half day or a holiday; in the spellings of vendors, times without a zone."""
    spans = {"AAPL": (UNITED_STATES, "2025-03-06", "2025-03-11"), "hk00700": (HONG_KONG, "2024-12-23", "2024-12-30"),
             "VOD.LN": (LONDON, "2025-03-28", "2025-04-01"), "TYO:7203": (TOKYO, "2024-11-01", "2024-11-06"),
             "btc/usd": (CRYPTO, "2025-03-09", "2025-03-10")}  # fmt: skip
    lines = ["symbol,ts,open,high,low,close,volume", "7203,2024-11-05 09:00,1,1,1,1,1"]
    lines += [f"AAPL{one}.US,2025-03-06 09:30,1,1,1,1,1" for one in "!$"]
    for spelt, (market, first, last) in spans.items():
        rows = wanted(market, dt.date.fromisoformat(first), dt.date.fromisoformat(last))
        local = rows["ts"].dt.convert_time_zone(market.timezone).dt.strftime("%Y-%m-%d %H:%M")
        lines += [
            f"{spelt},{time},{close},{close},{close},{close},{volume}"
            for time, close, volume in zip(local, rows["close"], rows["volume"], strict=True)
        ]
    (tmp_path / "week.csv").write_text("\n".join(lines))
    files = Files(tmp_path, files_config())
    now = dt.datetime(2025, 4, 10, tzinfo=dt.UTC)
    units = sorted(file_ledger.changed_by_table(client, files, now)["tick_data"])
    assert {unit.symbol for unit in units} == {one.symbol for one in MARKETS}
    report = load(client, [Files(tmp_path, files_config())], units, run_id="run", now=now)
    assert {unit.outcome for unit in report.units} == {"ok"}
    for market, first, last in spans.values():
        found, expected = landed(client, market.symbol), wanted(market, *map(dt.date.fromisoformat, (first, last)))
        assert found.select(expected.columns).cast(dict(expected.schema)).equals(expected)
        assert set(found["flags"]) <= {0, FLAGS["zero_volume"]}
    [entry] = file_ledger.entries(client, files)
    assert (entry.state, entry.rejected, entry.loaded, entry.balanced) == ("loaded", 3, len(lines) - 4, True)
    [content] = files.of_bars.contents()
    assert [
        reject.reason.count(word)
        for reject, word in zip(content.undated, ("7203.T", "AAPL.US", "AAPL.US"), strict=True)
    ] == [1, 1, 1]


def test_rows_of_a_day_that_is_not_closed_there_stay_due(client: Client, tmp_path: Path) -> None:
    """At 16:00 in Shanghai its day has closed, and the day of what never closes is a third over."""
    rows = [
        f"{symbol},{time},1,1,1,1,1"
        for symbol, time in (("BTC-USD", "2025-06-03 07:59Z"), ("BTC-USD", "2025-06-02 00:00Z"))
    ]
    (tmp_path / "btc.csv").write_text("\n".join(["symbol,ts,open,high,low,close,volume", *rows]))
    unit, now = Unit("BTC-USD", "2025-06"), dt.datetime(2025, 6, 3, 8, tzinfo=dt.UTC)
    for moment, days in ((now, ["2025-06-02"]), (now + dt.timedelta(days=1), ["2025-06-02", "2025-06-03"])):
        files = Files(tmp_path, files_config())
        assert file_ledger.changed_by_table(client, files, moment)["tick_data"] == {unit}
        load(client, [files], [unit], run_id="run", now=moment)
        assert landed(client, "BTC-USD")["date"].cast(pl.String).to_list() == days
        assert file_ledger.changed_by_table(client, files, moment)["tick_data"] == set()


def test_a_file_with_the_other_label_fails_until_the_providers_file_says_so(client: Client, tmp_path: Path) -> None:
    day = dt.date(2025, 6, 2)
    ends = [(time + dt.timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%MZ") for time in HONG_KONG.starts(day)]
    lines = ["symbol,ts,open,high,low,close,volume", *(f"0700.HK,{time},1,1,1,1,1" for time in ends)]
    (tmp_path / "hk.csv").write_text("\n".join(lines))
    broken = Files(tmp_path, files_config()).of_bars
    assert broken.contents() == []
    assert "labelled by the end of their minute on 1 days; write labels: {HK: end}" in broken.broken()["hk.csv"]
    files, unit = Files(tmp_path, files_config(labels={"HK": "end"})), Unit("0700.HK", "2025-06")
    now = dt.datetime(2025, 6, 4, tzinfo=dt.UTC)
    assert file_ledger.changed_by_table(client, files, now)["tick_data"] == {unit}
    load(client, [files], [unit], run_id="run", now=now)
    assert landed(client, "0700.HK")["label"].unique().to_list() == ["end"]
    [row] = coverage.symbol_days(client, "2025-06", ["0700.HK"], ashares()).filter(date=day).rows()
    assert row[2:] == ("end", 330, 330, 330, 0)


def chart(market: Exchange, rows: Sequence[tuple[str, float]]) -> bytes:
    """Yahoo's answer with bars at these times of the exchange's clock, all of whose prices are equal."""
    zone = ZoneInfo(market.timezone)
    times = [int(dt.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) for text, _ in rows]
    prices = [price for _, price in rows]
    quote = dict.fromkeys(("open", "high", "low", "close"), prices) | {"volume": [100] * len(rows)}
    meta = {"currency": market.currency, "symbol": market.yahoo, "dataGranularity": "1m"}
    result = {"meta": meta, "timestamp": times, "indicators": {"quote": [quote]}}
    return json.dumps({"chart": {"result": [result], "error": None}}).encode()


@pytest.mark.parametrize(
    ("market", "rows", "flags", "reasons"),
    [
        # Pounds among pence.
        (LONDON, [("10:00", 71.5), ("10:01", 0.716), ("10:02", 71.7)], [0, 128 + 32, 32], []),
        (UNITED_STATES, [("10:00", 200.0), ("10:01", 20010.0), ("10:02", 200.2)], [0, 128 + 32, 32], []),
        # Prices and volumes that no A-share has.
        (CRYPTO, [("10:00", 104_000.0), ("10:01", 104_001.0), ("10:02", 0.0)], [0, 0, 128 + 32 + 8], []),
        # The current price after the last bar, and a last bar that is sent twice.
        (TOKYO, [("15:28", 3000.0), ("15:29", 3001.0), ("15:29:41", 3001.0)], [0, 0], ["not on a whole minute"]),
        (TOKYO, [("15:29", 3000.0), ("15:29", 3001.0)], [0], ["contradicts an earlier row of the same minute"]),
        (TOKYO, [("15:29", 3000.0), ("15:29", 3000.0)], [0], []),
        # Minutes before and after the session, and in the auction after it.
        (UNITED_STATES, [("09:29", 1.0), ("09:30", 1.0), ("15:59", 1.0), ("16:01", 1.0)], [64, 0, 0, 64], []),
        (LONDON, [("16:29", 1.0), ("16:35", 1.0), ("16:36", 1.0)], [0, 0, 64], []),
        (HONG_KONG, [("11:59", 1.0), ("12:30", 1.0), ("16:08", 1.0), ("16:11", 1.0)], [0, 64, 0, 64], []),
    ],
)
def test_faults_of_yahoo_are_flagged_or_rejected(
    clients: Clients, market: Exchange, rows: list[tuple[str, float]], flags: list[int], reasons: list[str]
) -> None:
    day = dt.date(2025, 6, 3)
    with YahooServer(now=dt.datetime(2025, 6, 10, tzinfo=dt.UTC)) as server:
        server.say(chart(market, [(f"{day}T{time}", price) for time, price in rows]))
        delivery = clients.with_yahoo(server, lambda one: one.bars(market.symbol, Days(day, day)))
    assert delivery.rows["flags"].to_list() == flags
    assert [one.reason for one in delivery.rejected] == reasons
    assert [one.slice for one in delivery.rejected] == [str(day)] * len(reasons)
    assert delivery.rows.height + len(delivery.rejected) + delivery.skipped == len(rows)
    assert delivery.currency == market.currency


def test_bars_after_the_close_of_a_half_day_are_outside_the_session(clients: Clients) -> None:
    day = dt.date(2025, 7, 3)
    with YahooServer(now=dt.datetime(2025, 7, 10, tzinfo=dt.UTC)) as server:
        server.say(chart(UNITED_STATES, [(f"{day}T{time}", 1.0) for time in ("12:59", "13:00", "13:01", "15:59")]))
        delivery = clients.with_yahoo(server, lambda one: one.bars("AAPL.US", Days(day, day)))
    assert delivery.rows["flags"].to_list() == [0, 0, 64, 64]


def test_factors_of_other_exchanges_follow_from_their_days_and_hours(client: Client, tmp_path: Path) -> None:
    """As many shares in each minute of two months: a half day has the volume ratio of the others."""
    months, moment = ["2024-11", "2024-12"], dt.datetime(2025, 1, 10, tzinfo=dt.UTC)
    market = HONG_KONG
    (tmp_path / "symbols.csv").write_text(market.symbol)
    registry.refresh(client, None, tmp_path / "symbols.csv", None, now=moment)
    units = [Unit(market.symbol, month) for month in months]
    frame = wanted(market, dt.date(2024, 11, 1), dt.date(2024, 12, 31))
    price = 10.0 + frame["date"].rank("dense")
    plain = {"symbol": market.symbol, "label": "start", "interval": "1m", "currency": market.currency, "flags": 0}
    frame = frame.with_columns(
        *(pl.lit(value).alias(name) for name, value in {**plain, "provider": "yahoo", "file": ""}.items()),
        *(price.alias(name) for name in ("open", "high", "low", "close")),
        volume=pl.lit(100),
        turnover=price * 100,
    )
    stand(client, [frame.select(TICK_DATA.columns.names()).cast(TICK_DATA.columns)])
    assert set(status.behind(client, months, moment).factors) == set(units)
    report = compute(client, [], units, run_id="run", now=moment)
    assert {unit.outcome for unit in report.units} == {"ok"}
    days = list(market.open_days(dt.date(2024, 11, 1), dt.date(2024, 12, 31)))
    ratios, returns = values(client, "volume_ratio", market.symbol), values(client, "daily_return", market.symbol)
    assert ratios == pytest.approx(dict.fromkeys(days[5:], 1.0))
    assert returns == pytest.approx({day: 1 / (10.0 + number) for number, day in enumerate(days[1:], 1)})
    assert checks.factors_recomputed(Question.of(client, units)).count == 0
    assert status.behind(client, months, moment).factors == []


def test_parts_of_a_currency_are_kept_as_written_and_their_sums_are_exact(client: Client, tmp_path: Path) -> None:
    """Of at most 15 digits; a sum of doubles gives 0.30000000000000004. Half a share is of another unit."""
    texts = ["0.1", "0.2", "1e-8", "123456.12345678", "0.000000000001", "900719925.474099", "0.7", "", "3", "0"]
    written = {
        f"2025-{day} {minute // 60:02}:{minute % 60:02}": texts[(minute + int(day[3:])) % len(texts)]
        for day in ("02-27", "02-28", "03-01")
        for minute in range(150)
    }
    lines = ["symbol,ts,open,high,low,close,volume", *(f"BTC-USD,{at},1,1,1,1,{text}" for at, text in written.items())]
    lines += [f"{symbol},2025-02-28 10:00,1,1,1,1,0.5" for symbol in ("7203.T", "0700.HK", "AAPL.US", "600000.SH")]
    (tmp_path / "coins.csv").write_text("\n".join(lines))
    files, now = Files(tmp_path, files_config()), dt.datetime(2025, 4, 1, tzinfo=dt.UTC)
    units = sorted(file_ledger.changed_by_table(client, files, now)["tick_data"])
    load(client, [files], units, run_id="run", now=now)
    assert landed(client, "BTC-USD")["volume"].to_list() == [float(text) if text else None for text in written.values()]
    [entry] = file_ledger.entries(client, files)
    assert (entry.loaded, entry.rejected, entry.balanced) == (len(written), 4, True)
    assert checks.ledger_agrees(Question.of(client, units)).count == 0
    for freq, length in (("1m", 16), ("5m", 16), ("1d", 10), ("1mo", 7)):
        sums: dict[str, Decimal] = {}
        for at, text in written.items():
            minute = int(at[14:16]) // 5 * 5
            key = f"{at[:14]}{minute:02}" if freq == "5m" else at[:length]
            sums[key] = sums.get(key, Decimal()) + Decimal(text or 0)
        asked: dict[str, Any] = {"freq": freq, "label": "start", "adjust": "none", "source": "ticks"}
        found = read.bars("BTC-USD", **asked, connection=client)["volume"]
        assert found.fill_null(0).to_list() == [float(one) for one in sums.values()], freq


A_DAY = dt.timedelta(days=1)


def night_after(moment: dt.datetime) -> dt.datetime:
    """When the nightly repair begins next, as docs/ticks.md says: at 02:30 in Shanghai, every day."""
    local = moment.astimezone(ZoneInfo("Asia/Shanghai"))
    begins = dt.datetime.combine(local.date(), dt.time(2, 30), local.tzinfo)
    return begins if begins >= local else begins + A_DAY


def test_every_day_of_two_years_is_due_in_the_night_within_a_day_after_its_close() -> None:
    """After the usual close: a half day counts as closed then."""
    assert dt.timedelta(hours=2, minutes=30) == nightly.BEGINS
    for market in MARKETS:
        days, (hours, minutes) = list(market.open_days()), market.spans[-1][1].split(":")
        until = dt.timedelta(hours=int(hours), minutes=int(minutes))
        assert len(days) > 480
        for day in days:
            close = dt.datetime.combine(day, dt.time(), ZoneInfo(market.timezone)) + until
            night = night_after(close)
            assert night.astimezone(dt.UTC) - close.astimezone(dt.UTC) <= A_DAY, (market.symbol, day)
            here = Moment(night, ashares().trading_days).of(market.symbol)
            assert (here.closed, here.closed_days(Days(day, day + A_DAY))) == (day, [day]), (market.symbol, day)


def test_a_month_is_due_once_its_first_day_has_closed_at_the_exchange(client: Client, tmp_path: Path) -> None:
    """Whatever the clock of Shanghai shows, and on days on which it is closed, as in the first week of October."""
    (tmp_path / "symbols.csv").write_text("\n".join(one.symbol for one in MARKETS))
    first, month = dt.date(2025, 10, 1), "2025-10"
    registry.refresh(client, None, tmp_path / "symbols.csv", None, now=at_night(first))
    for market in MARKETS:
        close = market.starts(next(market.open_days(first)))[-1] + dt.timedelta(minutes=1)
        for moment, is_due in ((close - dt.timedelta(minutes=1), False), (night_after(close), True)):
            due = status.behind(client, [month], moment).load
            assert (Unit(market.symbol, month) in due) is is_due, (market.symbol, moment)


def at_night(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(23), dt.UTC)
