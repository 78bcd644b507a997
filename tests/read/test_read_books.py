"""Order books at any instant: what a plain replay of all changes makes of them, and unknown where one is missing."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, Literal

import msgspec
import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets import read
from marketdata_assets.exchanges.records import Gap, Level, OrderBook
from marketdata_assets.exchanges.tables import rows
from marketdata_assets.exchanges.tables.schema import GAPS, ORDERBOOKS
from marketdata_assets.read import bounds, columnar
from marketdata_assets.read.errors import NaiveTime, UnknownName
from tests.examples import others_slow

NS = 1_000_000_000
BEGIN = int(dt.datetime(2026, 1, 5, 23, 59, 30, tzinfo=dt.UTC).timestamp()) * NS
LATENCY = 40_000_000
DAY = 86_400 * NS

Side = dict[Decimal, Decimal]
Numbering = Literal["spot", "futures", "chained"]


@pytest.fixture
def client(made_tables: Client) -> Client:
    for table in (ORDERBOOKS, GAPS):
        made_tables.command(f"TRUNCATE TABLE {table.name}")
    return made_tables


@dataclass
class Venue:
    """A book that changes at random, a second each, as a venue tells of it and as it truly is."""

    client: Client
    random: Random
    numbering: Numbering = "chained"
    about: tuple[str, ...] = ("okx", "linear", "BTC-USDT", "BTC-USDT-SWAP")
    now: int = BEGIN
    last: int = 1000
    sides: tuple[Side, Side] = field(default_factory=lambda: ({}, {}))
    truth: dict[int, tuple[Side, Side]] = field(default_factory=dict)
    told: list[OrderBook | Gap] = field(default_factory=list)

    def open(self, levels: int = 8) -> None:
        """The book as it begins."""
        for step in range(levels):
            self.sides[0][Decimal(100 - step)] = self.size()
            self.sides[1][Decimal(101 + step)] = self.size()

    def size(self) -> Decimal:
        return Decimal(self.random.randrange(1, 10**6)).scaleb(-3)

    def snapshot(self, depth: int | None = None, *, timed: bool = True) -> None:
        at = self.now if timed else None
        bids, asks = (self.levels(number)[:depth] for number in (0, 1))
        self.told.append(
            OrderBook(*self.about, at, self.now + LATENCY, "snapshot", bids, asks, "contracts", None, self.last)  # type: ignore[arg-type]
        )
        self.truth[self.now] = self.copy()

    def change(self, *, lost: bool = False) -> None:
        """A second later some levels are others; a change that is lost is not told."""
        self.now += NS
        before, first = self.last, self.last + 1
        self.last += self.random.randrange(1, 9)
        changed = [self.changed(number) for number in (0, 1)]
        prev = None if self.numbering == "spot" else before
        ids = (first, self.last, prev) if self.numbering != "chained" else (None, self.last, prev)
        if not lost:
            moment = self.now, self.now + LATENCY
            self.told.append(OrderBook(*self.about, *moment, "delta", *changed, "contracts", *ids))  # type: ignore[arg-type]
        self.truth[self.now] = self.copy()

    def changed(self, number: int) -> tuple[Level, ...]:
        """Levels that change; the best ones stay where they are, so that the book is never crossed."""
        found: dict[Decimal, Decimal] = {}
        for _ in range(self.random.randrange(4)):
            step = Decimal(self.random.randrange(60)) / 4
            price = Decimal(99) - step if number == 0 else Decimal(102) + step
            size = self.random.choice((Decimal(0), self.size()))
            found[price] = size
            self.sides[number].pop(price, None)
            if size:
                self.sides[number][price] = size
        return tuple((str(price), str(size)) for price, size in found.items())

    def levels(self, number: int) -> tuple[Level, ...]:
        ordered = sorted(self.sides[number].items(), reverse=number == 0)
        return tuple((str(price), str(size)) for price, size in ordered)

    def copy(self) -> tuple[Side, Side]:
        return {**self.sides[0]}, {**self.sides[1]}

    def gap(self, ts_from: int, ts_to: int, cause: str = "sequence", stream: str = "books") -> None:
        ids = (self.last, self.last + 9, ts_from + LATENCY, ts_to + LATENCY)
        self.told.append(Gap(*self.about, stream, *ids, cause))  # type: ignore[arg-type]

    def checkpoint(self, at: int | None = None) -> None:
        """The collector records its book."""
        moment = self.now + 10 * NS if at is None else at
        ids = (None, self.last)
        bids, asks = (self.levels(number) for number in (0, 1))
        self.told.append(OrderBook(*self.about, moment, moment, "checkpoint", bids, asks, "contracts", *ids))  # type: ignore[arg-type]

    def land(self, *, alive: bool = True) -> None:
        """Load what was told, and as long as the stream is alive that nothing came after it."""
        if alive:
            self.checkpoint()
        self.random.shuffle(self.told)
        rows.insert_records(self.client, self.told)

    def books(self, at: Any, **more: Any) -> list[dict[str, Any]]:
        exchange, market_type, _, instrument = self.about
        return read.books(exchange, market_type, instrument, at, connection=self.client, **more).to_dicts()  # type: ignore[arg-type]


def opened(client: Client, seed: int) -> Venue:
    """A venue whose book begins with a snapshot."""
    venue = Venue(client, Random(seed))
    venue.open()
    venue.snapshot()
    return venue


def sides(book: dict[str, Any]) -> tuple[Side, Side]:
    bids, asks = ([(level["price"], level["size"]) for level in book[name]] for name in ("bids", "asks"))
    assert [price for price, _ in bids] == sorted((price for price, _ in bids), reverse=True)
    assert [price for price, _ in asks] == sorted(price for price, _ in asks)
    return dict(bids), dict(asks)


def compare(venue: Venue, instants: Sequence[int], unknown: Sequence[int] = ()) -> None:
    found = venue.books(instants)
    assert [int(book["at"].timestamp()) for book in found] == [at // NS for at in sorted(instants)]
    for at, book in zip(sorted(instants), found, strict=True):
        if at in unknown:
            assert (book["known"], book["bids"], book["asks"]) == (False, None, None), (at - BEGIN) / NS
            assert book["why"]
        else:
            assert (book["known"], book["why"]) == (True, None), (at - BEGIN) / NS
            assert sides(book) == venue.truth[at // NS * NS if at % NS else at], (at - BEGIN) / NS


@pytest.mark.parametrize("numbering", ["spot", "futures", "chained"])
@pytest.mark.parametrize("seed", others_slow([1, 2]))
def test_every_instant_of_a_stream_is_what_a_replay_makes_of_it(
    client: Client, numbering: Numbering, seed: int
) -> None:
    venue = Venue(client, Random(seed), numbering)
    venue.open()
    venue.snapshot(timed=numbering != "spot")
    for _ in range(60):
        venue.change()
    venue.land()
    venue.land()  # a redelivery
    seconds = [BEGIN + number * NS for number in range(61)]
    first = 1 if numbering == "spot" else 0  # nobody knows by the venue's clock how old a snapshot without a time is
    compare(venue, [*seconds[first:], *(at + NS // 2 for at in seconds[1:])])


def test_what_is_missing_makes_the_book_unknown_until_the_next_snapshot(client: Client) -> None:
    venue = opened(client, 3)
    for number in range(30):
        venue.change(lost=9 <= number < 20)
        if number == 19:
            venue.snapshot()
    venue.land()
    seconds = [BEGIN + number * NS for number in range(31)]
    lost = [at for at in seconds if BEGIN + 9 * NS <= at < BEGIN + 20 * NS]  # at 9 nobody knows when 10 came
    compare(venue, seconds, unknown=lost)
    [book] = venue.books(BEGIN + 9 * NS)
    assert "are missing" in book["why"]


def test_a_gap_on_record_is_the_reason_and_ends_with_the_snapshot(client: Client) -> None:
    venue = opened(client, 4)
    venue.change()
    last = venue.now
    venue.change(lost=True)
    venue.gap(last, venue.now, "checksum")
    venue.change(lost=True)
    venue.snapshot()
    venue.land()
    compare(venue, [BEGIN, last, venue.now - NS, venue.now], unknown=[last, venue.now - NS])
    assert venue.books(last)[0]["why"] == "a gap is on record: checksum"


def test_a_gap_recorded_while_a_book_is_read_is_known(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    venue = opened(client, 4)
    venue.change()
    venue.land(alive=False)
    ask = columnar.ask

    def ask_and_record(of: Client, table: str, sql: str, values: Mapping[str, Any]) -> pl.DataFrame:
        answer = ask(of, table, sql, values)
        if "first" in values:
            venue.gap(venue.now, venue.now + NS)
            venue.land(alive=False)
        return answer

    monkeypatch.setattr(columnar, "ask", ask_and_record)
    assert venue.books(venue.now)[0]["why"] == "a gap is on record: sequence"


def test_a_gap_of_trades_and_one_that_was_only_a_repeat_are_none_of_a_book(client: Client) -> None:
    venue = opened(client, 5)
    venue.change()
    venue.gap(venue.now, venue.now + NS, stream="trades")
    venue.gap(venue.now, venue.now + NS, "repeat")
    venue.land()
    compare(venue, [venue.now, venue.now + 5 * NS - NS // 2 - 4 * NS])


def test_best_levels_of_another_stream_do_not_take_the_place_of_the_whole_book(client: Client) -> None:
    venue = opened(client, 6)
    for _ in range(10):
        venue.change()
        venue.snapshot(5)  # as OKX's books5 beside books
    venue.land()
    compare(venue, [BEGIN + number * NS for number in range(11)])


def test_a_book_of_few_levels_that_ended_a_gap_is_known_though_changes_before_it_are_on_record(client: Client) -> None:
    venue = Venue(client, Random(8))
    venue.open()
    for side in venue.sides:
        for price in [*side][5:]:
            del side[price]
    for _ in range(2):
        venue.change()  # the stream has lost what these begin with
    lost = venue.now
    venue.snapshot()
    venue.gap(BEGIN, venue.now, "discarded")
    for _ in range(2):
        venue.change()
        venue.snapshot(1)  # best levels of another stream, which were received in the same moment
        venue.told[-1] = msgspec.structs.replace(venue.told[-1], ts_recv=lost + LATENCY)
    venue.change()
    venue.land()
    assert max(map(len, venue.sides)) <= 20
    instants = [lost - NS, lost - 1, lost, lost + NS, lost + 2 * NS, venue.now]
    compare(venue, instants, unknown=[lost - NS, lost - 1])


def test_whole_books_without_changes_hold_until_the_next_unless_a_gap_is_between(client: Client) -> None:
    venue = opened(client, 9)
    for _ in range(3):
        venue.change(lost=True)
        venue.snapshot()
    venue.gap(venue.now, venue.now + 5 * NS, "reopened")  # such as Hyperliquid's, which sends whole books only
    venue.now += 9 * NS
    venue.snapshot()
    venue.land()
    seconds = [BEGIN + number * NS for number in range(13)]
    compare(venue, seconds, unknown=seconds[3:12])


def test_a_deep_snapshot_within_the_stream_spares_reading_what_was_before(client: Client) -> None:
    venue = Venue(client, Random(7), "futures")
    venue.open(levels=30)
    for number in range(8):
        venue.change()
        if number == 4:
            venue.snapshot()
    venue.land()  # what the changes before it begin with is not there
    seconds = [BEGIN + number * NS for number in range(1, 9)]
    compare(venue, seconds, unknown=seconds[:4])


def test_a_book_that_began_many_days_before_is_found(client: Client) -> None:
    venue = opened(client, 8)
    for _ in range(9):
        venue.now += DAY
        venue.change()
    venue.land()
    compare(venue, [venue.now])


def test_numbers_that_start_anew_after_a_maintenance_do_not_matter(client: Client) -> None:
    venue = opened(client, 9)
    venue.change()
    before = venue.last
    venue.now, venue.last = venue.now + NS, 3
    told = OrderBook(*venue.about, venue.now, venue.now, "delta", (("99", "7"),), (), "contracts", None, 3, before)  # type: ignore[arg-type]
    venue.told.append(told)
    venue.sides[0][Decimal(99)] = Decimal(7)
    venue.truth[venue.now] = venue.copy()
    venue.change()
    venue.land()
    compare(venue, [BEGIN + number * NS for number in range(4)])


def test_records_without_numbers_are_believed_up_to_the_next_gap(client: Client) -> None:
    venue = Venue(client, Random(10))
    venue.open()
    levels = venue.levels(0), venue.levels(1)
    for number, kind in enumerate(("snapshot", "delta", "delta")):
        at = BEGIN + number * NS
        changed = levels if kind == "snapshot" else ((("98", str(number)),), ())
        venue.told.append(OrderBook(*venue.about, at, at + LATENCY, kind, *changed, "contracts", None, None))  # type: ignore[arg-type]
    venue.gap(BEGIN + 2 * NS, BEGIN + 3 * NS)
    venue.land()
    first, second, third = venue.books([BEGIN, BEGIN + NS, BEGIN + 2 * NS])
    assert (sides(first)[0], sides(second)[0][Decimal(98)]) == (venue.sides[0], Decimal(1))
    assert third["why"] == "a gap is on record: sequence"


def test_best_levels_alone_are_given_as_they_were_told(client: Client) -> None:
    venue = Venue(client, Random(11))
    venue.open()
    for _ in range(3):
        venue.snapshot(5)
        venue.now += 10 * NS
        venue.last += 1
    venue.land()
    [book] = venue.books(BEGIN + 12 * NS)
    assert (len(book["bids"]), book["until"]) == (5, dt.datetime(2026, 1, 5, 23, 59, 50, tzinfo=dt.UTC))


def test_a_book_says_how_old_it_is_and_shows_as_many_levels_as_wanted(client: Client) -> None:
    venue = opened(client, 12)
    venue.change()
    venue.land()
    beginning, after = venue.books(["2026-01-05T23:59:30.5+00:00", "2026-01-05T23:59:34+00:00"], depth=2)
    moment = dt.datetime(2026, 1, 5, 23, 59, 31, tzinfo=dt.UTC)
    assert (beginning["until"], after["time"], after["until"]) == (moment, moment, None)
    assert (len(after["bids"]), after["unit"], after["last_id"]) == (2, "contracts", venue.last)
    [before] = venue.books("2026-01-05T23:59:29.999999999Z")
    assert bounds.nanoseconds("2026-01-05T23:59:29.999999999Z", "books") == BEGIN - 1
    assert (before["known"], before["why"]) == (False, "nothing is on record before")
    assert venue.books([]) == []


@pytest.mark.parametrize("numbering", others_slow(["spot", "futures", "chained"]))
def test_a_book_is_known_only_until_the_last_sign_that_its_stream_went_on(client: Client, numbering: Numbering) -> None:
    venue = Venue(client, Random(14), numbering)
    venue.open(levels=30)
    venue.snapshot()
    venue.change()
    last = venue.now
    venue.land(alive=False)
    assert [book["known"] for book in venue.books([last - 1, last, last + 3 * 3600 * NS])] == [True, False, False]
    assert venue.books(last)[0]["why"] == "nothing on record after it shows that the stream continued"
    venue.checkpoint(last + 3600 * NS)
    venue.land(alive=False)
    shown = venue.books([last, last + 3594 * NS, last + 3596 * NS])  # clocks may differ by five seconds
    assert [book["known"] for book in shown] == [True, True, False]
    assert sides(shown[1]) == venue.truth[last]
    assert (shown[1]["time"], shown[1]["until"]) == (dt.datetime.fromtimestamp(last // NS, dt.UTC), None)


@pytest.mark.parametrize("numbering", others_slow(["futures", "spot", "chained"]))
def test_a_book_is_read_from_the_last_checkpoint_before_the_instant(
    client: Client, numbering: Numbering, monkeypatch: pytest.MonkeyPatch
) -> None:
    venue = Venue(client, Random(15), numbering)
    venue.open(levels=5)
    venue.snapshot()
    begins: list[int] = []
    for number in range(120):
        venue.change()
        if number % 30 == 29:
            venue.checkpoint(venue.now + NS // 10)
            begins.append(venue.now)
    venue.land()
    venue.land()  # copies
    asked: list[tuple[str, str]] = []
    ask = columnar.ask

    def listen(of: Client, table: str, sql: str, values: Mapping[str, Any]) -> pl.DataFrame:
        asked.append((sql, values.get("first", "")))
        return ask(of, table, sql, values)

    monkeypatch.setattr(columnar, "ask", listen)
    instant = BEGIN + 100 * NS + NS // 2
    compare(venue, [instant])
    spans = [first for statement, first in asked if "held_until" in statement or "argMax" in statement]
    assert len(spans) == 3  # the sums once more without copies
    earliest = dt.datetime.fromtimestamp((begins[2] - 6 * NS) // NS, dt.UTC)
    assert min(spans) >= f"{earliest:%Y-%m-%d %H:%M:%S}"
    assert not any("AS checkpoint" in statement for statement, _ in asked), "no record is read by itself"


def test_a_checkpoint_that_holds_more_than_was_told_until_then_is_not_used(client: Client) -> None:
    venue = opened(client, 16)
    for _ in range(5):
        venue.change()
    at = venue.now
    for _ in range(3):
        venue.change()
    venue.checkpoint(at + NS // 2)  # our clock is behind the venue's
    venue.change()
    venue.land()
    compare(venue, [BEGIN + number * NS for number in range(10)])
    compare(venue, [at + NS * 3 // 4])


@pytest.mark.parametrize("kind", ["snapshot", "checkpoint"])
def test_after_a_loss_a_whole_book_by_our_clock_is_not_given_out_before_it_was_so_at_the_venue(
    client: Client, kind: str
) -> None:
    """The venue's clock is ahead of ours: the last change in the book is later than the time that it was recorded."""
    venue = Venue(client, Random(11))
    venue.open()
    venue.snapshot()
    for lost in (False, True, True):
        venue.change(lost=lost)
    ours = venue.now - NS // 4
    if kind == "checkpoint":
        venue.checkpoint(ours)
    else:
        bids, asks = (venue.levels(number) for number in (0, 1))
        venue.told.append(
            OrderBook(*venue.about, None, ours, "snapshot", bids, asks, "contracts", None, venue.last)  # type: ignore[arg-type]
        )
    changed = venue.now + NS
    venue.change()
    venue.change()
    venue.land()
    before, after = venue.books([ours, changed])
    assert not before["known"]
    assert "by our clock" in before["why"]
    assert after["known"]
    assert sides(after) == venue.truth[changed]


def test_two_books_under_one_name_are_found_out_when_they_cross(client: Client) -> None:
    venue = opened(client, 13)
    venue.now, venue.last = venue.now + NS, venue.last + 1
    crossing = (("105", "1"),), ()
    venue.told.append(
        OrderBook(*venue.about, venue.now, venue.now, "delta", *crossing, "contracts", None, venue.last, venue.last - 1)  # type: ignore[arg-type]
    )
    venue.land()
    [book] = venue.books(venue.now)
    assert (book["known"], book["why"]) == (False, "the records contradict one another: bids and asks cross")


def test_a_wrong_question_says_what_is_meant(client: Client) -> None:
    with pytest.raises(UnknownName, match="did you mean 'okx'"):
        read.books("okex", "linear", "X", 0, connection=client)  # type: ignore[arg-type]
    with pytest.raises(NaiveTime):
        read.books("okx", "linear", "X", dt.datetime(2026, 1, 5), connection=client)
