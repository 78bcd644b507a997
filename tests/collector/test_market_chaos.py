"""Faults in any order, one upon the other: in the end each trade is there once or in a gap, and each book is right."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from marketdata_demo.venues.venue import Venue
from tests.collector.collecting import Run
from tests.collector.market_cases import BY_CHANNEL, EVERY_MARKET, Case, collect, each

SEEDS = range(int(os.environ.get("MARKETDATA_CHAOS", "1")))
"""More of them for a longer look."""


async def _fault(run: Run, venue: Venue, case: Case, dice: random.Random) -> str:
    """One fault."""
    name = dice.choice(case.names)
    kind = dice.choice(
        ("cut", "close", "stall", "half open", "skip", "spoil", "repeat", "mute", "away", "garbage", "refuse")
    )
    loop = asyncio.get_running_loop()
    if kind == "cut":
        venue.hang_up()
    elif kind == "close":
        venue.close_all()
    elif kind == "stall":
        venue.hold()
        await asyncio.sleep(0.1)
        venue.release()
    elif kind == "half open":
        venue.half_open()
    elif kind == "away":
        await loop.run_in_executor(None, venue.away)
        await asyncio.sleep(dice.random() * 0.3)
        await loop.run_in_executor(None, venue.back)
    elif kind == "refuse":
        venue.no_new_sockets(2)
        venue.fail(429, 1, where="depth", retry="0.1")
        venue.hang_up()
    elif kind == "garbage":
        venue.garbage(text=dice.random() < 0.7)
    elif kind == "mute":
        venue.mute(name if case.exchange != "binance" else name.lower())
    elif kind == "skip":
        venue.skip(1, "depth" if case.exchange == "binance" else "book")
    elif kind == "spoil":
        venue.spoil(1)
    else:
        venue.repeat(2, "@" if case.exchange == "binance" else "book")
    return kind


@pytest.mark.parametrize("seed", SEEDS)
@each(*EVERY_MARKET, *BY_CHANNEL)
@pytest.mark.slow
def test_under_random_faults_every_trade_is_accounted_for_and_every_book_is_right(
    case: Case, seed: int, tmp_path: Path
) -> None:
    dice = random.Random(f"{seed} {case.exchange} {case.market_type}")

    async def act(run: Run, venue: Venue) -> None:
        venue.rate = 300.0
        done = []
        for _ in range(12):
            done.append(await _fault(run, venue, case, dice))
            await asyncio.sleep(dice.random() * 0.25)
        await asyncio.sleep(1.0)
        venue.rate = 0.0
        await run.until(lambda: _whole(run), emit=2)
        await run.caught_up()
        ids = run.ids()
        assert len(ids) == len(set(ids)), done
        for name in case.names:
            await run.until(lambda name=name: run.is_the_venues(name, case.best), emit=2)  # type: ignore[misc]

    collect(
        case,
        tmp_path,
        act,
        age=1.5,
        ping_after=0.3,
        silence={"trade": 0.5, "orderbook": 0.5},
        confirm=0.5,
        connects_per_second=2.5,
    )


def _whole(run: Run) -> bool:
    """Whether all is subscribed to, and every book is live."""
    state = run.market.state()
    open_ = all(one.status in ("open", "replacing") and not one.unconfirmed for one in state.connections)
    return open_ and all(run.market.book(name) for name in run.market.instruments)
