"""The queue in front of a sink: what becomes of records when it is full."""

from collections import defaultdict
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.collector.items import TAGS, Recorded, items, moment
from marketdata_assets.collector.queue import BoundedQueue
from marketdata_assets.exchanges.records import Gap, Kline, OrderBook, Ticker, Trade
from tests.collector.collector_records import START, candle, delta, funding, gap, snapshot, ticker, trade, trades

NAMES = ("ABC", "XYZ")
KINDS = ("trade", "delta", "snapshot", "ticker", "open", "closed", "unsaid", "funding", "gap")


@dataclass
class Market:
    """Makes records in turn, knows the books, and remembers all that was put into a queue of its own."""

    capacity: int
    books: bool = True
    number: int = 0
    put: list[Recorded] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)  # update of each book

    def __post_init__(self) -> None:
        self.queue = BoundedQueue(self.capacity, self.snapshot_of)

    def snapshot_of(self, exchange: str, market_type: str, instrument: str) -> OrderBook | None:
        assert (exchange, market_type) == ("binance", "linear")
        name = instrument.removesuffix("USDT")
        return snapshot(self.last[name], name, START + self.number) if self.books else None

    def make(self, kind: str, name: str) -> Recorded:
        self.number += 1
        if kind == "delta":
            self.last[name] = self.last.get(name, 0) + 1
            return msgspec.structs.replace(delta(self.last[name], name), ts_recv=START + self.number)
        if kind == "snapshot":
            return snapshot(self.last.setdefault(name, 0), name, START + self.number)
        minute = self.number // 5
        return {
            "trade": lambda: trade(self.number, name),
            "ticker": lambda: ticker(self.number, name),
            "open": lambda: candle(self.number, name, minute=minute),
            "closed": lambda: candle(self.number, name, minute=minute, closed=True),
            "unsaid": lambda: candle(self.number, name, minute=minute, closed=None),
            "funding": lambda: funding(self.number, name),
            "gap": lambda: gap(self.number, name),
        }[kind]()

    def send(self, batch: list[tuple[str, str]]) -> None:
        records = [self.make(kind, name) for kind, name in batch]
        self.put += records
        self.queue.put(items(records))


STEPS = st.lists(
    st.one_of(
        st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(NAMES)), min_size=1, max_size=12),
        st.integers(1, 20),
    ),
    max_size=40,
)


def run(market: Market, steps: list[list[tuple[str, str]] | int]) -> list[Recorded]:
    """All that comes out, to the end."""
    out: list[Recorded] = []
    for step in steps:
        if isinstance(step, int):
            out += [one.record for one in market.queue.take(step)]
        else:
            market.send(step)
        assert len(market.queue) <= market.capacity
    while taken := market.queue.take(7):
        out += [one.record for one in taken]
    return out


def stream_of(record: Recorded) -> tuple[str, str]:
    return TAGS[type(record)], record.instrument


def covers(one: Gap, record: Recorded, causes: tuple[str, ...]) -> bool:
    stream = record.stream if isinstance(record, Gap) else TAGS[type(record)]
    same = one.instrument == record.instrument and one.stream == stream and one.cause in causes
    if not same or not one.ts_from <= moment(record) <= one.ts_to:
        return False
    if not isinstance(record, Trade):
        return True
    assert one.last_id is not None
    assert one.next_id is not None
    return one.last_id < int(record.trade_id) < one.next_id


@given(STEPS, st.integers(2, 24), st.booleans())
def test_lossless_records_come_out_once_or_are_in_a_gap(
    steps: list[list[tuple[str, str]] | int], capacity: int, books: bool
) -> None:
    market = Market(capacity, books)
    out = run(market, steps)
    gaps = [one for one in out if isinstance(one, Gap)]
    kept = [one for one in market.put if _must_be_kept(one)]
    for record in kept:
        found = sum(one == record for one in out)
        assert found == 1 or (found == 0 and any(covers(one, record, ("overload",)) for one in gaps)), record
    lost = sum(one not in out for one in market.put if _must_be_kept(one) or TAGS[type(one)] == "kline")
    assert lost >= market.queue.dropped  # a candle that is not closed may be lost to a newer one as well
    assert all(one in market.put or one.cause in ("overload", "conflated") for one in gaps)


@given(STEPS, st.integers(2, 24), st.booleans())
def test_order_of_each_instrument_and_type_is_kept(
    steps: list[list[tuple[str, str]] | int], capacity: int, books: bool
) -> None:
    market = Market(capacity, books)
    reported: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in run(market, steps):
        if not isinstance(record, Gap):
            reported[stream_of(record)].append(moment(record))
        elif record.cause == "overload" and record.stream in ("trade", "funding_rate"):
            reported[record.stream, record.instrument] += [record.ts_from, record.ts_to]
    for moments in reported.values():
        assert moments == sorted(moments)


