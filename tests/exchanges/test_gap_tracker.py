"""What becomes of the time in which nobody listened, and of jumps in the numbers of trades."""

import pytest

from marketdata_assets.exchanges.gap_tracker import MAX_STRAYS, NS, GapTracker
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import Gap, Trade
from marketdata_assets.exchanges.venue_adapter import Subscription, interval_ns

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


def _repeating() -> GapTracker:
    """After trades 7, 8 and 9, a second each, a gap of a venue that repeats the last trades."""
    tracker = GapTracker("trade", False, Instruments("binance", {"ABC": ABC}).__getitem__, 5.0, repeats=True)
    for number in (7, 8, 9):
        _take(tracker, f"x{number}", number)
    tracker.begin(TRADES, ABC, "reopened", 9 * NS)
    tracker.confirmed("abc@trade", 20 * NS)
    return tracker


def test_trades_that_a_new_subscription_repeats_leave_no_gap() -> None:
    tracker = _repeating()
    assert [_take(tracker, f"x{number}", number) for number in (8, 9, 10, 11)] == [False, False, True, True]
    assert tracker.watermark() is None
    assert tracker.overdue(60 * NS) == []


def test_a_new_subscription_that_repeats_all_and_nothing_more_leaves_no_gap() -> None:
    tracker = _repeating()
    assert not any(_take(tracker, f"x{number}", number) for number in (7, 8, 9))
    assert tracker.overdue(60 * NS) == []
    assert tracker.watermark() is None


@pytest.mark.parametrize("at", [9, 10])
def test_trades_that_do_not_reach_back_to_the_last_one_are_a_gap(at: int) -> None:
    """Also where the first one is of the same moment as the last one, and another."""
    gap = _take(_repeating(), "x10", at)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.ts_from, gap.ts_to) == ("reopened", 9 * NS, at * NS)


def test_a_trade_that_was_lost_before_the_last_one_is_taken_when_it_is_repeated() -> None:
    tracker = _repeating()
    assert [_take(tracker, name, at) for name, at in (("lost", 8), ("x9", 9), ("x10", 10))] == [True, False, True]


def test_a_restarted_subscription_that_repeats_the_last_trade_has_missed_none() -> None:
    tracker = _repeating()
    assert not tracker.is_continued(TRADES, 9 * NS)
    assert _take(tracker, "x9", 9) is False  # which came at 9 s too
    assert not tracker.is_continued(TRADES, 9 * NS)
    assert tracker.is_continued(TRADES, 8 * NS)


def test_what_was_repeated_before_a_second_interruption_does_not_count() -> None:
    tracker = _repeating()
    assert _take(tracker, "x9", 9) is False
    tracker.begin(TRADES, ABC, "reopened", 21 * NS)
    tracker.confirmed("abc@trade", 22 * NS)
    assert isinstance(_take(tracker, "x12", 12), Gap)


def test_the_first_trade_after_a_gap_ends_it() -> None:
    tracker = _tracker()
    _take(tracker, 7, 1)
    tracker.begin(TRADES, ABC, "reopened", 2 * NS)
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
    tracker.begin(TRADES, ABC, "reopened", 2 * NS)
    assert isinstance(_take(tracker, 8, 5), Gap) is not numbered


def test_a_stream_that_stays_silent_has_its_gap_up_to_the_confirmation() -> None:
    tracker = _tracker(numbered=False)
    _take(tracker, "X-7", 1)
    tracker.begin(TRADES, ABC, "reopened", 2 * NS)
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
    tracker.begin(TRADES, ABC, "reopened", 2 * NS)
    tracker.confirmed("abc@trade", 3 * NS)
    (gap,) = tracker.overdue(9 * NS)
    assert tracker.watermark() is None
    healed = _take(tracker, 8, 20)
    assert isinstance(healed, Gap)
    assert healed.healed_at == 20 * NS
    assert (healed.ts_from, healed.ts_to) == (gap.ts_from, gap.ts_to)


def test_a_second_loss_extends_the_gap() -> None:
    tracker = _tracker(numbered=False)
    tracker.begin(TRADES, ABC, "reopened", 2 * NS)
    tracker.confirmed("abc@trade", 3 * NS)
    tracker.begin(TRADES, ABC, "reopened", 4 * NS)
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
    tracker.begin(candles, ABC, "reopened", since)
    tracker.confirmed("abc@kline_1m", until)
    assert [one.stream for one in tracker.overdue(until + 9 * NS)] == (["kline_1m"] if missing else [])
    assert tracker.watermark() is None


def test_an_unreadable_message_is_a_gap_from_the_last_trade() -> None:
    tracker = _tracker(numbered=False)
    _take(tracker, "7", 3)
    gap = tracker.unreadable(ABC, 9 * NS)
    assert gap
    assert (gap.cause, gap.last_id, gap.ts_from, gap.ts_to) == ("unreadable", 7, 3 * NS, 9 * NS)


def test_after_an_unreadable_message_the_next_number_shows_what_is_missing() -> None:
    tracker = _tracker()
    gap = tracker.unreadable(ABC, 9 * NS)
    assert gap
    assert (gap.cause, gap.last_id, gap.ts_to) == ("unreadable", None, 9 * NS), "nothing to continue from"
    _take(tracker, 7, 10)
    assert tracker.unreadable(ABC, 11 * NS) is None


def test_a_forgotten_instrument_starts_without_history() -> None:
    tracker = _tracker()
    _take(tracker, 7, 1)
    tracker.begin(TRADES, ABC, "reopened", 2 * NS)
    [gap] = tracker.forget("ABC", 5 * NS)
    assert (gap.cause, gap.ts_from, gap.ts_to) == ("reopened", 2 * NS, 5 * NS)
    assert tracker.watermark() is None
    assert _take(tracker, 99, 9) is True


@pytest.mark.parametrize(("interval", "seconds"), [("1m", 60), ("15m", 900), ("4h", 14_400), ("1d", 86_400)])
def test_candle_intervals_in_ns(interval: str, seconds: int) -> None:
    assert interval_ns(interval) == seconds * NS


def _numbered(first: int, last: int, at: int) -> Trade:
    """A trade of a venue that aggregates `first` to `last`, with the id of the last."""
    ids = (None, None) if first == last else (str(first), str(last))
    return Trade("okx", "spot", "A-BC", "ABC", at * NS, at * NS, str(last), "1", "1", None, "buy", *ids, last)


def test_aggregates_under_the_number_of_their_last_trade_are_no_gap_and_a_jump_is_one() -> None:
    tracker = _tracker()
    assert [tracker.trade(_numbered(*one)) for one in ((7, 7, 1), (8, 11, 2), (12, 12, 3))] == [True, True, True]
    gap = tracker.trade(_numbered(15, 17, 4))
    assert isinstance(gap, Gap)
    assert (gap.last_id, gap.next_id) == (12, 15)
    assert tracker.trade(_numbered(15, 17, 5)) is False
