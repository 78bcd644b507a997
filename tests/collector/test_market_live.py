"""A market while it runs: snapshots of its books, silent subscriptions, symbols that come and go, and its end."""

import asyncio
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.collector.connections import Market, Timing, adapter_for
from marketdata_assets.collector.connections import market as market_module
from marketdata_assets.collector.errors import NotListed, UnknownSymbols
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.records import Gap, Liquidation, OpenInterest, OrderBook, Trade
from marketdata_assets.exchanges.replay import outcomes
from marketdata_demo.venues.venue import Venue
from tests.collector.collecting import Run, collecting
from tests.collector.in_loop import in_loop
from tests.collector.market_cases import (
    BINANCE,
    BY_CHANNEL,
    DERIBIT,
    EVERY_VENUE,
    LINEAR,
    OKX,
    Case,
    collect,
    collected,
    each,
)
from tests.collector.test_connection_faults import back_to_life


class Deaf(set[str]):
    """Subscriptions that stay silent however often they are asked for."""

    def discard(self, _: str) -> None: ...

    def difference_update(self, *_: object) -> None: ...


@collected(BINANCE)
async def test_rejected_snapshots_are_retried_and_the_book_goes_live(run: Run, venue: Venue) -> None:
    venue.fail(429, 2, where="depth", retry="0.3")
    venue.fail(500, 1, where="depth")
    venue.skip(1, "abcusdt@depth")
    await run.until(lambda: any(one.healed_at for one in run.gaps("depth", "sequence")), emit=5)
    await back_to_life(run)


@collected(BINANCE, snapshot=30.0)
async def test_snapshots_are_requested_within_the_limit(run: Run, venue: Venue) -> None:
    before = len([line for line in venue.lines if "depth" in line])
    for _ in range(3):
        venue.skip(1, "abcusdt@depth")
        await run.until(lambda: not venue._planned, emit=5)
        await asyncio.sleep(0.1)
    await run.emit(20)
    assert len([line for line in venue.lines if "depth" in line]) == before
    assert run.market.state().resyncs_pending == 1


@in_loop
async def test_the_instrument_list_is_retried_until_it_arrives(tmp_path: Path) -> None:
    with BINANCE.open(BINANCE.names) as venue:
        venue.fail(503, 6, where="exchangeInfo")
        async with collecting(venue, "binance", "spot", BINANCE.names, ["trade"], tmp_path) as run:
            await run.until(lambda: run.market.state().jobs[0].failures)
            with pytest.raises(NotListed, match="503"):
                await run.market.add(["ABCUSDT"])
            await run.ready()


@collected(*EVERY_VENUE, silence={"trade": 1.0})
async def test_only_the_silent_subscription_is_restarted(run: Run, venue: Venue, case: Case) -> None:
    key = case.trade_key(case.names[0])
    venue.rate = 300.0
    await run.until(lambda: run.subscription(key).last_message_at)
    socket = venue.sockets[0]
    venue.call(socket.muted.add, key)
    await run.until(lambda: run.subscription(key).resubscribed)
    await run.until(lambda: run.subscription(key).status == "confirmed")
    venue.rate = 0.0
    assert venue.sockets == [socket]
    await run.caught_up()
    assert {one.cause for one in run.gaps()} == {"sequence"}
    assert sum(one.resubscribed for one in run.market.state().subscriptions) == 1
    assert run.connections[0].planned + run.connections[0].reconnects == 0


@collected(*EVERY_VENUE, *BY_CHANNEL, silence={"trade": 0.6})
async def test_a_subscription_that_stays_silent_has_its_socket_replaced(run: Run, venue: Venue, case: Case) -> None:
    key = case.trade_key(case.names[0])
    venue.rate = 300.0
    await run.until(lambda: run.subscription(key).last_message_at)
    venue.call(setattr, venue.sockets[0], "muted", Deaf([key]))
    await run.until(lambda: run.connections[0].planned == 1)
    await run.until(lambda: run.subscription(key).status == "confirmed")
    venue.rate = 0.0
    assert run.connections[0].reconnects == 0


@collected(*EVERY_VENUE, alike=True)
async def test_a_failing_callback_is_reported_and_its_data_becomes_a_gap(run: Run, venue: Venue, case: Case) -> None:
    def refuse(records: list[Any]) -> None:
        if not any(isinstance(one, Trade) for one in records):
            return
        run.take = None
        lost.append(time.time_ns())
        raise KeyError("no such sink")

    lost: list[int] = []
    run.take = refuse
    await run.until(lambda: run.gaps(case.trades, "reopened"), emit=5)
    assert run.connections[0].last_error == "KeyError 'no such sink'"
    assert all(one.ts_from < lost[0] < one.ts_to for one in run.gaps(case.trades))


