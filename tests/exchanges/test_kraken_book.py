"""Books of Kraken: the documented checksum, levels that leave the depth, and messages of one moment."""

from collections.abc import Sequence
from random import Random
from zlib import crc32

import pytest

from marketdata_assets.exchanges.checkpoints import decode, encode
from marketdata_assets.exchanges.kraken.feed import KrakenFeed
from marketdata_assets.exchanges.records import Control, DeadLetter, Gap, OrderBook, Outcome

Levels = Sequence[tuple[str, str]]
DOCUMENTED = (  # https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2
    "45283.5 0.10000000,45283.4 1.54582015,45282.1 0.10000000,45281.0 0.10000000,45280.3 1.54592586,"
    "45279.0 0.07990000,45277.6 0.03310103,45277.5 0.30000000,45277.3 1.54602737,45276.6 0.15445238",
    "45285.2 0.00100000,45286.4 1.54571953,45286.6 1.54571109,45289.6 1.54560911,45290.2 0.15890660,"
    "45291.8 1.54553491,45294.7 0.04454749,45296.1 0.35380000,45297.5 0.09945542,45299.5 0.18772827",
    3310070434,
)
ACK = b'{"method":"subscribe","result":{"channel":"book","depth":%d,"symbol":"BTC/USD"},"success":true}'
LIST = b'{"error":[],"result":{"X":{"wsname":"XBT/USD","pair_decimals":1,"lot_decimals":8}}}'


def levels(text: str) -> Levels:
    return [(price, size) for price, _, size in (one.partition(" ") for one in text.split(","))]


def message(kind: str, bids: Levels, asks: Levels, checksum: int, micro: int = 1) -> bytes:
    sides = [",".join(f'{{"price":{price},"qty":{size}}}' for price, size in side) for side in (bids, asks)]
    data = f'"symbol":"BTC/USD","bids":[{sides[0]}],"asks":[{sides[1]}],"checksum":{checksum}'
    time = f"2026-01-31T08:00:00.{micro:06}Z"
    return f'{{"channel":"book","type":"{kind}","data":[{{{data},"timestamp":"{time}"}}]}}'.encode()


def listed() -> KrakenFeed:
    feed = KrakenFeed("spot")
    assert feed.answer("https://api.kraken.com/0/public/AssetPairs", LIST, 1) == [Control("notice", "1 instruments")]
    return feed


@pytest.mark.parametrize("shortened", [False, True])
def test_the_documented_checksum_is_that_of_the_book_with_or_without_zeros_at_the_end(shortened: bool) -> None:
    bids, asks = (levels(side) for side in DOCUMENTED[:2])
    if shortened:
        bids, asks = ([(str(float(price)), str(float(size))) for price, size in side] for side in (bids, asks))
        assert ("45281.0", "0.1") in bids
    feed = listed()
    (book,) = feed.push(message("snapshot", bids, asks, DOCUMENTED[2]), 1)
    assert isinstance(book, OrderBook)
    assert [*book.bids] == [*bids]
    (gap,) = feed.push(message("update", [("45283.5", "0.20000000")], [], DOCUMENTED[2], 2), 2)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.stream) == ("checksum", "book")
    assert [one.how for one in feed.resync_requests.values()] == ["subscription"]


