"""A socket is replaced before its time is over: the two overlap, nothing is lost, and nothing comes twice."""

import asyncio

from marketdata_assets.collector.connections.connection import Connection
from marketdata_assets.exchanges.records import OrderBook, Trade
from marketdata_demo.venues.okx_venue import OkxVenue
from marketdata_demo.venues.venue import Venue
from tests.collector.collecting import LONGEST, Run
from tests.collector.market_cases import BINANCE, DERIBIT, EVERY_MARKET, EVERY_VENUE, HYPERLIQUID, OKX, Case, collected
from tests.collector.test_connection_faults import back_to_life


def planned(run: Run) -> int:
    return min(one.planned for one in run.connections)


def unbroken(run: Run, name: str) -> bool:
    """Whether each change of a book follows the one before it, or a snapshot that came between."""
    last = None
    for one in (one for one in run.of(OrderBook) if one.instrument == name):
        if one.kind == "delta" and last is not None:
            follows = one.first_id == last + 1 if one.prev_id is None else one.prev_id <= last
            if not follows:
                return False
        last = one.last_id
    return True


@collected(*EVERY_MARKET, HYPERLIQUID, age=0.5, types=("trade", "orderbook", "ticker"))
async def test_a_planned_replacement_loses_and_duplicates_nothing(run: Run, venue: Venue, case: Case) -> None:
    venue.rate = 500.0
    await run.until(lambda: planned(run) >= 2)
    venue.rate = 0.0
    await run.emit(100)
    await run.caught_up()
    ids = run.ids()
    assert len(ids) == len(set(ids)) == sum(map(len, venue.source().trades.values()))
    for name in case.names:
        assert [number for one, number in ids if one == name] == [made.number for made in venue.source().trades[name]]
        assert unbroken(run, name)
    assert run.market.state().duplicates > 0
    assert not run.gaps()
    assert not run.trouble
    assert {one.reconnects for one in run.connections} == {0}


@collected(*EVERY_VENUE, alike=True, age=0.3, overlap=LONGEST)
async def test_a_socket_lost_during_its_replacement_is_covered_by_the_new_one(
    run: Run, venue: Venue, case: Case
) -> None:
    connection = held(run)
    venue.rate = 300.0
    await run.until(lambda: _both_bring(connection))
    venue.call(venue.sockets[0].transport.abort)
    await run.until(lambda: run.connections[0].reconnects == 1 and len(venue.sockets) == 1)
    venue.rate = 0.0
    await back_to_life(run)
    assert run.connections[0].planned == 0
    assert not run.gaps(case.trades)


@collected(*EVERY_VENUE, alike=True, age=0.3, overlap=LONGEST)
async def test_the_old_socket_continues_when_the_new_one_is_lost(run: Run, venue: Venue, case: Case) -> None:
    connection = held(run)
    venue.rate = 300.0
    await run.until(lambda: _both_bring(connection))
    venue.call(venue.sockets[1].transport.abort)
    del connection.covers
    await run.until(lambda: planned(run) >= 1)
    venue.rate = 0.0
    await back_to_life(run)
    assert run.connections[0].reconnects == 0
    assert not run.gaps(case.trades)


@collected(*EVERY_VENUE, age=0.3, overlap=LONGEST)
async def test_books_continue_over_the_old_socket_when_the_new_one_is_lost(run: Run, venue: Venue, case: Case) -> None:
    connection = held(run)
    venue.rate = 200.0
    await run.until(lambda: connection.replacement and len(connection.replacement.seen) == 4)
    venue.no_new_sockets(10_000)
    venue.call(venue.sockets[1].transport.abort)
    await run.until(lambda: connection.replacement is None)
    venue.rate = 0.0
    await back_to_life(run)
    for name in case.names:
        await run.until(lambda name=name: run.is_the_venues(name, case.best))  # type: ignore[misc]
    assert run.connections[0].planned + run.connections[0].reconnects == 0


