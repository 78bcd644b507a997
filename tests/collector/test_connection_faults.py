"""Each fault of a socket: what is lost is in a gap, everything else arrives once, and books are whole again."""

import asyncio

from marketdata_assets.exchanges.records import DeadLetter
from marketdata_demo.venues.venue import Venue, frame
from tests.collector.collecting import Run
from tests.collector.market_cases import BINANCE, BY_CHANNEL, DERIBIT, EVERY_MARKET, EVERY_VENUE, OKX, Case, collected


async def back_to_life(run: Run) -> None:
    """After a loss: all is subscribed to, books are whole, their gaps are healed, and no trade is unaccounted for."""
    await run.live()
    await run.emit(100)
    await run.caught_up()
    assert len(run.ids()) == len(set(run.ids()))
    open_gaps = [(one.instrument, one.ts_from) for one in run.gaps() if one.stream.startswith(("depth", "book"))]
    healed = [(one.instrument, one.ts_from) for one in run.gaps() if one.healed_at]
    assert set(open_gaps) <= set(healed)


@collected(*EVERY_MARKET, *BY_CHANNEL, backoff=0.2)
async def test_a_lost_socket_is_reopened_and_missed_data_is_recorded_as_gaps(
    run: Run, venue: Venue, case: Case
) -> None:
    await run.emit(100)
    venue.hang_up()
    await run.emit(50)  # nobody listens
    await run.until(lambda: sum(one.reconnects for one in run.connections) >= len(run.connections))
    await back_to_life(run)
    assert run.gaps(case.book, "reopened")
    assert {one.instrument for one in run.gaps(case.trades, "reopened")} == set(case.names)
    assert not any(one.healed_at for one in run.gaps(case.trades))
    assert {one.last_error for one in run.connections} == {"connection lost"}


@collected(BINANCE, hole=20.0)
async def test_continuous_trade_ids_of_binance_make_no_gap(run: Run, venue: Venue) -> None:
    await run.emit(100)
    await run.caught_up()
    venue.hang_up()
    await run.until(lambda: run.connections[0].reconnects)
    await run.ready()
    await run.until(lambda: len(run.ids()) > 120, emit=10)
    await run.caught_up()
    assert not run.gaps("trade")


@collected(*EVERY_VENUE, alike=True)
async def test_a_stream_that_stays_silent_after_a_reconnect_still_has_its_gap(
    run: Run, venue: Venue, case: Case
) -> None:
    await run.emit(20)
    venue.hang_up()
    await run.until(lambda: len(run.gaps(case.trades, "reopened")) == len(case.names))
    assert all(one.next_id is None and one.ts_from < one.ts_to for one in run.gaps(case.trades))
    assert run.market.watermark() is None


@collected(BINANCE, hole=0.05)
async def test_a_gap_that_trade_ids_disprove_is_healed(run: Run, venue: Venue) -> None:
    await run.emit(60)
    await run.caught_up()
    venue.hang_up()
    await run.until(lambda: len(run.gaps("trade")) == 2)
    await run.until(lambda: sum(one.healed_at is not None for one in run.gaps("trade")) == 2, emit=10)


@collected(*EVERY_VENUE, alike=True)
async def test_the_watermark_stays_at_the_loss_while_a_socket_is_down(run: Run, venue: Venue, case: Case) -> None:
    await run.emit(20)
    assert run.market.watermark() is None
    await asyncio.get_running_loop().run_in_executor(None, venue.away)
    await run.until(lambda: run.market.watermark())
    mark = run.market.watermark()
    await asyncio.get_running_loop().run_in_executor(None, venue.back)
    await run.until(lambda: run.gaps(case.trades))
    assert mark == min(one.ts_from for one in run.gaps(case.trades))


@collected(*EVERY_VENUE, alike=True)
async def test_a_stalled_network_loses_nothing(run: Run, venue: Venue) -> None:
    venue.hold()
    await run.emit(200)
    before = len(run.ids())
    venue.release()
    await back_to_life(run)
    assert len(run.ids()) > before
    assert not run.gaps()
    assert [one.reconnects for one in run.connections] == [0]


@collected(*EVERY_VENUE, alike=True, ping_after=0.2)
async def test_a_half_open_socket_is_detected_by_a_ping(run: Run, venue: Venue, case: Case) -> None:
    venue.half_open()
    await run.emit(50)
    await run.until(lambda: run.connections[0].reconnects)
    assert "half open" in (run.connections[0].last_error or "")
    await back_to_life(run)
    assert run.gaps(case.trades, "reopened")


@collected(*EVERY_VENUE, alike=True)
async def test_unreadable_messages_are_kept_and_the_socket_stays_open(run: Run, venue: Venue) -> None:
    venue.garbage()
    await back_to_life(run)
    assert [type(one) for one in run.trouble] == [DeadLetter]
    assert [one.reconnects for one in run.connections] == [0]
    assert not run.gaps()


