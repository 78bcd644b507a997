"""More at once than can be worked off: what is read at a time is bounded, so that everything else has its turn."""

from collections import Counter
from pathlib import Path

from collecting import collecting
from in_loop import in_loop

from marketdata_assets.collector.connections.socket import KERNEL_BYTES
from marketdata_demo.venues.binance_venue import BinanceVenue

EVENTS = 20_000


@in_loop
async def test_a_flood_is_read_in_parts(tmp_path: Path) -> None:
    with BinanceVenue("spot", ["ABCUSDT"]) as venue:
        types = ("trade", "ticker", "orderbook")
        async with collecting(venue, "binance", "spot", ["ABCUSDT"], types, tmp_path, wire=True) as run:
            await run.live()
            venue.hold()
            await run.emit(EVENTS)
            venue.release()
            await run.caught_up()
            read = Counter[int]()
            for one in run.wire:
                read[one.ts_recv] += len(one.raw)
    assert read.total() > 8 * KERNEL_BYTES
    assert (
        max(read.values()) <= 3 * KERNEL_BYTES
    )  # the kernel counts what a packet takes in memory, and allows for more
