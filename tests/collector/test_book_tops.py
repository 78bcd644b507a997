"""Records of the best levels of books: how often, for whom, and that none is made of a book that is out of sync."""

import asyncio
from pathlib import Path
from typing import Any

import nats

from marketdata_assets.collector.items import BookTop, BookTops, Item, items, message_id, subject
from marketdata_assets.collector.jetstream.stream import consumers
from marketdata_assets.collector.queue import BoundedQueue
from marketdata_assets.collector.servers import Servers
from marketdata_demo.venues.binance_venue import BinanceVenue
from tests.collector.collector_records import START, delta, gap, snapshot, trade
from tests.collector.in_loop import in_loop, until
from tests.collector.service_runs import market, running, text_of

BOOK = [[("1.5", "3"), ("1.4", "2")], [("1.6", "1")]]


def top(number: int) -> BookTop:
    return BookTop.of(delta(number), (BOOK[0], [("1.6", str(number))]))


@in_loop
async def test_a_record_is_made_of_books_that_changed_and_not_more_often() -> None:
    taken: list[Item] = []
    book: list[Any] = [BOOK]
    tops = BookTops(
        2, 0.02, lambda *about: book[0] if about[2] == "ABCUSDT" and about[3] == 2 else None, [taken.extend]
    )
    task = asyncio.create_task(tops.run())
    tops.note([snapshot(1), delta(2), trade(3), delta(3)])
    await until(lambda: taken)
    (item,) = taken
    assert item.record == BookTop.of(delta(3), (BOOK[0], BOOK[1]))
    assert item.record.bids == (("1.5", "3"), ("1.4", "2"))
    assert (item.record.ts_recv, item.record.last_id) == (START + 3, 3)
    tops.note([delta(4)])
    await asyncio.sleep(0.1)
    assert len(taken) == 1, "levels further down have changed"
    book[0] = None
    tops.note([gap(5)])
    await asyncio.sleep(0.1)
    assert len(taken) == 1
    book[0] = [BOOK[0], []]
    tops.note([snapshot(6)])
    await until(lambda: len(taken) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_full_queue_keeps_the_newest_of_each_book() -> None:
    queue = BoundedQueue(4, lambda *_: None)
    queue.put(items([trade(number) for number in range(4)]))
    queue.put(items([top(1), top(2)]))
    assert [type(item.record).__name__ for item in queue.take(4)] == ["Trade"] * 4
    assert [item.record for item in queue.take(4)] == [top(2)]
    assert (queue.dropped, queue.conflated) == (0, 1)


def test_it_has_a_subject_of_its_own_and_no_consumer_that_loads_it() -> None:
    assert subject(top(1)) == "market.book_top.binance.linear.ABC-USDT"
    assert message_id(top(1)) == message_id(top(1)) != message_id(top(2))
    assert "book_top" not in consumers()
    assert "orderbook" in consumers()


@in_loop
async def test_jetstream_has_the_best_levels_that_the_book_has(tmp_path: Path, nats_url: str) -> None:
    with BinanceVenue("spot", ["ABCUSDT"]) as venue:
        wanted = {"orderbook_top": {"levels": 3, "interval_ms": 10}}
        text = text_of({"spot": market(venue, ["ABCUSDT"], ["trade", "orderbook"])}, **wanted)
        async with running(text, tmp_path, Servers(nats_url=nats_url)) as run:
            await run.subscribed()
            while not (book := run.collector._book("binance", "spot", "ABCUSDT")):
                await run.emit(venue, 5)
                await asyncio.sleep(0.02)
            await run.emit(venue, 100)
            client = await nats.connect(nats_url)
            newest: dict[str, Any] = {}
            async with asyncio.timeout(30):
                while newest.get("bids") != [list(level) for level in book.bids[:3]]:
                    await asyncio.sleep(0.05)
                    book = run.collector._book("binance", "spot", "ABCUSDT") or book
                    newest = await last(client)
            assert newest["asks"] == [list(level) for level in book.asks[:3]]
            assert newest["last_id"] == book.last_id
            await client.close()
    assert run.report
    assert run.report.remaining == 0


async def last(client: Any) -> dict[str, Any]:
    import json

    try:
        found = await client.jetstream().get_last_msg("MARKET", "market.book_top.binance.spot.ABC-USDT")
    except nats.js.errors.NotFoundError:
        return {}
    return dict(json.loads(found.data))