def held(run: Run) -> Connection:
    """The connection, whose new socket is never thought to bring all, so that the overlap lasts."""
    (connection,) = run.market.connections
    connection.covers = lambda *_: False  # type: ignore[method-assign]
    return connection


def _both_bring(connection: Connection) -> bool:
    """Whether the old socket brought something since all is confirmed on the new one."""
    old, new = connection.socket, connection.replacement
    if not (old and new and new.requests) or new.unconfirmed:
        return False
    return old.last_at > max(one.confirmed_at for one in new.requests.values())


def _last_id(run: Run, name: str) -> int | None:
    book = run.market.book(name)
    return book.last_id if book else None


@collected(BINANCE, age=0.3)
async def test_the_old_socket_continues_when_the_venue_rejects_the_new_one(run: Run, venue: Venue) -> None:
    venue.no_new_sockets(5)
    venue.rate = 300.0
    await run.until(lambda: planned(run) >= 1)
    venue.rate = 0.0
    await back_to_life(run)
    assert not run.gaps()
    assert run.connections[0].reconnects == 0


NOTICES = {
    "okx": b'{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade."}',
    "binance": b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
}


@collected(OKX, BINANCE)
async def test_a_socket_is_replaced_before_the_venue_closes_it(run: Run, venue: Venue, case: Case) -> None:
    venue.garbage(NOTICES[case.exchange])
    await run.until(lambda: planned(run) == 1)
    await back_to_life(run)
    assert not run.gaps()


@collected(OKX, age=1.0)
async def test_a_book_that_does_not_move_to_the_new_socket_is_invalid_until_resynced(run: Run, venue: Venue) -> None:
    assert isinstance(venue, OkxVenue)
    usual, venue._snapshot = venue._snapshot, lambda _: b"pong"  # type: ignore[method-assign]
    venue.rate = 200.0
    await run.until(lambda: planned(run) == 1)
    await run.until(lambda: len(run.gaps("books", "reopened")) == 2)
    assert run.market.book(OKX.names[0]) is None
    venue._snapshot = usual  # type: ignore[method-assign]
    venue.rate = 0.0
    await back_to_life(run)


@collected(DERIBIT, age=0.6)
async def test_a_venue_that_closes_old_sockets_closes_none_of_ours(run: Run, venue: Venue) -> None:
    venue.lifetime = 1.5
    venue.rate = 200.0
    await run.until(lambda: planned(run) >= 3)
    venue.rate = 0.0
    await back_to_life(run)
    assert run.connections[0].reconnects == 0
    assert not run.gaps()


@collected(*EVERY_VENUE, alike=True, age=0.3, overlap=LONGEST)
async def test_a_new_socket_takes_over_when_it_delivers_everything(run: Run, venue: Venue, case: Case) -> None:
    connection = held(run)
    venue.rate = 300.0
    await run.until(lambda: _both_bring(connection))
    before, new = planned(run), venue.sockets[-1]
    venue.rate = 0.0
    venue.call(new.muted.update, set(map(case.trade_key, case.names)))
    await run.until(lambda: connection.replacement and connection.replacement.messages == new.sent)
    assert connection.replacement
    connection.replacement.seen.clear()
    venue.rate = 300.0
    await asyncio.sleep(0.1)
    del connection.covers
    await asyncio.sleep(0.4)  # four times as long as it takes otherwise
    assert planned(run) == before
    venue.call(new.muted.clear)
    await run.until(lambda: planned(run) > before)


@collected(OKX, age=0.5, overlap=1.0, repeats=0.5)
async def test_an_incomplete_new_socket_takes_over_after_the_overlap(run: Run, venue: Venue) -> None:
    await run.until(lambda: len(venue.sockets) == 2 and len(venue.sockets[1].streams) == 4)
    venue.call(venue.sockets[1].muted.update, set(map(OKX.trade_key, OKX.names)))
    venue.rate = 300.0
    await run.until(lambda: planned(run) == 1)
    assert run.connections[0].reconnects == 0
    assert run.of(Trade)
