"""What becomes of the time in which nobody listened, and of jumps in the numbers of trades."""

import pytest

from marketdata_assets.collector.connections.gap_tracker import MAX_STRAYS, NS, GapTracker
from marketdata_assets.collector.connections.venue_adapter import Subscription, interval_ns
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import Gap, Trade

ABC = Instrument("binance", "spot", "ABC", "A-BC", "A", "BC", "base")
MINUTE = 60 * NS
TRADES = Subscription("abc@trade", "", "ABC", "trade", ("trade",), None)


def _tracker(*, numbered: bool = True) -> GapTracker:
    return GapTracker("trade", numbered, Instruments("binance", {"ABC": ABC}).__getitem__, 5.0)


def _trade(number: int | str, at: int) -> Trade:
    return Trade("binance", "spot", "A-BC", "ABC", at * NS, at * NS, str(number), "1", "1", None, "buy")


def _take(tracker: GapTracker, number: int | str, at: int) -> Gap | bool:
    return tracker.trade(_trade(number, at))


def test_consecutive_ids_are_no_gap_and_a_jump_is_one() -> None:
    tracker = _tracker()
    assert [_take(tracker, number, number) for number in (7, 8, 9)] == [True, True, True]
    gap = _take(tracker, 12, 20)
    assert isinstance(gap, Gap)
    assert (gap.stream, gap.cause, gap.last_id, gap.next_id) == ("trade", "sequence", 9, 12)
    assert (gap.ts_from, gap.ts_to, gap.healed_at) == (9 * NS, 20 * NS, None)
    assert _take(tracker, 13, 21) is True


def test_the_same_id_is_a_duplicate_and_an_older_one_is_not() -> None:
    tracker = _tracker()
    assert [_take(tracker, number, 1) for number in (7, 7, 6, 8)] == [True, False, True, True]


def test_a_venue_that_restarts_its_numbering_is_followed() -> None:
    tracker = _tracker()
    _take(tracker, 1_000_000, 1)
    assert all(_take(tracker, number, 2) is True for number in range(1, MAX_STRAYS + 10))
    assert isinstance(_take(tracker, MAX_STRAYS + 20, 3), Gap)


def test_the_first_trade_after_a_gap_ends_it() -> None:
    tracker = _tracker()
    _take(tracker, 7, 1)
    tracker.begin(TRADES, "trade", ABC, "reopened", 2 * NS)
    assert tracker.watermark() == 2 * NS
    tracker.confirmed("abc@trade", 4 * NS)
    gap = _take(tracker, 11, 5)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.last_id, gap.next_id, gap.ts_from, gap.ts_to) == ("reopened", 7, 11, 2 * NS, 5 * NS)
    assert tracker.watermark() is None
    assert _take(tracker, 12, 6) is True


@pytest.mark.parametrize("numbered", [True, False])
def test_only_ids_prove_that_nothing_is_missing(numbered: bool) -> None:
    tracker = _tracker(numbered=numbered)
    _take(tracker, 7, 1)
    tracker.begin(TRADES, "trade", ABC, "reopened", 2 * NS)
    assert isinstance(_take(tracker, 8, 5), Gap) is not numbered


def test_a_stream_that_stays_silent_has_its_gap_up_to_the_confirmation() -> None:
    tracker = _tracker(numbered=False)
    _take(tracker, "X-7", 1)
    tracker.begin(TRADES, "trade", ABC, "reopened", 2 * NS)
    assert tracker.overdue(100 * NS) == []  # nobody listens yet
    tracker.confirmed("other", 100 * NS)
    tracker.confirmed("abc@trade", 101 * NS)
    assert tracker.overdue(105 * NS) == []
    (gap,) = tracker.overdue(106 * NS)
    assert (gap.last_id, gap.next_id, gap.ts_from, gap.ts_to) == (None, None, 2 * NS, 101 * NS)
    assert tracker.overdue(200 * NS) == []
    assert _take(tracker, "X-9", 201) is True


def test_a_gap_that_ids_disprove_is_healed() -> None:
    tracker = _tracker()
    _take(tracker, 7, 1)
    tracker.begin(TRADES, "trade", ABC, "reopened", 2 * NS)
    tracker.confirmed("abc@trade", 3 * NS)
    (gap,) = tracker.overdue(9 * NS)
    assert tracker.watermark() is None
    healed = _take(tracker, 8, 20)
    assert isinstance(healed, Gap)
    assert healed.healed_at == 20 * NS
    assert (healed.ts_from, healed.ts_to) == (gap.ts_from, gap.ts_to)


def test_a_second_loss_extends_the_gap() -> None:
    tracker = _tracker(numbered=False)
    tracker.begin(TRADES, "trade", ABC, "reopened", 2 * NS)
    tracker.confirmed("abc@trade", 3 * NS)
    tracker.begin(TRADES, "trade", ABC, "reopened", 4 * NS)
    assert tracker.overdue(50 * NS) == []
    tracker.confirmed("abc@trade", 51 * NS)
    (gap,) = tracker.overdue(60 * NS)
    assert (gap.ts_from, gap.ts_to) == (2 * NS, 51 * NS)


@pytest.mark.parametrize(
    ("since", "until", "missing"),
    [
        (10 * NS, 50 * NS, False),  # within one candle, whose end is gap later
        (10 * NS, 61 * NS, True),
        (62 * NS, 100 * NS, True),  # the end of the candle before may be gap so late
        (66 * NS, 119 * NS, False),
    ],
)
def test_candles_have_a_gap_where_one_may_have_closed(since: int, until: int, missing: bool) -> None:
    tracker = _tracker()
    candles = Subscription("abc@kline_1m", "", "ABC", "kline_1m", ("kline",), None, MINUTE)
    tracker.begin(candles, "kline", ABC, "reopened", since)
    tracker.confirmed("abc@kline_1m", until)
    assert [one.stream for one in tracker.overdue(until + 9 * NS)] == (["kline_1m"] if missing else [])
    assert tracker.watermark() is None


def test_an_unreadable_message_is_a_gap_from_the_last_trade() -> None:
    tracker = _tracker(numbered=False)
    _take(tracker, "7", 3)
    gap = tracker.unreadable(ABC, 9 * NS)
    assert gap
    assert (gap.cause, gap.last_id, gap.ts_from, gap.ts_to) == ("unreadable", 7, 3 * NS, 9 * NS)
    assert _tracker().unreadable(ABC, 9 * NS) is None  # the next number will tell


def test_a_forgotten_instrument_starts_without_history() -> None:
    tracker = _tracker()
    _take(tracker, 7, 1)
    tracker.begin(TRADES, "trade", ABC, "reopened", 2 * NS)
    tracker.forget("ABC")
    assert tracker.watermark() is None
    assert _take(tracker, 99, 9) is True


@pytest.mark.parametrize(("interval", "seconds"), [("1m", 60), ("15m", 900), ("4h", 14_400), ("1d", 86_400)])
def test_candle_intervals_in_ns(interval: str, seconds: int) -> None:
    assert interval_ns(interval) == seconds * NS
