"""What the collector counts and remembers: lags, flows, until when everything was safe, and what it could not read."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.collector import service
from marketdata_assets.collector.counters import BOUNDS, LatencyHistogram, MarketCounters
from marketdata_assets.collector.shard_files import Checkpoint, DeadLetterFile, ListedFile
from marketdata_assets.collector.sinks.capture import CaptureSink
from marketdata_assets.exchanges.records import DeadLetter, Gap, Ticker, Trade, VenueError
from marketdata_demo.venues.binance_venue import BinanceVenue
from tests.collector.service_runs import market, running, text_of

ABOUT = ("binance", "spot", "A-B", "AB")


@given(st.lists(st.integers(min_value=-(10**9), max_value=10**12)))
def test_histogram_counts_each_duration_in_its_bucket(times: list[int]) -> None:
    latency = LatencyHistogram()
    for ns in times[: len(times) // 2]:
        latency.observe(ns)
    latency.observe_since((1000 - ns for ns in times[len(times) // 2 :]), 1000)
    assert latency.count == len(times)
    assert latency.total_ns == sum(ns for ns in times if ns > 0)
    for bound, reached in zip(BOUNDS, _cumulative(latency), strict=False):
        assert reached == sum(ns <= round(bound * 1e9) for ns in times)


def test_quantile_is_the_bound_of_the_share() -> None:
    latency = LatencyHistogram()
    assert latency.quantile(0.5) is None
    for ms in range(100):
        latency.observe(ms * 1_000_000)
    assert latency.quantile(0.5) == 0.05
    assert latency.quantile(0.99) == 0.1
    latency.observe(10**15)
    assert latency.quantile(1.0) == float("inf")


def test_market_counters_count_records_gaps_and_errors() -> None:
    counters = MarketCounters()
    trade = Trade(*ABOUT, 100, 350, "1", "1", "1", None, "buy")
    hole = Gap(*ABOUT, "depth", 1, 2, 1, 2, "sequence")
    healed = Gap(*ABOUT, "depth", 1, 2, 1, 2, "sequence", 9)
    repeat = Gap(*ABOUT, "depth", 1, 2, 1, 2, "repeat", 2)
    counters.count([trade, Ticker(*ABOUT, None, 400, bid="1"), hole, healed, repeat])
    counters.count_error(DeadLetter(b"x", "bad", 1))
    counters.count_error(VenueError(1, "no"))
    counters.count_error(VenueError(2, "too many", rate_limited=True))
    assert counters.records == {"trade": 1, "ticker": 1}
    assert counters.last == {"trade": 350, "ticker": 400}
    assert counters.gaps == {"sequence": 1, "repeat": 1}
    assert counters.healed == 2
    assert counters.errors == {"dead_letter": 1, "venue_error": 1, "rate_limited": 1}
    assert (counters.latency.count, counters.latency.total_ns) == (1, 250)


def test_checkpoint_is_kept_by_market_and_survives_damage(tmp_path: Path) -> None:
    since = Checkpoint(tmp_path / "own" / "since.json")
    assert since.read() == {}
    since.write({"binance spot": 5, "okx linear": 6})
    since.write({"binance spot": 7})
    assert Checkpoint(since.file).read() == {"binance spot": 7, "okx linear": 6}
    since.file.write_text('{"binance')
    assert since.read() == {}
    since.write({"binance spot": 8})
    assert since.read() == {"binance spot": 8}


def test_data_during_shutdown_belongs_to_the_gap_of_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained: list[int] = []
    drain = CaptureSink.drain

    async def slow(sink: CaptureSink, seconds: float) -> int:
        drained.append(time.time_ns())
        await asyncio.sleep(0.05)
        return await drain(sink, seconds)

    monkeypatch.setattr(CaptureSink, "drain", slow)

    async def run() -> int:
        with BinanceVenue("spot", ["ABCUSDT"]) as venue:
            text = text_of({"spot": market(venue, ["ABCUSDT"], ["trade"])})
            async with running(text, tmp_path) as run:
                await run.subscribed()
                begun = time.time_ns()
        return begun

    begun = asyncio.run(run())
    assert begun <= Checkpoint(tmp_path / "collector" / "since.json").read()["binance spot"] <= drained[0]


def test_what_a_first_run_lost_that_was_killed_at_once_belongs_to_the_gap_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CHECKPOINT_SECONDS", 3600.0)

    async def run() -> tuple[int, dict[str, int]]:
        with BinanceVenue("spot", ["ABCUSDT"]) as venue:
            begun = time.time_ns()
            text = text_of({"spot": market(venue, ["ABCUSDT"], ["trade"])})
            async with running(text, tmp_path) as run:
                await run.subscribed()
                return begun, Checkpoint(tmp_path / "collector" / "since.json").read()

    begun, known = asyncio.run(run())
    assert begun <= known["binance spot"]


def test_an_instrument_that_is_delisted_between_two_runs_is_an_event_of_the_second(tmp_path: Path) -> None:
    async def run(names: list[str]) -> tuple[list[int], list[str]]:
        """How many states each of three lists brought, and what the next run knows."""
        with BinanceVenue("spot", names) as venue:
            text = text_of({"spot": market(venue, ["ABCUSDT"], ["trade", "instrument_state"])})
            async with running(text, tmp_path) as run:
                await run.subscribed()
                one, told = run.collector._markets["binance", "spot"], list[int]()
                for _ in range(3):
                    told.append(one.state().counters.records["instrument_state"])
                    assert await one._listing.run_once()
        known = ListedFile(tmp_path / "collector" / "listed.json").read()["binance spot"]
        return told, [each.instrument for each in known]

    assert asyncio.run(run(["ABCUSDT", "XYZUSDT"])) == ([2, 2, 2], ["ABCUSDT", "XYZUSDT"])
    assert asyncio.run(run(["ABCUSDT"])) == ([0, 1, 1], ["ABCUSDT"])
    assert asyncio.run(run(["ABCUSDT"])) == ([0, 0, 0], ["ABCUSDT"])


def test_dead_letters_are_kept_unchanged_in_two_files(tmp_path: Path) -> None:
    letters = DeadLetterFile(tmp_path / "own" / "dead.ndjson", most=3, max_bytes=100)
    letters.write()
    assert not letters.file.exists()
    for raw in (b'{"a":1}', b"\xff\xfe", b"{}", b"one too many"):
        letters.keep("okx", "spot", DeadLetter(raw, "not as documented", 9))
    letters.write()
    lines = [json.loads(line) for line in letters.file.read_text().splitlines()]
    assert [line.get("raw") for line in lines] == ['{"a":1}', None, "{}"]
    assert lines[1]["raw_base64"] == "//4="
    assert lines[0] == {
        "ts_recv": 9, "exchange": "okx", "market_type": "spot", "cause": "not as documented", "raw": '{"a":1}',
    }  # fmt: skip
    letters.keep("okx", "spot", DeadLetter(b"next", "x", 10))
    letters.write()
    assert len(letters.file.read_text().splitlines()) == 1
    assert len(letters.file.with_suffix(".1.ndjson").read_text().splitlines()) == 3


def _cumulative(latency: LatencyHistogram) -> list[int]:
    reached, sums = 0, []
    for count in latency.counts:
        reached += count
        sums.append(reached)
    return sums
