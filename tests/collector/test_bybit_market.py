"""The collector on a simulated Bybit: faults, restarts and unknown topics leave exact books."""

import asyncio
from pathlib import Path

from marketdata_assets.exchanges.bybit.adapter import DEPTH
from marketdata_assets.exchanges.records import DeadLetter, Ticker
from marketdata_demo.venues.bybit_venue import BybitVenue
from tests.collector.collecting import collecting
from tests.collector.in_loop import in_loop

LINEAR = ["ABCUSDT", "XYZUSDT-27DEC30"]


@in_loop
async def test_lost_repeated_and_broken_messages_and_a_restart_leave_exact_books(tmp_path: Path) -> None:
    with BybitVenue("linear", ["ABCUSDT"]) as venue:
        async with collecting(venue, "bybit", "linear", ["ABCUSDT"], ("trade", "orderbook", "ticker"), tmp_path) as run:
            await run.live()
            for fault, cause in ((venue.skip, "sequence"), (venue.repeat, "repeat"), (venue.spoil, "sequence")):
                before = len(run.gaps("orderbook"))
                fault(1, "orderbook")
                await run.until(lambda before=before: len(run.gaps("orderbook")) > before, emit=5)  # type: ignore[misc]
                assert run.gaps("orderbook")[before].cause == cause
                await run.until(lambda: run.is_the_venues("ABCUSDT", DEPTH))
            before = len(run.gaps("orderbook"))
            await asyncio.get_running_loop().run_in_executor(None, venue.restart)
            await run.until(lambda: len(run.gaps("orderbook")) == before + 2)  # opened, and closed by the snapshot
            assert run.gaps("orderbook")[-1].next_id == 1
            await run.emit(50)
            await run.until(lambda: run.is_the_venues("ABCUSDT", DEPTH))
            venue.spoil(1, "tickers")
            venue.rate = 20.0
            await run.until(lambda: any(isinstance(one, DeadLetter) and b"tickers" in one.raw for one in run.trouble))
            seen = len(run.of(Ticker))
            await run.until(lambda: len(run.of(Ticker)) > seen)  # a new subscription brought the state again
            venue.rate = 0.0
            await run.until(lambda: not run.market.feed.resync_requests)
            assert {gap.stream for gap in run.gaps() if gap.healed_at is None} == {f"orderbook.{DEPTH}"}
            healed = [gap for gap in run.gaps("orderbook") if gap.healed_at is not None]
            assert len(healed) >= 4
    assert not venue.violations


@in_loop
async def test_one_unknown_topic_does_not_stop_the_others(tmp_path: Path) -> None:
    """An instrument that was delisted since its list was made."""
    with BybitVenue("linear", LINEAR) as venue:
        names, types = list(LINEAR), ("trade", "orderbook", "kline")
        async with collecting(venue, "bybit", "linear", names, types, tmp_path) as run:
            gone = venue.markets.pop(names[1])
            await run.until(
                lambda: sum(one.status == "confirmed" for one in run.market.state().subscriptions) == len(types)
            )
            await run.until(lambda: run.is_the_venues(names[0], DEPTH), emit=5)
            states = run.market.state().subscriptions
            assert {one.status for one in states if one.instrument == gone.name} == {"rejected"}
            reason = next(one.error for one in states if one.instrument == gone.name)
            assert reason is not None
            assert "handler not found" in reason


@in_loop
async def test_a_busy_socket_is_pinged_too(tmp_path: Path) -> None:
    with BybitVenue("spot", ["ABCUSDT"]) as venue:
        async with collecting(venue, "bybit", "spot", ["ABCUSDT"], ("trade",), tmp_path, wire=True) as run:
            run.market.adapter._adapter.ping_every = 0.1  # type: ignore[attr-defined]
            venue.rate = 200.0
            await run.until(lambda: sum(one.kind == "out" and b"ping" in one.raw for one in run.wire) >= 3)
            assert not run.trouble