class Kraken:
    """The venue as a naive book: ticks with one decimal, sizes with eight, told to the depth that was asked for."""

    def __init__(self, seed: int, depth: int) -> None:
        self._random, self.depth, self.micro = Random(seed), depth, 0
        self.sides: list[dict[int, int]] = [{1000 - n: n + 1 for n in range(40)}, {1001 + n: n + 1 for n in range(40)}]

    def told(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        bids, asks = self.sides
        return sorted(bids.items(), reverse=True)[: self.depth], sorted(asks.items())[: self.depth]

    def snapshot(self) -> bytes:
        return self._message("snapshot", *self.told())

    def change(self) -> bytes:
        """One level at random goes, comes, or changes; what comes into the depth is sent, what leaves it is not."""
        before, place = self.told(), self._random.randrange(2)
        side = self.sides[place]
        tick = self._random.randrange(961, 1001) if place == 0 else self._random.randrange(1001, 1041)
        if tick in side and len(side) > 12 and self._random.random() < 0.5:
            del side[tick]
        else:
            side[tick] = self._random.randrange(1, 10**9)
        now = self.told()
        told: list[list[tuple[int, int]]] = [[], []]
        for number, (old, new) in enumerate(zip(before, now, strict=True)):
            told[number] = [(one, 0) for one, _ in old if one not in self.sides[number]]
            told[number] += [level for level in new if level not in old]
        return self._message("update", *told) if any(told) else self.change()

    def _message(self, kind: str, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> bytes:
        best = [level for side in self.told()[::-1] for level in side[:10]]
        checksum = crc32("".join(f"{tick}{size}" for tick, size in best).encode())
        self.micro += self._random.randrange(2)  # messages may share a moment
        return message(kind, _texts(bids), _texts(asks), checksum, self.micro)


def _texts(side: list[tuple[int, int]]) -> Levels:
    return [(f"{tick // 10}.{tick % 10}", f"{size // 10**8}.{size % 10**8:08}") for tick, size in side]


@pytest.mark.parametrize(("depth", "acknowledged"), [(10, True), (10, False), (25, True), (25, False)])
def test_records_make_the_book_of_the_depth_and_numbers_go_up(depth: int, acknowledged: bool) -> None:
    venue, feed = Kraken(depth, depth), listed()
    made: list[Outcome] = feed.push(ACK % depth, 1) if acknowledged else []
    rebuilt: list[dict[str, str]] = [{}, {}]
    last = -1
    for raw in (venue.snapshot(), *(venue.change() for _ in range(400))):
        made = feed.push(raw, 2)
        for record in made:
            assert isinstance(record, OrderBook)
            assert record.last_id is not None
            assert record.last_id > last
            assert record.prev_id in (None, last)
            last = record.last_id
            for side, told in zip(rebuilt, (record.bids, record.asks), strict=True):
                side.update(told)
                for price in [price for price, size in side.items() if not float(size)]:
                    del side[price]
    assert len(made) == 1
    assert [{*side.items()} for side in rebuilt] == [{*_texts(side)} for side in venue.told()]
    assert feed.books["book:BTC/USD"].applied == 400
    continued = KrakenFeed("spot")
    for point in feed.checkpoint():
        continued.restore(encode(point), 3)
    following = venue.change()
    assert continued.push(following, 4) == feed.push(following, 4)
    assert decode(encode(feed.checkpoint()[-1])) == decode(encode(continued.checkpoint()[-1]))


def test_a_message_twice_is_a_repeat_and_one_of_another_connection_is_passed_over() -> None:
    venue, feed = Kraken(1, 10), listed()
    feed.push(venue.snapshot(), 1, 1)
    raw = venue.change()
    assert [type(one) for one in feed.push(raw, 2, 1)] == [OrderBook]
    (gap,) = feed.push(raw, 3, 1)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.healed_at) == ("repeat", 3)
    (control,) = feed.push(raw, 4, 2)
    assert isinstance(control, Control)
    assert feed.books["book:BTC/USD"].status == "live"


def test_an_update_without_a_time_and_a_pair_in_no_list_are_dead_letters() -> None:
    venue, feed = Kraken(1, 10), listed()
    raw = venue.snapshot()
    assert [type(one) for one in feed.push(raw.replace(b"BTC/USD", b"XYZ/USD"), 1)] == [DeadLetter]
    feed.push(raw, 1)
    letter, gap = feed.push(message("update", [], [], 1).replace(b'"timestamp"', b'"time"'), 2)
    assert (type(letter), type(gap)) == (DeadLetter, Gap)
