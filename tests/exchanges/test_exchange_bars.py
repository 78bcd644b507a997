"""Bars of trades in ClickHouse against bars computed trade by trade, and what becomes of a day that is made again."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client
from msgspec.structs import replace

from marketdata_assets.exchanges.records import Gap, Trade
from marketdata_assets.exchanges.tables import ohlcv
from marketdata_assets.exchanges.tables.ohlcv import DayReport
from marketdata_assets.stores import clickhouse
from marketdata_demo.venues.market import VENUES, Plan
from tests.exchanges.landed_market import PlainBar, land, plain_bars, records, standing_bars

NOW = dt.datetime(2026, 1, 9, tzinfo=dt.UTC)
DAY = dt.date(2026, 1, 5)
PLAN = Plan(dt.datetime(2026, 1, 5, 23, 56, tzinfo=dt.UTC), minutes=8)
NS = 1_000_000_000
NOON = int(dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC).timestamp()) * NS


def compute(client: Client, day: dt.date = DAY, **options: Any) -> DayReport:
    return ohlcv.compute(client, day, run_id="test", now=NOW, **options)


def trade(number: object, seconds: float = 0.0, price: str = "10", size: str | None = "1", **more: Any) -> Trade:
    moment = NOON + int(seconds * NS)
    fields: dict[str, Any] = {"side": "buy", "contracts": None, "exchange": "binance", "market_type": "spot"} | more
    about = (fields.pop("exchange"), fields.pop("market_type"), "ABC-USDT", fields.pop("instrument", "ABCUSDT"))
    return Trade(*about, moment, moment + 5, str(number), price, size, **fields)


def gap(stream: str, first: float, last: float, healed: float | None = None) -> Gap:
    about = ("binance", "spot", "ABC-USDT", "ABCUSDT", stream, None, None)
    times = NOON + int(first * NS), NOON + int(last * NS)
    return Gap(*about, *times, "reopened", None if healed is None else NOON + int(healed * NS))  # type: ignore[arg-type]


def only_bar(client: Client) -> PlainBar:
    [bar] = standing_bars(client).values()
    return bar


def test_bars_of_all_venues_are_those_of_their_trades_on_both_sides_of_midnight(client: Client) -> None:
    made = list(records(PLAN))
    land(client, made)
    first, second = compute(client), compute(client, DAY + dt.timedelta(days=1))
    expected = plain_bars(one for one in made if isinstance(one, Trade))
    assert {about: _without_volume(bar) for about, bar in standing_bars(client).items()} == {
        about: _without_volume(bar) for about, bar in expected.items()
    }
    assert len(expected) > PLAN.minutes
    before_midnight = sum(minute < NOON + 43_200 * NS for _, _, minute in expected)
    assert (first.bars, second.bars) == (before_midnight, len(expected) - before_midnight)
    assert 0 < first.bars < len(expected)
    assert first.trades + second.trades == sum(isinstance(one, Trade) for one in made)
    assert (first.outcome, first.instruments, first.uncertain, first.kept) == ("ok", 2 * len(VENUES), 0, False)
    # the feeds here have no list of instruments but what the captures hold, which is all that they need
    sizes = {about: (bar.volume, bar.bought) for about, bar in standing_bars(client).items()}
    assert sizes == {about: (bar.volume, bar.bought) for about, bar in expected.items()}


def _without_volume(bar: PlainBar) -> tuple[Any, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.trades


def test_same_moment_goes_by_number_or_receipt_and_not_by_text(client: Client) -> None:
    plain = [trade(number, price=price) for number, price in ((9, "3"), (10, "1"), (11, "2"), (8, "4"))]
    about = {"exchange": "deribit", "market_type": "inverse", "instrument": "NAMED"}
    named = [trade("ABC-9", price="3", **about), trade("ABC-10", price="1", **about)]
    about = {"exchange": "hyperliquid", "market_type": "linear", "instrument": "NO ORDER"}
    made = [trade(number, price=price, **about) for number, price in ((9, "3"), (11, "2"), (8, "4"))]
    land(client, [*plain, *named, *(replace(one, ts_recv=one.ts_recv + place) for place, one in enumerate(made))])
    compute(client)
    found = {name: [bar.open, bar.close] for (_, name, _), bar in standing_bars(client).items()}
    assert found == {"ABCUSDT": [4, 2], "NAMED": [3, 1], "NO ORDER": [3, 4]}


def test_trade_that_came_twice_counts_once(client: Client) -> None:
    land(client, [trade(1), trade(2, 1)])
    land(client, [trade(2, 1), trade(3, 2)])
    assert compute(client).trades == 3
    assert only_bar(client).volume == Decimal(3)


def test_unknown_size_of_one_trade_makes_the_volume_unknown_and_not_smaller(client: Client) -> None:
    land(client, [trade(1, contracts="5"), trade(2, 1, size=None, contracts="7"), trade(3, 61, contracts="1")])
    compute(client)
    sql = "SELECT volume, quote_volume, taker_buy_volume, contracts FROM exchange_ohlcv_1m ORDER BY time"
    assert clickhouse.read(client, sql).rows() == [
        (None, None, None, Decimal(12)),
        (Decimal(1), Decimal(10), Decimal(1), Decimal(1)),
    ]


def test_aggregate_counts_its_trades_and_single_ones_in_it_do_not_count_again(client: Client) -> None:
    together = trade(500, 1, size="6", first_id="2", last_id="4")
    sold = trade(1, side="sell", instrument="NOBODY BOUGHT")
    land(client, [trade(1), trade(2, 1, size="1"), trade(3, 1, size="2"), trade(5, 2, size="9"), together, sold])
    compute(client)
    bars = {name: bar for (_, name, _), bar in standing_bars(client).items()}
    assert (bars["ABCUSDT"].trades, bars["ABCUSDT"].volume) == (5, Decimal(16))
    assert bars["NOBODY BOUGHT"].bought == Decimal(0)


def test_single_trades_of_an_aggregate_of_the_day_before_do_not_count_again(client: Client) -> None:
    midnight = 43_200
    whole = trade(9, midnight - 0.02, size="3", first_id="100", last_id="102")
    singles = [trade(100 + at, midnight + offset) for at, offset in enumerate((-0.02, -0.005, 0.01))]
    land(client, [whole, *singles, trade(103, midnight + 60)])
    compute(client), compute(client, DAY + dt.timedelta(days=1))
    assert sorted((bar.volume, bar.trades) for bar in standing_bars(client).values()) == [(1, 1), (3, 3)]


def test_day_made_again_is_the_same_and_follows_new_trades(client: Client) -> None:
    land(client, [trade(1), trade(2, 1)])
    compute(client)
    before = standing_bars(client)
    assert compute(client).bars == 1
    assert standing_bars(client) == before
    land(client, [trade(3, 2, price="12")])
    compute(client)
    assert only_bar(client).close == Decimal(12)


def test_other_days_are_left_alone(client: Client) -> None:
    land(client, [trade(1), trade(2, 86_400)])
    assert compute(client).bars == 1
    assert compute(client, DAY + dt.timedelta(days=1)).bars == 1
    assert compute(client).bars == 1
    assert len(standing_bars(client)) == 2


def test_only_open_gaps_of_trades_make_minutes_uncertain(client: Client) -> None:
    land(client, [trade(number, 60 * number) for number in range(6)])
    land(client, [gap("trade", 130, 170), gap("depth", 10, 20), gap("trade", 245, 250, healed=300)])
    assert compute(client).uncertain == 1
    sql = "SELECT toInt64(open_gaps) FROM exchange_ohlcv_1m ORDER BY time"
    found = [row[0] for row in clickhouse.read(client, sql).rows()]
    assert found == [0, 0, 1, 0, 0, 0]
    land(client, [gap("trade", -200_000, 200_000)])  # it touches every minute of a day within
    assert compute(client).uncertain == 6


def test_bars_outlive_trades_that_were_taken_away(client: Client) -> None:
    report = compute(client)
    assert (report.outcome, report.bars, report.kept) == ("empty", 0, False)
    land(client, [trade(1)])
    compute(client)
    client.command("ALTER TABLE exchange_trades DROP PARTITION '2026-01-05'")
    report = compute(client)
    assert (report.kept, report.bars, report.outcome) == (True, 1, "ok")
    assert len(standing_bars(client)) == 1
    assert ohlcv.states(client, [DAY]) == {DAY: "ok"}


def test_bars_of_a_day_whose_trades_are_going_are_left_alone(client: Client) -> None:
    land(client, [trade(1), trade(2, 1, price="12")])
    assert not compute(client, keep_days=4).kept  # there is nothing to keep yet
    client.command("DELETE FROM exchange_trades WHERE trade_id = '2'")
    assert compute(client, keep_days=4).kept
    assert only_bar(client).close == Decimal(12)
    assert not compute(client, keep_days=5).kept
    assert only_bar(client).close == Decimal(10)


STATES: list[tuple[Callable[[Client], None], ohlcv.State]] = [
    (lambda client: land(client, [trade(2, 5)]), "stale"),
    (lambda client: land(client, [gap("trade", 1, 2)]), "stale"),
    (lambda client: land(client, [gap("depth", 1, 2)]), "ok"),
    (lambda client: land(client, [trade(2, 86_400)]), "ok"),
    (lambda client: client.command("OPTIMIZE TABLE exchange_trades FINAL"), "ok"),
]


def test_state_of_a_day_follows_what_was_written(client: Client) -> None:
    assert ohlcv.states(client, [DAY]) == {}
    land(client, [trade(1)])
    assert ohlcv.states(client, [DAY]) == {DAY: "missing"}
    for happened, state in STATES:
        compute(client)
        assert ohlcv.states(client, [DAY]) == {DAY: "ok"}
        happened(client)
        assert ohlcv.states(client, [DAY])[DAY] == state
    assert ohlcv.days_with_trades(client)[0] == DAY
