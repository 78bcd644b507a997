"""Order books against a naive one, and the states of a book."""

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.exchanges.books import Book, BookState, Verify
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.levels import NEAR, BadLevel
from marketdata_assets.exchanges.records import Gap, Level, OrderBook

SPOT = Instrument("binance", "spot", "BTCUSDT", "BTC-USDT", "BTC", "USDT", "base")
BIDS = (("10.0", "1"), ("9.5", "2"))
ASKS = (("10.5", "3"),)


class Naive:
    """A book that sorts everything whenever it is asked."""

    def __init__(self) -> None:
        self.sides: tuple[dict[Decimal, Level], dict[Decimal, Level]] = ({}, {})

    def apply(self, *sides: Sequence[Level]) -> None:
        for side, levels in zip(self.sides, sides, strict=True):
            for price, size in levels:
                side.pop(Decimal(price), None)
                if Decimal(size):
                    side[Decimal(price)] = price, size

    def levels(self) -> tuple[list[Level], list[Level]]:
        bids, asks = self.sides
        return [bids[price] for price in sorted(bids, reverse=True)], [asks[price] for price in sorted(asks)]

    @property
    def crossed(self) -> bool:
        return all(self.sides) and max(self.sides[0]) >= min(self.sides[1])

    def digest(self) -> str:
        sides = (";".join("@".join(map(shortest, level)) for level in side) for side in self.levels())
        return sha256("|".join(sides).encode()).hexdigest()


def shortest(text: str) -> str:
    number = format(Decimal(text), "f")
    return number.rstrip("0").rstrip(".") if "." in number else number


def spelled(number: Decimal, spelling: int) -> str:
    """One number in several ways."""
    plain = format(number, "f")
    return [plain, f"{plain}.0" if "." not in plain else f"{plain}00", f"{number:e}"][spelling]


prices = st.integers(1, 400).map(lambda ticks: Decimal(ticks) / 100)
near_prices = st.sampled_from(["0.1", "0.1000000000000000001", "0.0999999999999999999", "123456789.123456789"])
numbers = prices | near_prices.map(Decimal)
texts = st.builds(spelled, numbers, st.integers(0, 2))
sizes = st.sampled_from(["0", "0.0", "0.00000000", "0e3", "1", "2.50", "7e-9", "123456789012345678"])
sides = st.lists(st.tuples(texts, sizes), max_size=12).map(tuple)
updates = st.lists(st.tuples(sides, sides), max_size=12)


@given(updates, st.integers(0, 30))
def test_a_book_is_what_a_naive_one_is(changes: list[tuple[tuple[Level, ...], tuple[Level, ...]]], n: int) -> None:
    book, naive = Book(), Naive()
    for bids, asks in changes:
        book.apply(bids, asks)
        naive.apply(bids, asks)
        all_bids, all_asks = naive.levels()
        assert book.bbo() == (next(iter(all_bids), None), next(iter(all_asks), None))
        assert book.crossed == naive.crossed
        assert book.top(n) == (all_bids[:n], all_asks[:n])
        assert (len(book.bids), len(book.asks)) == (len(all_bids), len(all_asks))
    for text in {price for bids, asks in changes for price, _ in bids + asks}:
        assert (text in book.bids, text in book.asks) == tuple(Decimal(text) in side for side in naive.sides)
    assert book.levels() == naive.levels()
    assert book.sha256_all_levels() == naive.digest()


deep = st.lists(
    st.tuples(st.integers(1, 6 * NEAR).map(str), st.sampled_from(["0", "0", "1", "2"])), min_size=20, max_size=80
)


@given(st.lists(st.tuples(deep, deep), min_size=1, max_size=15))
def test_levels_far_from_the_best_come_near_again(changes: list[tuple[list[Level], list[Level]]]) -> None:
    """Books much longer than what is kept apart near the best, whose best levels go away many at a time."""
    full = [(str(price), "1") for price in range(1, 6 * NEAR)]
    book, naive = Book(), Naive()
    book.replace(full, full)
    naive.apply(full, full)
    for bids, asks in changes:
        gone = [(price, "0") for price, _ in naive.levels()[0][: 2 * NEAR]]
        for one in (book, naive):
            one.apply(bids, asks)
            one.apply(gone, [])
        all_bids, all_asks = naive.levels()
        assert book.bbo() == (next(iter(all_bids), None), next(iter(all_asks), None))
        assert book.top(25) == (all_bids[:25], all_asks[:25])
    assert book.levels() == naive.levels()


@given(updates)
def test_numbers_that_a_venue_reads_itself_make_the_same_book(
    changes: list[tuple[tuple[Level, ...], tuple[Level, ...]]],
) -> None:
    plain, helped = Book(), Book()
    for bids, asks in changes:
        short = [[level for level in side if len(level[0]) <= 15] for side in (bids, asks)]
        plain.apply(short[0], short[1])
        floats = [[(float(price), float(size)) for price, size in side] for side in short]
        helped.apply(short[0], short[1], (floats[0], floats[1]))
    assert helped.levels() == plain.levels()


