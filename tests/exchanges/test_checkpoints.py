"""A feed that continues from a checkpoint makes of all that follows what the feed makes that went before it."""

import datetime as dt
from pathlib import Path
from random import Random

import pytest

from marketdata_assets.exchanges import checkpoints
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.records import DeadLetter, Exchange, OrderBook, Outcome
from marketdata_assets.exchanges.replay import feed_of, outcomes
from marketdata_assets.exchanges.venue import Source
from marketdata_demo.venues.captures import entries, voice
from marketdata_demo.venues.market import VENUES, Plan
from tests.examples import others_slow

CAPTURES = (
    "binance-spot/capture/2021-04-05_10sym_120s.ndjson",
    "binance-usdm/capture/2021-07-22_4sym_31s.ndjson",
    "binance-coinm/capture/2021-07-22_10sym_31s.ndjson",
    "okx/capture/2022-05-13_books_3inst_12s.ndjson",
    "deribit/capture/2021-04-05_10options_119s.ndjson",
)


def continued(source: Source, cut: int, traffic: list[Entry]) -> None:
    whole, restored = (feed_of(*source, "test") for _ in range(2))
    for entry in traffic[:cut]:
        outcomes(whole, entry)
    points = whole.checkpoint()
    at, made = traffic[cut].ts_recv, list[Outcome]()
    for point in points:
        made += restored.restore(checkpoints.encode(point), at)
    assert not any(isinstance(one, DeadLetter) for one in made)
    live = {key: state for key, state in whole.books.items() if state.status == "live"}
    assert {key: state.book.levels() for key, state in restored.books.items() if state.status == "live"} == {
        key: state.book.levels() for key, state in live.items()
    }
    recorded = {one.instrument: one for one in made if isinstance(one, OrderBook)}
    assert recorded.keys() == {one.instrument.name for one in live.values() if one.last_id is not None}
    for entry in traffic[cut:]:
        assert outcomes(restored, entry) == outcomes(whole, entry), entry
    assert {key: state.book.sha256_all_levels() for key, state in restored.books.items()} == {
        key: state.book.sha256_all_levels() for key, state in whole.books.items()
    }


@pytest.mark.parametrize("name", others_slow(CAPTURES[::-1]))
def test_a_recording_continues_from_a_checkpoint_anywhere(fixtures: Path, name: str) -> None:
    path = fixtures / name
    traffic = list(open_capture(path).entries())
    random = Random(name)
    for cut in (3, *(random.randrange(4, len(traffic) - 1) for _ in range(3))):
        continued(open_capture(path).venue(), cut, traffic)


@pytest.mark.parametrize("venue", VENUES)
def test_the_sample_of_each_venue_continues_from_a_checkpoint_anywhere(venue: Exchange) -> None:
    plan = Plan(dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC), 4)
    made = entries(venue, plan)
    for cut in (3, len(made) // 3, len(made) // 2):
        continued((venue, voice(venue).market_type), cut, made)