@given(STEPS, st.integers(2, 24))
def test_newest_ticker_and_candle_always_come_out(steps: list[list[tuple[str, str]] | int], capacity: int) -> None:
    market = Market(capacity)
    out = run(market, steps)
    newest: dict[tuple[str, str], Recorded] = {}
    for record in market.put:
        if isinstance(record, Ticker):
            newest[stream_of(record)] = record
    assert all(record in out for record in newest.values())
    gaps = [one for one in out if isinstance(one, Gap)]
    unsaid = [one for one in market.put if isinstance(one, Kline) and one.closed is None]
    last_words = {(one.instrument, one.open_time): one for one in unsaid}
    for one in last_words.values():
        after = [each for each in market.put[market.put.index(one) + 1 :] if stream_of(each) == stream_of(one)]
        superseded = any(each.closed is not None for each in after if isinstance(each, Kline))
        assert one in out or superseded or any(covers(each, one, ("overload",)) for each in gaps)


@given(STEPS, st.integers(2, 24), st.booleans())
def test_book_continues_or_restarts_after_a_gap(
    steps: list[list[tuple[str, str]] | int], capacity: int, books: bool
) -> None:
    market = Market(capacity, books)
    at: dict[str, int | None] = {}  # where a reader of the stream is; None while it waits for a snapshot
    for record in run(market, steps):
        name = record.instrument.removesuffix("USDT")
        if isinstance(record, Gap) and record.cause == "conflated":
            at[name] = None
        elif isinstance(record, OrderBook) and record.kind == "snapshot":
            at[name] = record.last_id
        elif isinstance(record, OrderBook):
            assert name not in at or at[name] is not None, "an update though the book waits for a snapshot"
            if name in at:
                assert record.prev_id == at[name]
            at[name] = record.last_id
    if books:
        assert all(at[name] == last for name, last in market.last.items())


def _must_be_kept(record: Recorded) -> bool:
    if isinstance(record, Kline):
        return bool(record.closed)
    return not isinstance(record, OrderBook | Ticker)


def test_full_queue_makes_one_gap_of_many_trades() -> None:
    queue = BoundedQueue(10, lambda *_: None)
    queue.put(items(trades(25)))
    assert [one.record for one in queue.take(10)] == trades(10)
    queue.put(items([trade(26)]))
    [lost, after] = [one.record for one in queue.take(10)]
    assert isinstance(lost, Gap)
    assert (lost.stream, lost.cause, lost.last_id, lost.next_id) == ("trade", "overload", 10, 26)
    assert (lost.ts_from, lost.ts_to, lost.healed_at) == (START + 11, START + 25, None)
    assert after == trade(26)
    assert queue.dropped == 15


def test_books_and_tickers_yield_to_trades() -> None:
    queue = BoundedQueue(10, lambda *_: snapshot(6, ts=START + 100))
    queue.put(items([*(delta(number) for number in range(1, 7)), *(ticker(number) for number in range(4))]))
    queue.put(items(trades(4)))
    out = [one.record for one in queue.take(99)]
    assert [one for one in out if isinstance(one, Trade)] == trades(4)
    assert [one for one in out if isinstance(one, Ticker)] == [ticker(3)]
    reported, book = (one for one in out if isinstance(one, Gap | OrderBook))
    assert isinstance(reported, Gap)
    assert (reported.cause, reported.last_id, reported.next_id, reported.healed_at) == ("conflated", 0, 6, START + 100)
    assert book == snapshot(6, ts=START + 100)
    assert (queue.dropped, queue.conflated) == (0, 9)


def test_invalid_book_waits_for_its_snapshot() -> None:
    queue = BoundedQueue(4, lambda *_: None)
    queue.put(items([delta(number) for number in range(1, 7)]))
    assert [one.record for one in queue.take(9)] == [delta(number) for number in range(1, 5)]
    [reported] = [one.record for one in queue.take(9)]
    assert isinstance(reported, Gap)
    assert (reported.last_id, reported.next_id, reported.healed_at) == (4, 7, None)
    queue.put(items([delta(7), snapshot(7), delta(8)]))
    assert [one.record for one in queue.take(9)] == [
        msgspec.structs.replace(reported, healed_at=START + 7),
        snapshot(7),
        delta(8),
    ]


def test_too_small_a_queue_is_rejected() -> None:
    with pytest.raises(ValueError, match="capacity of at least 2"):
        BoundedQueue(1, lambda *_: None)