@collected(DERIBIT)
async def test_a_message_before_a_ping_in_the_same_read_is_taken(run: Run, venue: Venue) -> None:
    venue.for_each_socket(lambda one: one.write(frame(b"not json") + frame(b"1", opcode=9)))
    await run.until(lambda: run.trouble)


@collected(OKX)
async def test_a_fragmented_message_is_reassembled(run: Run, venue: Venue) -> None:
    raw = b'{"event":"error","code":"60012","msg":"Invalid request"}'

    def cut(at: int, then: int) -> bytes:
        first, second, third = (frame(part, 0) for part in (raw[:at], raw[at:then], raw[then:]))
        return b"\x01" + first[1:] + b"\x00" + second[1:] + frame(b"", opcode=9) + third

    venue.for_each_socket(lambda one: one.write(cut(10, 30)))
    await run.until(lambda: run.trouble)
    assert [one.message for one in run.trouble] == ["Invalid request"]  # type: ignore[union-attr]
    venue.for_each_socket(lambda one: one.write(frame(raw)))
    await run.until(lambda: len(run.trouble) == 2)


@collected(BINANCE)
async def test_a_socket_with_only_unreadable_messages_is_dropped(run: Run, venue: Venue) -> None:
    for _ in range(100):
        venue.garbage()
    await run.until(lambda: run.connections[0].reconnects)
    assert "cannot be read" in (run.connections[0].last_error or "")
    await back_to_life(run)


@collected(*EVERY_VENUE, alike=True)
async def test_a_broken_websocket_is_reopened(run: Run, venue: Venue) -> None:
    venue.garbage(text=False)
    await run.until(lambda: run.connections[0].reconnects)
    assert "opcode" in (run.connections[0].last_error or "")
    await back_to_life(run)


@collected(*EVERY_VENUE, alike=True)
async def test_sockets_closed_by_the_venue_are_reopened(run: Run, venue: Venue) -> None:
    venue.close_all(1012)
    await run.until(lambda: run.connections[0].reconnects)
    assert "1012" in (run.connections[0].last_error or "")
    await back_to_life(run)


@collected(*EVERY_VENUE, alike=True)
async def test_an_unavailable_venue_is_retried_forever_with_backoff(run: Run, venue: Venue, case: Case) -> None:
    await run.emit(50)
    await asyncio.get_running_loop().run_in_executor(None, venue.away)
    await run.until(lambda: _failures(run) >= 5)
    assert run.connections[0].status in ("backoff", "connecting")
    assert run.market.book(case.names[0]) is None  # what nobody keeps up to date is not to be believed
    await asyncio.get_running_loop().run_in_executor(None, venue.back)
    await back_to_life(run)


@collected(*EVERY_VENUE, alike=True)
async def test_rejected_handshakes_are_retried(run: Run, venue: Venue) -> None:
    venue.no_new_sockets(3)
    venue.hang_up()
    await run.until(lambda: _failures(run) >= 3)
    assert "503" in (run.connections[0].last_error or "")
    await back_to_life(run)


@collected(*EVERY_VENUE, *BY_CHANNEL)
async def test_a_gap_in_a_book_invalidates_that_book_until_it_is_resynced(run: Run, venue: Venue, case: Case) -> None:
    name = case.names[0]
    venue.skip(1, case.book_key(name))
    await run.until(lambda: run.gaps(case.book, case.lost), emit=5)
    await run.until(lambda: any(one.healed_at for one in run.gaps(case.book, case.lost)), emit=5)
    await back_to_life(run)
    assert {one.instrument for one in run.gaps()} == {*(case.names if case.shared else [name])}
    assert [one.reconnects for one in run.connections] == [0]


@collected(*EVERY_VENUE, *BY_CHANNEL)
async def test_a_missing_trade_shows_in_the_next_number(run: Run, venue: Venue, case: Case) -> None:
    await run.emit(50)
    venue.skip(1, case.trade_key(case.names[0]))
    await run.until(lambda: run.gaps(case.trades, "sequence"), emit=5)
    await run.caught_up()
    (gap,) = run.gaps(case.trades)
    assert (gap.instrument, (gap.next_id or 0) - (gap.last_id or 0)) == (case.names[0], 2)


@collected(*EVERY_VENUE, *BY_CHANNEL)
async def test_an_unreadable_message_of_trades_is_a_gap(run: Run, venue: Venue, case: Case) -> None:
    venue.spoil(1, case.trade_key(case.names[0]))
    await run.until(lambda: run.gaps(case.trades), emit=5)
    assert {one.instrument for one in run.gaps()} == {*(case.names if case.shared else case.names[:1])}
    assert len(run.trouble) == 1


@collected(BINANCE)
async def test_a_duplicate_trade_is_dropped(run: Run, venue: Venue) -> None:
    venue.repeat(3, "@trade")
    await run.until(lambda: run.market.state().duplicates == 3, emit=5)
    await back_to_life(run)


def _failures(run: Run) -> int:
    return max(one.failures for one in run.connections)