@each(*EVERY_VENUE)
def test_symbols_are_added_and_removed_without_touching_the_others(case: Case, tmp_path: Path) -> None:
    first, second = case.names

    async def act(run: Run, venue: Venue) -> None:
        assert run.market.instruments == [first]
        assert await run.market.add([second]) == [second]
        assert await run.market.add([second]) == []
        await run.live()
        await run.until(lambda: any(name == second for name, _ in run.ids()), emit=5)
        assert await run.market.remove([first]) == [first]
        await run.until(lambda: not [one for one in venue.subscribed() if first.lower() in one.lower()])
        assert run.market.book(first) is None
        assert {one.instrument for one in run.market.state().books} == {second}
        run.records.clear()
        await run.emit(100)
        await run.until(lambda: len(run.ids()) > 20, emit=5)
        assert {one.instrument for one in run.records} == {second}
        assert await run.market.add([first]) == [first]
        await run.live()
        await run.until(lambda: any(name == first for name, _ in run.ids()), emit=5)
        assert not run.of(Gap)
        assert len(venue.sockets) == 1
        assert run.connections[0].planned + run.connections[0].reconnects == 0

    collect(case, tmp_path, act, names=[first])


@collected(BINANCE, names=["abcusdt"])
async def test_the_last_symbol_of_a_connection_ends_it_and_another_begins_one(run: Run, venue: Venue) -> None:
    assert await run.market.remove(["ABC-USDT"]) == ["ABCUSDT"]
    assert not run.connections
    await run.until(lambda: not venue.sockets)
    assert await run.market.add(["XYZUSDT"]) == ["XYZUSDT"]
    await run.live()


@collected(BINANCE, names=["ABCUSDT", "NOTHING"])
async def test_unlisted_symbols_are_named_and_none_of_the_request_is_added(run: Run, venue: Venue) -> None:
    assert run.market.state().unknown == ("NOTHING is not listed",)
    with pytest.raises(UnknownSymbols) as caught:
        await run.market.add(["XYZUSDT", "NOBODY-USDT"])
    assert caught.value.symbols == ["NOBODY-USDT"]
    assert run.market.instruments == ["ABCUSDT"]


@collected(BINANCE, names=["ABCUSDT", "NEWUSDT"], listing=0.2)
async def test_a_symbol_that_is_listed_later_is_followed_then(run: Run, venue: Venue) -> None:
    assert run.market.state().unknown == ("NEWUSDT is not listed",)
    venue.markets["NEWUSDT"] = venue.market("NEWUSDT", 1, 9)
    await run.until(lambda: not run.market.state().unknown)
    await run.until(lambda: any(name == "NEWUSDT" for name, _ in run.ids()), emit=5)


def test_a_symbol_newer_than_the_list_refreshes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "RELIST_SECONDS", 0.0)

    async def act(run: Run, venue: Venue) -> None:
        venue.markets["NEWUSDT"] = venue.market("NEWUSDT", 1, 9)
        assert await run.market.add(["NEWUSDT"]) == ["NEWUSDT"]
        await run.live()

    collect(BINANCE, tmp_path, act, names=["ABCUSDT"])


@collected(OKX, types=("trade", "orderbook", "liquidation"))
async def test_a_channel_of_a_whole_market_ends_with_its_last_instrument(run: Run, venue: Venue) -> None:
    first, second = OKX.names
    await run.market.remove([first])
    assert run.subscription("liquidation-orders:SWAP")
    await run.market.remove([second])
    assert not run.connections
    await run.until(lambda: not venue.sockets)


@collected(OKX, names=OKX.names[:1], types=("trade", "orderbook", "liquidation"))
async def test_liquidations_of_other_instruments_are_dropped(run: Run, venue: Venue) -> None:
    venue.rate = 100.0
    await run.until(lambda: len(run.of(Liquidation)) >= 2)
    assert {one.instrument for one in run.of(Liquidation)} == {OKX.names[0]}


@each(*EVERY_VENUE, alike=True)
@in_loop
async def test_a_graceful_stop_takes_everything_sent_before(case: Case, tmp_path: Path) -> None:
    with case.open(case.names) as venue:
        async with collecting(venue, case.exchange, case.market_type, case.names, ["trade"], tmp_path) as run:
            await run.ready()
            await run.emit(500)
            await run.market.stop()
            kept = len(run.records)
            assert sorted(run.ids()) == sorted(venue.source().ids())
            await run.until(lambda: not venue.sockets)
            await run.emit(50)
            await asyncio.sleep(0.1)
            assert len(run.records) == kept
            assert not run.gaps()
            assert {one.status for one in run.connections} == {"closed"}


@in_loop
async def test_a_market_stops_while_its_venue_is_unavailable(tmp_path: Path) -> None:
    with OKX.open(OKX.names) as venue:
        await asyncio.get_running_loop().run_in_executor(None, venue.away)
        async with collecting(venue, "okx", "linear", OKX.names, ["trade"], tmp_path) as run:
            await run.until(lambda: run.market.state().jobs[0].runs)


