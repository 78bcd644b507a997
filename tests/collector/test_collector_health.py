"""The verdict: which state of markets and sinks is healthy, degraded or unhealthy, and the reasons it gives."""

from dataclasses import replace
from typing import Any

import pytest

from marketdata_assets.collector.config import HealthLimits
from marketdata_assets.collector.connections.state import MarketState
from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.health import judge
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.collector.status import Status
from tests.collector.collector_states import book, connection, job, market_state, subscription

SECOND = 1_000_000_000
NOW = 1_000 * SECOND
LIMITS = HealthLimits(start_seconds=30.0, silence_seconds=60.0, book_seconds=120.0, queue_share=0.8)
FRESH = connection(last_message_at=NOW - SECOND)
GOOD_SINK = SinkState("jetstream", 0, 100, connected=True)


def market(**values: Any) -> MarketState:
    usual: dict[str, Any] = {"connections": (FRESH,), "subscriptions": (subscription(),), "books": (book(ts_last=NOW),)}
    return market_state(**usual | values)


def status(*markets: MarketState, sink: SinkState = GOOD_SINK, **values: Any) -> Status:
    usual: dict[str, Any] = {
        "now": NOW, "started": 0, "version": "1", "shard": "1/1", "markets": markets, "restarts": {}, "requests": {},
        "sinks": (sink,), "loop_latency": LatencyHistogram(),
    }  # fmt: skip
    return Status(**usual | values)


GOOD = market()


def test_a_working_collector_is_healthy() -> None:
    verdict = judge(status(GOOD), LIMITS)
    assert (verdict.status, verdict.reasons) == ("healthy", [])
    assert [check.name for check in verdict.checks] == ["binance spot", "jetstream"]


DARK = [
    ({"listed": None}, "the instrument list has not arrived"),
    (
        {"listed": None, "jobs": (job(failures=1, last_error="ConnectError [Errno -2] Name or service not known"),)},
        "the instrument list has not arrived (ConnectError [Errno -2] Name or service not known)",
    ),
    ({"instruments": 0}, "none of its symbols is listed"),
    ({"connections": ()}, "no socket is open"),
    ({"connections": (connection(status="backoff", last_error="refused"),)}, "no socket is open (refused)"),
    ({"connections": (connection(),)}, "no message yet"),
    ({"connections": (connection(last_message_at=NOW - 61 * SECOND),)}, "no message for 61 s"),
]


@pytest.mark.parametrize(("values", "reason"), DARK, ids=[reason for _, reason in DARK])
def test_one_silent_market_degrades_and_only_silent_markets_are_unhealthy(values: dict[str, Any], reason: str) -> None:
    alone = judge(status(market(**values)), LIMITS)
    assert alone.status == "unhealthy"
    assert alone.reasons[0] == f"binance spot: {reason}"
    assert judge(status(market(**values), GOOD), LIMITS).status == "degraded"
    starting = judge(status(market(**values), started=NOW - 20 * SECOND), LIMITS)
    assert starting.status == "degraded"
    assert starting.reasons == [f"binance spot: starting, {reason}"]


def test_a_shard_without_instruments_of_a_market_is_healthy() -> None:
    empty = market(instruments=0, connections=(), subscriptions=(), books=())
    assert judge(status(empty, GOOD, shard="2/2"), LIMITS).status == "healthy"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"subscriptions": (subscription(status="rejected"),)}, "1 subscriptions rejected: ab@trade"),
        ({"subscriptions": (subscription(status="stale"),)}, "1 subscriptions stale: ab@trade"),
        ({"unknown": ("XYZ",)}, "symbols: XYZ"),
        ({"books": (book(status="broken", ts_last=NOW - 121 * SECOND),)}, "1 books are not live: AB"),
        ({"books": (book(status="waiting", ts_last=None),)}, "1 books are not live: AB"),
        ({"connections": (FRESH, connection(status="backoff"))}, "1 of 2 sockets are down"),
    ],
)  # fmt: skip
def test_incomplete_data_degrades(values: dict[str, Any], reason: str) -> None:
    verdict = judge(status(market(**values)), LIMITS)
    assert (verdict.status, verdict.reasons) == ("degraded", [f"binance spot: {reason}"])


def test_a_book_may_be_out_of_sync_for_a_while() -> None:
    recovering = book(status="broken", ts_last=NOW - 119 * SECOND)
    assert judge(status(market(books=(recovering,))), LIMITS).status == "healthy"


def test_long_lists_of_names_are_shortened() -> None:
    many = tuple(subscription(key=f"s{number}", status="stale") for number in range(9))
    assert judge(status(market(subscriptions=many)), LIMITS).reasons == [
        "binance spot: 9 subscriptions stale: s0, s1, s2, s3, s4 and 4 more"
    ]


@pytest.mark.parametrize(
    ("values", "verdict", "reasons"),
    [
        ({"connected": False, "last_error": "refused"}, "degraded", ["jetstream: not connected (refused)"]),
        ({"spooled": 5}, "degraded", ["jetstream: 5 items are spooled on disk"]),
        ({"queued": 80}, "degraded", ["jetstream: the queue holds 80 of 100 items"]),
        ({"queued": 79}, "healthy", []),
        (
            {"queued": 80, "connected": False},
            "unhealthy",
            ["jetstream: not connected", "jetstream: the queue holds 80 of 100 items"],
        ),
    ],
)
def test_sinks(values: dict[str, Any], verdict: str, reasons: list[str]) -> None:
    found = judge(status(GOOD, sink=replace(GOOD_SINK, **values)), LIMITS)
    assert (found.status, found.reasons) == (verdict, reasons)


def test_the_cache_alone_never_makes_unhealthy() -> None:
    away = replace(GOOD_SINK, name="redis", queued=100, connected=False, durable=False)
    assert judge(status(GOOD, sink=away), LIMITS).status == "degraded"
