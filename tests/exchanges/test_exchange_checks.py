"""Every check of the exchange tables passes on a market that landed whole, and objects when something is not right."""

import datetime as dt
from collections.abc import Callable

import pytest
from clickhouse_connect.driver.client import Client
from msgspec.structs import replace

from marketdata_assets.exchanges.records import Gap, Kline, OrderBook, Record, Trade
from marketdata_assets.exchanges.tables import checks, ohlcv
from marketdata_assets.exchanges.tables.checks import Question
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_demo.venues.market import Plan
from tests.exchanges.landed_market import land, records

START = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
DAY = START.date()
PLAN, LOSING = Plan(START, minutes=6), Plan(START, minutes=6, lost_trades=3)
CHECKS: dict[str, Callable[[Question], Finding]] = {
    "nothing_refused": lambda question: checks.nothing_refused(question, "trade"),
    "one_row_a_trade": checks.one_row_a_trade,
    "holes_on_record": checks.holes_on_record,
    "changes_follow": checks.changes_follow,
    "bars_equal_klines": checks.bars_equal_klines,
    "price_order": checks.price_order,
    "bars_recomputed": checks.bars_recomputed,
    "none_open": checks.none_open,
}
Market = list[Record | Gap]


def landed(client: Client, market: Market, *, computed: bool = True) -> Question:
    land(client, market)
    clickhouse_ledger.ensure(client)
    if computed:
        ohlcv.compute(client, DAY, run_id="test", now=START)
    return Question(client, (DAY,))


@pytest.fixture(scope="module")
def whole() -> Market:
    return list(records(PLAN))


