"""Whatever fails in many hours: each instant of a book is the venue's or in a recorded gap, and so is each trade."""

import os
from pathlib import Path
from random import Random

import pytest

from marketdata_assets.stores import clickhouse
from tests.collector.whole import once_or_in_a_gap
from tests.simulated.oracle import judged
from tests.simulated.simulation import FAULTS, LONG, SAMPLED, SHORT, SMALL_STREAM, Sizes, World, lived

SEED = int(os.environ.get("SIMULATED_SEED", "12"))

STALLED = "no pong", "a test_request was not answered", "silence"
"""What a venue says of a client that could not answer, as `hold` stalls the network."""


def live(folder: Path, seed: int, sizes: Sizes, instants: int) -> World:
    """Hours of this seed, judged at so many random instants of each book and next to all that happened."""
    with lived(folder, seed, sizes) as world, clickhouse.connect(world.clickhouse.url) as client:
        broken = [rule for at in world.ats for rule in at.venue.violations]
        assert all(rule.endswith(STALLED) for rule in broken), broken
        missing = [once_or_in_a_gap(client, at, late_ns=10**9) for at in world.ats]
        assert any(ids for by_name in missing for ids in by_name.values()), "something was lost"
        books = [(at, name) for at in world.ats if at.exchange not in SAMPLED for name in at.names]
        verdicts = [judged(world, client, at, name, Random(seed), instants) for at, name in books]
    wrong = [line for verdict in verdicts for line in verdict.wrong]
    assert not wrong, "\n".join(wrong[:20])
    for verdict in verdicts:
        assert verdict.known > 0.1 * (verdict.known + verdict.in_gaps), "most of it is lost"
        assert verdict.in_gaps, "a gap is somewhere"
    return world


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [SHORT, SMALL_STREAM], ids=["short", "small stream"])
def test_hours_of_faults_leave_exact_books_and_trades_or_recorded_gaps(tmp_path: Path, sizes: Sizes) -> None:
    live(tmp_path, 1, sizes, 50)


@pytest.mark.slow
@pytest.mark.timeout(int(3600 + 300 * LONG.hours))
def test_many_hours_of_faults_leave_exact_books_and_trades_or_recorded_gaps(tmp_path: Path) -> None:
    world = live(tmp_path, SEED, LONG, 500)
    assert set(world.counted) == {"overflow", *FAULTS} or LONG.hours < 24