@in_loop
async def test_a_market_that_is_cancelled_leaves_no_socket_behind(tmp_path: Path) -> None:
    with DERIBIT.open(DERIBIT.names) as venue:
        adapter = adapter_for("deribit", "inverse", rest_url=venue.url, socket_url=venue.ws_url)
        made: list[object] = []
        market = Market(
            adapter, DERIBIT.names, ["trade"], budgets=tmp_path, on_records=made.extend, timing=Timing(goodbye=0.2)
        )
        task = asyncio.create_task(market.run())
        while not venue.subscribed():
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while venue.sockets:
            await asyncio.sleep(0.02)


@each(*EVERY_VENUE, alike=True)
def test_the_time_since_the_checkpoint_is_a_gap_of_each_instrument(case: Case, tmp_path: Path) -> None:
    since = 1_700_000_000_000_000_000

    async def act(run: Run, venue: Venue) -> None:
        await run.until(lambda: len(run.gaps(case.trades, "restarted")) == 2, emit=5)
        await run.until(lambda: run.market.watermark() is None, emit=5)
        assert {one.ts_from for one in run.gaps()} == {since}
        books = run.gaps(case.book, "restarted")
        snapshots = {one.instrument: one for one in reversed(run.of(OrderBook)) if one.kind == "snapshot"}
        assert {one.instrument for one in books} == {*case.names}, "a book that was not collected was not known"
        for one in books:
            assert one.healed_at == one.ts_to == snapshots[one.instrument].ts_recv
        assert all(one.last_id is None for one in run.gaps())
        assert run.market.watermark() is None

    collect(case, tmp_path, act, since=since)


@collected(*EVERY_VENUE, wire=True)
async def test_recorded_entries_replay_to_the_same_records(run: Run, venue: Venue) -> None:
    def replayed(run: Run) -> list[Trade]:
        feed, made = run.market.adapter.feed(), []
        for one in run.wire:
            if one.kind == "http":
                feed.answer(one.url, one.raw, one.ts_recv)
            elif one.kind == "in":
                made += feed.push(one.raw, one.ts_recv, one.connection)
        return [one for one in made if isinstance(one, Trade)]

    await run.emit(200)
    await run.caught_up()
    assert replayed(run) == run.of(Trade)
    assert {one.kind for one in run.wire} == {"in", "out", "open", "http"}
    assert all(isinstance(one, Entry) and (one.kind == "open" or one.raw) for one in run.wire)


def recorded_books(run: Run) -> dict[str, int]:
    """How many records of whole books each instrument has, each of them what the records before it make."""
    books: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    reached: dict[str, int | None] = {}
    counted: dict[str, int] = {}
    for one in run.of(OrderBook):
        levels = dict(one.bids), dict(one.asks)
        if one.kind == "checkpoint":
            assert (levels, one.last_id, one.ts_event) == (books[one.instrument], reached[one.instrument], one.ts_recv)
            counted[one.instrument] = counted.get(one.instrument, 0) + 1
        elif one.kind == "snapshot":
            books[one.instrument] = levels
        else:
            for side, changed in zip(books[one.instrument], levels, strict=True):
                side.update(changed)
                for price in [price for price, size in side.items() if not Decimal(size)]:
                    del side[price]
        reached[one.instrument] = one.last_id
    return counted


@collected(*EVERY_VENUE, alike=True, book_checkpoint=0.3)
async def test_whole_books_are_recorded_again_and_again(run: Run, venue: Venue, case: Case) -> None:
    await run.until(lambda: all(recorded_books(run).get(name, 0) >= 2 for name in case.names), emit=5)


@collected(*EVERY_VENUE, alike=True, book_checkpoint_updates=30)
async def test_the_book_of_a_busy_instrument_is_recorded_earlier(run: Run, venue: Venue, case: Case) -> None:
    await run.until(lambda: recorded_books(run).keys() == set(case.names), emit=5)


@collected(*EVERY_VENUE, wire=True)
async def test_a_lost_socket_is_in_the_capture_and_its_books_are_out_of_sync_there_too(
    run: Run, venue: Venue, case: Case
) -> None:
    await run.emit(50)
    venue.hang_up()
    stream = case.book if case.exchange != "deribit" else "book."
    await run.until(lambda: len([one for one in run.gaps(stream, "reopened") if one.healed_at]) == 2, emit=5)
    await run.caught_up()
    assert "closed" in {one.kind for one in run.wire}
    feed = run.market.adapter.feed()
    replayed = [one for entry in run.wire for one in outcomes(feed, entry) if isinstance(one, Gap)]
    assert sorted(replayed, key=repr) == sorted(run.gaps(), key=repr)


@collected(LINEAR, types=("trade", "orderbook", "open_interest"), polls={"open_interest": 0.2})
async def test_open_interest_of_binance_is_polled(run: Run, venue: Venue) -> None:
    venue.fail(400, 1, where="openInterest")
    await run.until(lambda: len(run.of(OpenInterest)) >= 4)
    job = next(one for one in run.market.state().jobs if one.name == "open_interest")
    assert job.runs >= 2
    assert {one.instrument for one in run.of(OpenInterest)} == set(LINEAR.names)
