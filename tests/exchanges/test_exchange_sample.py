"""The invented market: read by the feeds without an error, equal for equal plans, its candles those of its trades."""

import datetime as dt
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.records import Control, Exchange, Gap, Kline, Record, Trade
from marketdata_assets.exchanges.replay import feed_of, replay
from marketdata_demo.venues.captures import Written, voice, write
from marketdata_demo.venues.market import MINUTE_MS, NS, VENUES, Plan, markets

START = dt.datetime(2026, 1, 5, 23, 50, tzinfo=dt.UTC)
PLAN = Plan(START, minutes=12, lost_trades=3)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write(tmp_path_factory.mktemp("captures"), PLAN)


def records(written: Written, venue: Exchange) -> list[Record | Gap]:
    """What a venue's feed makes of its capture; fails on anything that it cannot read."""
    [path] = [path for path in written.files if path.name.startswith(venue)]
    feed = feed_of(venue, voice(venue).market_type, str(path))
    made = []
    for entry in open_capture(path).entries():
        if entry.kind == "open":
            made += feed.reopened(entry.ts_recv, entry.connection)
        elif entry.kind == "http":
            made += feed.answer(entry.url, entry.raw, entry.ts_recv)
        else:
            made += feed.push(entry.raw, entry.ts_recv, connection=entry.connection)
    assert all(isinstance(one, Record | Gap | Control) for one in made)
    return [one for one in made if isinstance(one, Record | Gap)]


@pytest.mark.parametrize("venue", VENUES)
def test_every_type_of_record_comes_of_a_venue(written: Written, venue: Exchange) -> None:
    made = [one for one in records(written, venue) if isinstance(one, Record)]
    [market_type] = {one.market_type for one in made}
    found = Counter(str(type(one).__struct_config__.tag) for one in made)
    assert {*found, "instrument_state"} == set(venues.find(venue).markets[market_type].data_types)
    assert found["trade"] == sum(n for (of, _), n in written.trades.items() if of == venue)
    assert found["liquidation"] == ("liquidation" in found)


@pytest.mark.parametrize("venue", VENUES)
def test_last_candle_of_a_minute_is_made_of_its_trades(written: Written, venue: Exchange) -> None:
    made = records(written, venue)
    candles = {(one.instrument, one.open_time): one for one in made if isinstance(one, Kline)}
    compared = 0
    for market in markets(PLAN, venue):
        name, lost = voice(venue).name(market), market.lost
        trades = [one for one in made if isinstance(one, Trade) and one.instrument == name]
        for at in range(PLAN.first, PLAN.end, MINUTE_MS):
            mine = [one for one in trades if at <= (one.ts_event or 0) // NS < at + MINUTE_MS]
            candle = candles.get((name, at * NS))
            if not mine or any(at <= fill.at < at + MINUTE_MS for fill in lost):
                continue
            prices = [Decimal(one.price) for one in mine]
            assert candle
            told = [Decimal(price) for price in (candle.open, candle.high, candle.low, candle.close)]
            assert told == [prices[0], max(prices), min(prices), prices[-1]]
            volume = sum((Decimal(one.size or 0) for one in mine), Decimal(0))
            assert abs(volume - Decimal(candle.volume or 0)) < Decimal("0.00000002")
            compared += 1
    assert compared > PLAN.minutes


def test_one_book_breaks_and_heals_and_the_others_do_not(written: Written) -> None:
    gaps = {venue: [one for one in records(written, venue) if isinstance(one, Gap)] for venue in VENUES}
    broken, healed = gaps.pop("binance")
    assert not any(gaps.values())
    assert (broken.instrument, broken.cause, broken.healed_at) == ("SMPLUSDT", "sequence", None)
    assert healed.healed_at is not None
    assert healed.ts_from <= PLAN.middle * NS <= healed.ts_to


def test_lost_trades_are_not_in_the_capture(written: Written) -> None:
    [market] = [one for one in markets(PLAN, "binance") if one.lost]
    assert len(market.lost) == 3
    ids = {one.last_id for one in records(written, "binance") if isinstance(one, Trade) and one.symbol == "SMPL-USDT"}
    assert ids == {str(fill.number) for fill in market.fills} - {str(fill.number) for fill in market.lost}


def test_equal_plans_give_equal_files_and_touch_none_that_stands(written: Written, tmp_path: Path) -> None:
    first, second = written, write(tmp_path, PLAN)
    assert [path.read_bytes() for path in first.files] == [path.read_bytes() for path in second.files]
    before = [path.stat().st_mtime_ns for path in second.files]
    write(tmp_path, PLAN)
    assert [path.stat().st_mtime_ns for path in second.files] == before
    assert len(list(tmp_path.iterdir())) == len(VENUES)
    other = write(tmp_path / "other", Plan(START, minutes=12, seed=8))
    assert [path.read_bytes() for path in other.files] != [path.read_bytes() for path in first.files]


def test_captures_replay_without_errors(written: Written) -> None:
    for path in written.files:
        told = replay([path]).as_dict()
        assert (told["errors"], len(told["books"])) == (0, 2)


@pytest.mark.parametrize(
    ("start", "minutes"), [(START.replace(second=1), 9), (START.replace(tzinfo=None), 9), (START, 3)]
)
def test_plan_that_is_no_market_is_refused(start: dt.datetime, minutes: int) -> None:
    with pytest.raises(ValueError, match="a market"):
        Plan(start, minutes=minutes)


def test_samples_and_descriptors_need_nothing_of_the_extra_live(tmp_path: Path) -> None:
    code = (
        "import sys, datetime as dt, pathlib;"
        "sys.modules.update(dict.fromkeys(['aiohttp', 'picows', 'python_socks', 'redis', 'prometheus_client']));"
        "from marketdata_demo.venues.captures import write;"
        "from marketdata_demo.venues.market import Plan;"
        "import marketdata_assets.exchanges.tables.history;"
        "print(len(write(pathlib.Path('.'), Plan(dt.datetime(2026, 1, 5, tzinfo=dt.UTC), minutes=4)).files))"
    )
    child = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (child.returncode, child.stdout) == (0, f"{len(VENUES)}\n"), child.stderr
