"""What a stream deletes before it is loaded is a gap: with its span, for each instrument and type, and nothing else."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import nats
import pytest
from msgspec.structs import replace

from marketdata_assets.collector.drain import Drained, Pace, drain
from marketdata_assets.collector.items import items
from marketdata_assets.collector.jetstream import stream as streams
from marketdata_assets.collector.jetstream.inspection import backlog, stream_state
from marketdata_assets.collector.jetstream.stream import Stream, ensure
from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables import gaps, schema
from marketdata_assets.stores import clickhouse
from tests.collector.in_loop import in_loop
from tests.collector.jetstream_cases import leave_in_hand
from tests.collector.streamed import publish, records
from tests.collector.test_drain import KILLED_AT_ITS_ACK

QUICK = Pace(batch_rows=1000, batch_seconds=0.2)


def of_types(numbers: Sequence[int], *types: str) -> list[Any]:
    """Records of some types; without the gap, as nothing is missing at the venue."""
    wanted = types or tuple(name for name in schema.TABLES if name != "gap")
    made = (dict(zip(schema.TABLES, records(number), strict=True)) for number in numbers)
    return [one[name] for one in made for name in wanted]


async def keep(url: str, messages: int) -> None:
    """Let the stream reach a limit: only its newest messages stay."""
    await ensure(url, Stream(max_messages=messages))
    await ensure(url, Stream())


def found(url: str) -> list[Gap]:
    with clickhouse.connect(url) as client:
        everything = [gap for gap in gaps.open_gaps(client, ".*") if gap.cause == gaps.DISCARDED]
    return sorted(everything, key=lambda gap: (gap.instrument, gap.stream))


async def drained(tables_url: str, url: str, *types: str) -> Drained:
    return await drain(tables_url, url, types=types or None, pace=QUICK)


def span(gap: Gap) -> tuple[int, int]:
    return gap.ts_from, gap.ts_to


@in_loop
async def test_discarded_messages_are_gaps_from_the_last_loaded_to_the_first_that_is_left(
    tables_url: str, nats_url: str
) -> None:
    await publish(nats_url, items(of_types(range(10))))
    assert (await drained(tables_url, nats_url)).lost_gaps == 0
    await publish(nats_url, items(of_types(range(10, 50))))
    await keep(nats_url, 8 * 10)
    assert (await drained(tables_url, nats_url)).lost_gaps == 8 + 1, "the changes that are left have no snapshot"
    by_stream = {gap.stream: gap for gap in reversed(found(tables_url))}
    assert set(by_stream) == {
        "trade",
        "orderbook",
        "kline_1m",
        "ticker",
        "funding_rate",
        "open_interest",
        "liquidation",
        "instrument_state",
    }
    for stream, gap in by_stream.items():
        name = "kline" if stream == "kline_1m" else stream
        [last], [first] = of_types([9], name), of_types([40], name)
        assert span(gap) == (last.ts_recv, first.ts_recv)
        assert (gap.exchange, gap.market_type, gap.symbol, gap.instrument) == (
            "binance",
            "linear",
            "BTC-USDT",
            "BTCUSDT",
        )
    assert (await drained(tables_url, nats_url)).lost_gaps == 0


@in_loop
async def test_changes_of_books_that_lost_their_snapshot_are_in_the_gap_up_to_the_next_one(
    tables_url: str, nats_url: str
) -> None:
    """However many drains come between, and also of an instrument that no drain has seen before."""
    changes = of_types(range(60), "orderbook")
    other = [replace(one, instrument="NEWUSDT", symbol="NEW-USDT") for one in changes]
    await publish(nats_url, items(changes[:10]))
    await drained(tables_url, nats_url, "orderbook")
    await publish(nats_url, items(changes[10:30]))
    await keep(nats_url, 5)
    await drained(tables_url, nats_url, "orderbook")
    assert [span(gap) for gap in found(tables_url)] == [
        (changes[9].ts_recv, changes[25].ts_recv),
        (changes[25].ts_recv, changes[29].ts_recv),
    ]
    await publish(nats_url, items([*changes[30:40], *other[35:40]]))
    await drained(tables_url, nats_url, "orderbook")
    whole = [replace(one[40], kind="checkpoint", first_id=None, prev_id=None) for one in (changes, other)]
    await publish(nats_url, items([whole[0], *changes[41:50], *other[40:45], whole[1], *other[45:]]))
    await drained(tables_url, nats_url, "orderbook")
    spans = {
        name: [span(gap) for gap in found(tables_url) if gap.instrument == name] for name in ("BTCUSDT", "NEWUSDT")
    }
    assert spans["BTCUSDT"][2:] == [(changes[29].ts_recv, changes[39].ts_recv), (changes[39].ts_recv, whole[0].ts_recv)]
    assert max(end for _, end in spans["NEWUSDT"]) == whole[1].ts_recv
    await publish(nats_url, items(changes[50:]))
    assert (await drained(tables_url, nats_url, "orderbook")).lost_gaps == 0


@in_loop
async def test_deleting_what_was_loaded_is_no_loss_for_rare_types_either(tables_url: str, nats_url: str) -> None:
    """A stream at its limits deletes all the time; of a type without messages, nothing is missing."""
    await publish(nats_url, items(of_types(range(3), "liquidation")))
    for begin in range(0, 60, 20):
        await publish(nats_url, items(of_types(range(begin, begin + 20), "trade")))
        assert (await drained(tables_url, nats_url, "trade", "liquidation")).lost_gaps == 0
        await keep(nats_url, 5)
    await publish(nats_url, items(of_types(range(100, 103), "liquidation")))
    assert (await drained(tables_url, nats_url, "trade", "liquidation")).lost_gaps == 0
    assert found(tables_url) == []


@in_loop
async def test_first_drain_records_what_the_stream_deleted_before_it(tables_url: str, nats_url: str) -> None:
    await publish(nats_url, items(of_types(range(50), "trade", "ticker")))
    await keep(nats_url, 20)
    async with streams.connected(nats_url) as client:
        info = await client.jetstream().stream_info(Stream.name)
    await drained(tables_url, nats_url, "trade", "ticker")
    trade = next(gap for gap in found(tables_url) if gap.stream == "trade")
    [first] = of_types([40], "trade")
    assert trade.ts_to == max(first.ts_recv, trade.ts_from)
    assert info.created is not None
    assert 0 <= trade.ts_from / 1e9 - info.created.timestamp() < 60, "no message is older than the stream's consumers"


@in_loop
async def test_instruments_that_were_first_seen_after_the_last_drain_or_never_again_have_their_gap(
    tables_url: str, nats_url: str
) -> None:
    old, new = of_types(range(20), "trade"), of_types(range(20, 50), "trade")
    gone = [replace(one, instrument="OLDUSDT", symbol="OLD-USDT") for one in old]
    came = [replace(one, instrument="NEWUSDT", symbol="NEW-USDT") for one in new]
    await publish(nats_url, items([*old, *gone]))
    await drained(tables_url, nats_url, "trade")
    await publish(nats_url, items([one for pair in zip(new, came, strict=True) for one in pair]))
    await keep(nats_url, 10)
    await drained(tables_url, nats_url, "trade")
    trades = {gap.instrument: gap for gap in found(tables_url) if gap.stream == "trade"}
    assert span(trades["BTCUSDT"]) == (old[-1].ts_recv, new[25].ts_recv)
    assert trades["OLDUSDT"].ts_from == gone[-1].ts_recv
    assert trades["OLDUSDT"].ts_to >= new[24].ts_recv, "it may have had trades until the oldest message that is left"
    assert trades["NEWUSDT"].ts_to >= came[25].ts_recv


@in_loop
async def test_what_a_killed_drain_had_in_flight_is_a_gap_when_it_is_deleted(tables_url: str, nats_url: str) -> None:
    """The server moves the consumer past deliveries whose messages it deletes, as if they had been acked."""
    await publish(nats_url, items(of_types(range(30), "trade")))
    await drained(tables_url, nats_url, "trade")
    await publish(nats_url, items(of_types(range(30, 60), "trade")))
    await leave_in_hand(nats_url)
    await keep(nats_url, 5)
    await drained(tables_url, nats_url, "trade")
    trade = next(gap for gap in found(tables_url) if gap.stream == "trade")
    [last], [first] = of_types([29], "trade"), of_types([55], "trade")
    assert span(trade) == (last.ts_recv, first.ts_recv)


@in_loop
async def test_losing_recorded_gaps_makes_every_type_doubtful(tables_url: str, nats_url: str) -> None:
    """All types but the gaps are drained, and then gaps of the collector are deleted that nobody has read."""
    await publish(nats_url, items(of_types(range(10))))
    await drained(tables_url, nats_url)
    await publish(nats_url, items(of_types(range(10, 20), "trade", "gap")))
    await drain(tables_url, nats_url, types=["trade"], pace=QUICK)
    await keep(nats_url, 1)
    await drained(tables_url, nats_url)
    streams_found = {gap.stream for gap in found(tables_url)}
    assert {"trade", "orderbook", "ticker", "kline_1m"} <= streams_found


@in_loop
async def test_messages_deleted_while_the_drain_runs_are_a_gap(tables_url: str, nats_url: str) -> None:
    await publish(nats_url, items(of_types(range(10), "trade")))
    await drained(tables_url, nats_url, "trade")
    following = asyncio.create_task(
        drain(tables_url, nats_url, types=["trade", "gap"], pace=Pace(batch_rows=10, batch_seconds=0.1, follow=True))
    )
    try:
        connection = await nats.connect(nats_url)
        manager = connection.jetstream()
        while True:  # delete more than the drain has read, again and again
            await publish(nats_url, items(of_types(range(10, 400), "trade")))
            await manager.purge_stream(Stream.name, keep=3)
            await asyncio.sleep(0.3)
            if found(tables_url):
                break
        await connection.close()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    [gap, *_] = found(tables_url)
    assert gap.stream == "trade"


@in_loop
async def test_stream_that_was_deleted_and_created_again_is_a_gap(tables_url: str, nats_url: str) -> None:
    await publish(nats_url, items(of_types(range(10), "trade")))
    await drained(tables_url, nats_url, "trade")
    async with streams.connected(nats_url) as client:
        await client.jetstream().delete_stream(Stream.name)
    await publish(nats_url, items(of_types(range(30, 40), "trade")))
    await drained(tables_url, nats_url, "trade")
    trade = next(gap for gap in found(tables_url) if gap.stream == "trade")
    [last], [first] = of_types([9], "trade"), of_types([30], "trade")
    assert span(trade) == (last.ts_recv, first.ts_recv)
    assert (await drained(tables_url, nats_url, "trade")).lost_gaps == 0


@pytest.mark.slow
@in_loop
async def test_killed_before_the_position_was_written_the_gap_begins_earlier_never_later(
    tables_url: str, nats_url: str
) -> None:
    await publish(nats_url, items(of_types(range(10), "trade")))
    await drained(tables_url, nats_url, "trade")
    await publish(nats_url, items(of_types(range(10, 20), "trade")))
    arguments = [sys.executable, "-c", KILLED_AT_ITS_ACK, tables_url, nats_url, "ack", "100"]
    assert (await asyncio.to_thread(subprocess.run, arguments)).returncode < 0
    await publish(nats_url, items(of_types(range(20, 60), "trade")))
    await keep(nats_url, 5)
    await drained(tables_url, nats_url, "trade")
    trade = next(gap for gap in found(tables_url) if gap.stream == "trade")
    [last], [first] = of_types([9], "trade"), of_types([55], "trade")
    assert span(trade) == (last.ts_recv, first.ts_recv)


@in_loop
async def test_backlog_has_messages_age_and_how_near_the_limits_are(tables_url: str, nats_url: str) -> None:
    limits = Stream(max_bytes=40_000, max_age_seconds=100.0, duplicate_seconds=60.0)
    await ensure(nats_url, limits)
    await publish(nats_url, items(of_types(range(10), "trade", "ticker")), limits)
    await drain(tables_url, nats_url, types=["trade"], pace=QUICK)
    await publish(nats_url, items(of_types(range(10, 20), "trade")), limits)
    async with streams.connected(nats_url) as client:
        state = await stream_state(client, Stream.name)
        found = await backlog(client, Stream.name, state.last_stored + 50 * 10**9)
        by_bytes = await backlog(client, Stream.name, state.last_stored)
    assert {name: one.messages for name, one in found.types.items() if one.messages} == {"trade": 10, "ticker": 10}
    trade, ticker = found.types["trade"], found.types["ticker"]
    assert (found.bytes, found.bytes_limit, found.age_limit_seconds) == (state.bytes, 40_000, 100.0)
    assert ticker.oldest_ns is not None
    assert trade.oldest_ns is not None
    assert state.first_stored <= ticker.oldest_ns < trade.oldest_ns <= state.last_stored
    assert 0.5 <= trade.limit_share < 0.55
    assert by_bytes.types["trade"].limit_share == pytest.approx(10 / 30 * state.bytes / 40_000, abs=0.01)
    assert found.types["liquidation"].limit_share == 0.0