def middle(market: Market, record: type, **about: object) -> int:
    """The position of the middle record of a type."""
    found = [
        place
        for place, one in enumerate(market)
        if isinstance(one, record) and all(getattr(one, name) == value for name, value in about.items())
    ]
    return found[len(found) // 2]


def test_all_pass_on_a_market_that_landed_whole_and_of_many_rows_on_a_part_of_the_day(
    client: Client, whole: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = landed(client, whole)
    found = {name: ask(question) for name, ask in CHECKS.items()}
    assert {name: one.examples for name, one in found.items() if not one.passed} == {}
    assert all(one.checked for one in found.values())
    assert found["bars_equal_klines"].checked > 6 * 3
    assert checks.newest(client) == question
    books, bars = found["changes_follow"], found["bars_recomputed"]
    monkeypatch.setattr(checks, "SAMPLE_ROWS", 10)  # every instrument has more
    some_books, some_bars = checks.changes_follow(question), checks.bars_recomputed(question)
    assert (some_books.count, some_bars.count) == (0, 0)
    assert 0 < some_books.checked < books.checked
    assert 0 < some_bars.checked < bars.checked
    assert (some_books.facts, some_bars.facts) == (books.facts, bars.facts)


def test_all_pass_on_nothing(client: Client) -> None:
    question = landed(client, [], computed=False)
    assert checks.newest(client).days == ()
    for days in ((DAY,), ()):
        assert all(ask(Question(question.client, days)).passed for ask in CHECKS.values())


def test_lost_trades_show_in_the_numbers_and_in_the_candles_until_an_open_gap_is_there(client: Client) -> None:
    question = landed(client, list(records(LOSING)))
    found = {name: ask(question) for name, ask in CHECKS.items()}
    assert {name for name, one in found.items() if not one.passed} == {"holes_on_record", "bars_equal_klines"}
    assert found["holes_on_record"].facts["trades_missing"] == 3
    assert "SMPLUSDT" in found["holes_on_record"].examples[0]["hole"]
    [wrong] = found["bars_equal_klines"].examples
    assert (wrong["instrument"], wrong["minute"]) == ("SMPLUSDT", "2026-01-05 12:04:00")
    assert "volume" in wrong["differs"]
    assert "trades" in wrong["differs"]
    at = int((START + dt.timedelta(minutes=4, seconds=30)).timestamp()) * 10**9
    gap = Gap("binance", "linear", "SMPL-USDT", "SMPLUSDT", "aggTrade", None, None, at, at + 10**9, "reopened")
    before, after = found["bars_equal_klines"], checks.bars_equal_klines(landed(client, [gap]))
    assert after.passed
    assert (after.checked, after.left_out) == (before.checked - 1, before.left_out + 1)
    assert not checks.none_open(question).passed


def test_what_is_lost_or_told_twice_is_found_by_its_own_check(client: Client, whole: Market) -> None:
    """A trade of each venue that numbers trades, a change of a book, and a trade that is there at two times."""
    trades = [middle(whole, Trade, exchange=one) for one in ("okx", "deribit")]
    place = middle(whole, OrderBook, exchange="okx", kind="delta")
    lost, book, twice = [whole[one] for one in trades], whole[place], whole[middle(whole, Trade, exchange="binance")]
    assert isinstance(book, OrderBook)
    assert isinstance(twice, Trade)
    market = [one for number, one in enumerate(whole) if number not in (*trades, place)]
    again = replace(twice, ts_event=(twice.ts_event or 0) + 1, price="1", size="1", contracts=None, side="buy")
    question = landed(client, [*market, again], computed=False)
    holes = checks.holes_on_record(question)
    spans = [(one.instrument, int(one.first_id or one.sequence or 0), int(one.sequence or 0)) for one in lost]  # type: ignore[union-attr]
    assert (holes.count, holes.facts["trades_missing"]) == (2, sum(last - first + 1 for _, first, last in spans))
    for instrument, *_ in spans:
        assert any(f"{instrument} trades: numbers" in one["hole"] for one in holes.examples)
    [hole] = checks.changes_follow(question).examples
    assert (hole["instrument"], hole["last_id"], hole["next_id"]) == (book.instrument, book.prev_id, book.last_id)
    later = replace(twice, ts_event=(twice.ts_event or 0) + 86_400 * 10**9)
    before = ohlcv.newest_parts(landed(client, [later], computed=False).client)
    assert checks.one_row_a_trade(checks.newest(client)).passed
    assert checks.written_since(client, before) == checks.newest(client)
    assert checks.written_since(client, {day: part for day, part in before.items() if day != DAY}) == question
    found = checks.one_row_a_trade(question)
    assert (found.count, found.examples[0]["instrument"]) == (1, twice.instrument)


def test_minute_without_a_bar_is_missed_unless_a_gap_is_open_there(client: Client, whole: Market) -> None:
    at = int((START + dt.timedelta(minutes=3)).timestamp()) * 10**9
    minute = range(at, at + 60 * 10**9)
    lost = [one for one in whole if isinstance(one, Trade) and one.exchange == "okx" and one.ts_event in minute]
    question = landed(client, [one for one in whole if one not in lost])
    found = checks.bars_equal_klines(question)
    assert {one["differs"] for one in found.examples} == {"no bar"}
    for name in {one.instrument for one in lost}:
        gap = Gap("okx", "linear", name, name, "trades", None, None, at, at + 59 * 10**9, "reopened")
        land(client, [gap])
    assert checks.bars_equal_klines(question).passed


def recorded_by_two(name: str, missing: range, *, gap: bool = False) -> Market:
    """A book of an update a second, 10 ids each, as two recorders with clocks 2.5 s apart received it.

    The second one begins after 50 seconds, with a snapshot of 4 seconds before.
    """
    about = ("binance", "linear", name, name)
    start, level = int(START.timestamp()) * 10**9, (("1", "1"),)
    found: Market = [OrderBook(*about, start, start, "snapshot", level, level, "base", None, 0, None)]
    for number in range(10, 1000, 10):
        if number not in missing:
            made = start + number * 10**9 // 10
            received = made + (10**7 if number % 30 else -2_500_000_000)
            found.append(OrderBook(*about, made, received, "delta", level, (), "base", number - 9, number, number - 10))
    late = start + 50 * 10**9
    found.append(OrderBook(*about, None, late, "snapshot", level, level, "base", None, 460, None))
    if gap:
        last, following = missing[0] - 10, missing[-1] + 10
        span = start + last * 10**8, start + following * 10**8
        found.append(Gap(*about, "depth@100ms", last, following, *span, "sequence", span[1] + 10**9))
    return found


TWO_RECORDERS: list[tuple[range, bool, list[tuple[int, int]]]] = [  # missing, whether a gap says so, found
    (range(0), False, []),
    (range(300, 310, 10), False, [(290, 300)]),
    (range(300, 360, 10), False, [(290, 350)]),
    (range(300, 310, 10), True, []),
    (range(290, 300, 10), True, []),  # the other recorder, with the other clock, received the update after it
    (range(10, 20, 10), False, [(0, 10)]),  # after the first snapshot
    (range(10, 470, 10), False, []),  # the second recorder's snapshot begins another chain
    (range(440, 470, 10), False, []),  # that snapshot holds them
]


def test_two_recorders_of_one_book_make_no_hole_and_hide_none(client: Client) -> None:
    names = [f"ABC{number}" for number in range(len(TWO_RECORDERS))]
    books = zip(names, TWO_RECORDERS, strict=True)
    market = [one for name, (missing, gap, _) in books for one in recorded_by_two(name, missing, gap=gap)]
    examples = checks.changes_follow(landed(client, market, computed=False)).examples
    wanted = [(name, *hole) for name, (_, _, holes) in zip(names, TWO_RECORDERS, strict=True) for hole in holes]
    assert sorted((one["instrument"], one["last_id"], one["next_id"]) for one in examples) == wanted


@pytest.mark.slow
def test_a_lost_change_of_a_busy_book_is_found_in_some_part_of_the_day(
    client: Client, whole: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [one for one in whole if not (isinstance(one, OrderBook) and one.kind == "delta" and (one.last_id or 0) % 3)]
    monkeypatch.setattr(checks, "SAMPLE_ROWS", 20)
    assert checks.changes_follow(landed(client, kept, computed=False)).count > 0


def test_candle_that_says_something_else_is_found(client: Client, whole: Market) -> None:
    place = middle(whole, Kline, exchange="okx", closed=True)
    candle = whole[place]
    assert isinstance(candle, Kline)
    market = [*whole[:place], replace(candle, high="999999.9"), *whole[place + 1 :]]
    found = checks.bars_equal_klines(landed(client, market))
    assert [(one["instrument"], one["differs"]) for one in found.examples] == [(candle.instrument, "high")]


def test_refused_record_and_bar_that_was_changed_are_found(client: Client, whole: Market) -> None:
    question = landed(client, whole)
    trade = whole[middle(whole, Trade)]
    assert isinstance(trade, Trade)
    insert_records(client, [replace(trade, price="1." + "1" * 30)])
    found = checks.nothing_refused(question, "trade")
    assert (found.count, checks.nothing_refused(question, "kline").count) == (1, 0)
    one = "FROM exchange_ohlcv_1m WHERE exchange = 'binance' AND taker_buy_volume > 0 ORDER BY time LIMIT 1"
    client.command(f"CREATE TABLE one ENGINE = Memory AS SELECT * {one}")
    for column, value, name in (
        ("high", "low - 1", "price_order"),
        ("close", "close + 1", "bars_recomputed"),
        ("volume", "0", "price_order"),
    ):
        client.command("DELETE FROM exchange_ohlcv_1m WHERE exchange = 'binance' AND time = (SELECT time FROM one)")
        client.command(
            f"INSERT INTO exchange_ohlcv_1m SELECT * REPLACE (toDecimal128({value}, 18) AS {column}) FROM one"
        )
        assert not CHECKS[name](question).passed
