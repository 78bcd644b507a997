"""Exchanges: spellings of symbols, and two years of days and minutes against what the exchanges announced."""

import datetime as dt
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from marketdata_assets.errors import TerminalError
from marketdata_assets.reference import exchanges
from marketdata_assets.reference.calendar import calendar_of, last_closed
from marketdata_assets.reference.exchanges import canonical, exchange_of
from marketdata_assets.reference.records import Days
from tests.ticks.markets import FIRST, LAST, MARKETS, Exchange


@pytest.mark.parametrize("market", MARKETS, ids=lambda one: one.symbol)
def test_two_years_of_days_and_minutes_are_those_announced(market: Exchange) -> None:
    calendar = calendar_of(market.symbol)
    trading = calendar.trading_days(Days(FIRST, LAST))
    assert trading == list(market.open_days())
    for number, day in enumerate(trading):
        if number % 7 and market.sessions(day) == [*market.spans]:
            continue  # the minutes of each short day are compared, and those of one day in seven
        starts = market.starts(day)
        assert calendar.labels(day, "start") == starts
        assert calendar.labels(day, "end") == [time + dt.timedelta(minutes=1) for time in starts]


@pytest.mark.parametrize(
    ("written_as", "symbol"),
    [
        *(("sh600000", "600000.SH"), ("600000.XSHG", "600000.SH"), ("830799.BJ", "830799.BJ")),
        *(
            (one, "0700.HK")
            for one in ("0700.HK", "00700.HK", "700.HK", "hk00700", "HK.00700", "HKEX:700", "0700.xhkg")
        ),
        *(("80700.HK", "80700.HK"), ("1.HK", "0001.HK"), ("000700.HK", None), ("0.HK", None)),
        *((one, "AAPL.US") for one in ("AAPL", "aapl.us", "US.AAPL", "105.AAPL", "AAPL.O", "NASDAQ:AAPL", "AAPL.XNAS")),
        *((one, "BRK-B.US") for one in ("BRK-B", "BRK.B", "BRK/B", "BRK.B.US", "BRK-B.US", "NYSE:BRK.B")),
        *((one, "VOD.L") for one in ("VOD.L", "vod.ln", "VOD.XLON", "LON:VOD")),
        *((one, "7203.T") for one in ("7203.T", "7203.JP", "TYO:7203")),
        *(("130A.T", "130A.T"), ("72030.T", None), ("BT-A.L", "BT-A.L"), ("BT.A.L", "BT-A.L")),
        *((one, "BTC-USD") for one in ("BTC-USD", "btc/usd", "BTC_USD")),
        *(
            (one, None)
            for one in ("700", "0700", "7203", "600000", "", "AAPL.DE", "AAPL$.US", "BTCUSDT", "BTC-XYZ", "L.")
        ),
    ],
)
def test_spellings_of_a_symbol(written_as: str, symbol: str | None) -> None:
    assert canonical(written_as) == symbol
    if symbol:
        assert canonical(symbol) == symbol


@pytest.mark.parametrize(
    ("written_as", "words"),
    [
        ("7203", ("7203.HK", "7203.T")),
        ("700", ("0700.HK",)),
        ("600000", ("write 600000.SH",)),
        ("AAPL$.US", ("no code of United States", "AAPL.US")),
        ("000700.HK", ("no code of Hong Kong", "0700.HK")),
        ("#", ("600000.SH", "VOD.L", "BTC-USD")),
    ],
)
def test_advice_says_what_works(written_as: str, words: tuple[str, ...]) -> None:
    advice = exchanges.advice(written_as)
    assert all(word in advice for word in words), advice


@pytest.mark.parametrize("symbol", ["X.DE", "AAPL", "AAPL-US", "BTC.USD", ""])
def test_a_symbol_of_no_known_exchange_has_no_clock(symbol: str) -> None:
    """That of another exchange would be wrong; nothing that takes symbols takes these."""
    with pytest.raises(TerminalError, match=r"no exchange .* is known; there are symbols as 600000\.SH"):
        exchange_of(symbol)
    assert exchanges.misspelt(symbol)


@pytest.mark.parametrize(
    ("symbol", "now", "closed"),
    [
        ("AAPL.US", "2025-07-01T20:29:59", "2025-06-30"),
        ("AAPL.US", "2025-07-01T20:30:00", "2025-07-01"),
        ("AAPL.US", "2025-12-01T21:29:59", "2025-11-30"),
        ("0700.HK", "2025-07-02T08:30:00", "2025-07-02"),
        ("7203.T", "2025-07-02T06:59:59", "2025-07-01"),
        ("7203.T", "2025-07-02T07:00:00", "2025-07-02"),
        ("BTC-USD", "2025-07-02T00:29:59", "2025-06-30"),
        ("BTC-USD", "2025-07-02T00:30:00", "2025-07-01"),
        ("600000.SH", "2025-07-02T07:30:00", "2025-07-02"),
    ],
)
def test_a_day_closes_half_an_hour_after_the_session_on_the_clock_of_the_exchange(
    symbol: str, now: str, closed: str
) -> None:
    moment = dt.datetime.fromisoformat(now).replace(tzinfo=dt.UTC)
    assert last_closed(moment, exchange_of(symbol)) == dt.date.fromisoformat(closed)


def test_days_after_the_known_ones_are_weekdays_and_every_day_of_what_never_closes() -> None:
    days = Days(dt.date(2099, 1, 3), dt.date(2099, 1, 4))  # a weekend
    assert calendar_of("AAPL.US").trading_days(days) == []
    assert calendar_of("BTC-USD").trading_days(days) == list(days)


def test_the_library_is_asked_once_a_day(tmp_path: Path) -> None:
    program = """
import hashlib, sys
from marketdata_assets.reference import calendar
from marketdata_assets.reference.exchanges import EXCHANGES
found = repr([calendar.of_exchange(one) for one in EXCHANGES])
print('pandas' in sys.modules, hashlib.sha256(found.encode()).hexdigest())
"""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    run = partial(subprocess.check_output, [sys.executable, "-c", program], env=environment, text=True)
    asked, days = run().split()
    assert (asked, run().split()) == ("True", ["False", days])
    files = list((tmp_path / "marketdata").iterdir())
    assert len(files) == len(exchanges.EXCHANGES)
    for file in files:
        file.write_text("{")
    assert run().split() == ["True", days]