@pytest.mark.parametrize(
    "level",
    [
        ("", "1"),
        ("1", ""),
        ("x", "1"),
        ("1", "nan"),
        ("inf", "1"),
        ("1", "-1"),
        ("1_0", "1"),
        (" 1", "1"),
        ("1", "1\n"),
        ("1,2", "3"),
        ("1", "00"),
        (".5", "1"),
        ("1.", "1"),
        ("1.2.3", "1"),
        ("1", "1e999"),
        ("١", "1"),
        ("9" * 400, "1"),
    ],
)
def test_a_level_that_is_no_number_changes_nothing(level: Level) -> None:
    book = Book()
    book.replace(BIDS, ASKS)
    for side in (0, 1):
        bids, asks = [("9.9", "4")], [("10.4", "4")]
        (bids, asks)[side].append(level)
        with pytest.raises(BadLevel):
            book.apply(bids, asks)
        with pytest.raises(BadLevel):
            book.replace(bids, asks)
    assert book.levels() == (list(BIDS), list(ASKS))


def test_an_empty_book_has_a_digest_too() -> None:
    book = Book()
    assert book.bbo() == (None, None)
    assert book.sha256_all_levels() == sha256(b"|").hexdigest()


def live(verify: Verify | None = None) -> BookState:
    state = BookState(SPOT, "depth")
    made = state.snapshot(BIDS, ASKS, 7, None, 100, verify=verify)
    assert [type(one) for one in made] == [OrderBook]
    return state


def test_a_snapshot_makes_a_book_live_and_its_record_is_best_first() -> None:
    state = BookState(SPOT, "depth")
    (record,) = state.snapshot(BIDS[::-1], ASKS, 7, 90, 100)
    assert isinstance(record, OrderBook)
    assert (record.kind, record.bids, record.asks, record.last_id) == ("snapshot", BIDS, ASKS, 7)
    assert (record.ts_event, record.ts_recv, record.unit) == (90, 100, "base")
    assert state.status == "live"


def test_a_delta_is_given_out_as_published_and_counted() -> None:
    state = live()
    record = state.delta((("9.5", "0.00"),), (), 8, 9, 7, 190, 200)
    assert isinstance(record, OrderBook)
    assert (record.kind, record.bids, record.first_id, record.last_id, record.prev_id) == (
        "delta",
        (("9.5", "0.00"),),
        8,
        9,
        7,
    )
    assert (state.applied, state.last_id, state.ts_last) == (1, 9, 200)
    assert state.book.levels()[0] == [("10.0", "1")]


def test_a_crossing_delta_is_a_gap_and_the_book_is_out_of_use_until_a_snapshot() -> None:
    state = live()
    gap = state.delta((("10.5", "1"),), (), 8, 9, 7, None, 200)
    assert gap == Gap("binance", "spot", "BTC-USDT", "BTCUSDT", "depth", 7, 8, 100, 200, "crossed")
    assert (state.status, state.gaps, state.applied) == ("broken", 1, 0)
    assert state.broken("sequence", 12, 300) == []
    record, healed = state.snapshot(BIDS, ASKS, 20, None, 400)
    assert isinstance(record, OrderBook)
    assert isinstance(healed, Gap)
    assert (healed.healed_at, healed.last_id, healed.next_id) == (400, 7, 8)
    assert (state.status, state.gaps, state.open_gap) == ("live", 1, None)


def test_a_bad_checksum_is_a_gap() -> None:
    state = live(verify=lambda book: len(book.bids) == 2)
    good = state.delta((), (("10.6", "1"),), 8, 9, 7, None, 200, lambda book: len(book.asks) == 2)
    assert isinstance(good, OrderBook)
    bad = state.delta((), (("10.6", "0"),), 10, 11, 9, None, 300, lambda book: len(book.asks) == 2)
    assert isinstance(bad, Gap)
    assert (bad.cause, bad.last_id, bad.next_id) == ("checksum", 9, 10)
    assert (state.checksum_ok, state.checksum_bad, state.applied, state.status) == (2, 1, 1, "broken")


def test_a_crossed_snapshot_is_never_live() -> None:
    state = BookState(SPOT, "depth")
    (gap,) = state.snapshot((("11", "1"),), ASKS, 7, None, 100)
    assert isinstance(gap, Gap)
    assert (gap.cause, state.status) == ("crossed", "broken")


def test_a_repeat_is_reported_as_healed_and_breaks_nothing() -> None:
    state = live()
    gap = state.repeated(7, 200)
    assert (gap.cause, gap.next_id, gap.healed_at, state.status, state.gaps) == ("repeat", 7, 200, "live", 1)


def test_a_new_socket_puts_a_live_book_in_doubt_and_not_one_that_waits() -> None:
    waiting = BookState(SPOT, "depth")
    assert waiting.reopened(50) == []
    state = live()
    (gap,) = state.reopened(200)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.next_id, state.status) == ("reopened", None, "broken")


def test_bad_levels_are_a_bad_message_and_the_book_stays_as_it_was() -> None:
    state = live()
    with pytest.raises(BadMessage, match="BTCUSDT depth: 'x' is no price"):
        state.delta((("9.9", "1"), ("x", "1")), (), 8, 9, 7, None, 200)
    with pytest.raises(BadMessage):
        state.snapshot((("x", "1"),), (), 9, None, 200)
    assert (state.last_id, state.status) == (7, "live")
    assert state.book.levels() == (list(BIDS), list(ASKS))


@pytest.mark.usefixtures("all_log_lines")
def test_gaps_are_logged_when_they_open_and_close(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "marketdata_assets")
    state = BookState(SPOT, "depth")
    state.snapshot(BIDS, ASKS, 1, None, 1)
    state.broken("sequence", 5, 2)
    state.broken("sequence", 9, 3)
    state.snapshot(BIDS, ASKS, 10, None, 4)
    facts = "venue=binance instrument=BTCUSDT stream=depth gap=sequence"
    assert caplog.messages == [f"gap_opened {facts}", f"gap_closed {facts}"]
