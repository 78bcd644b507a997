"""When sockets and subscriptions are asked whether they live, by a clock of our own."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.budget import Budget
from marketdata_assets.collector.connections import Timing, adapter_for
from marketdata_assets.collector.connections.connection import NS, Connection
from marketdata_assets.collector.connections.liveness import (
    MAX_RESUBSCRIBED,
    MAX_TRIES,
    check,
    normal_silence,
)
from marketdata_assets.collector.connections.socket import SubscriptionRequest
from marketdata_assets.exchanges.venue_adapter import Subscription

TIMING = Timing(ping_after=30.0, pong_within=10.0, confirm=10.0, longest_silence=1000.0)


@dataclass
class StubSocket:
    """What `check` uses of a socket; times are seconds."""

    said: list[str] = field(default_factory=list)
    requests: dict[str, SubscriptionRequest] = field(default_factory=dict)
    seen: dict[bytes, int] = field(default_factory=dict)
    last_at: int = 0
    pinged_at: int = 0
    unreadable: int = 0
    over: bool = False
    closing: bool = False
    busy: bool = False

    def ping(self) -> None:
        self.pinged_at = self.clock
        self.said.append("ping")

    def resubscribe(self, keys: list[str]) -> None:
        for key in keys:
            self.requests[key].requested_at, self.requests[key].tries = self.clock, self.requests[key].tries + 1
            self.said.append(key)

    def drop(self, why: str) -> None:
        self.said.append(f"drop: {why}")

    clock: int = 0


class Watched:
    """A connection with some subscriptions, all confirmed at second 0 and silent after 100 s at most."""

    def __init__(self, folder: Path, *keys: str, confirmed: bool = True) -> None:
        self.socket = StubSocket()
        for key in keys:
            self.socket.requests[key] = SubscriptionRequest(0, confirmed_at=1 if confirmed else 0, tries=1)
        adapter, budget = adapter_for("deribit", "inverse"), Budget(folder, "x", 1.0, 1.0)
        self.connection = Connection(1, "ws://h", adapter, TIMING, self, budget)  # type: ignore[arg-type]
        self.gaps: list[tuple[str, float, float]] = []
        for key in keys:
            self.connection.subscriptions[key] = Subscription(key, "ws://h", "X", "trades", ("trade",), 100.0)
        self.connection.socket = self.socket  # type: ignore[assignment]

    def at(self, seconds: float, heard: str = "", lives: bool = True) -> list[str]:
        """What is done at some moment. A message came just then over `heard`; the socket `lives`."""
        now = self.socket.clock = int(seconds * NS)
        if heard:
            self.socket.seen[heard.encode()] = now
        if heard or lives:
            self.socket.last_at = now
        before = len(self.socket.said)
        check(self.connection, now)
        return self.socket.said[before:]

    def woken(self, subscription: Subscription, since: int, until: int) -> bool:
        self.gaps.append((subscription.key, round(since / NS), round(until / NS)))
        return True

    @property
    def leaves(self) -> str:
        left, self.connection._leave = self.connection._leave, ""
        return left

    def silence(self, key: str) -> Any:
        return normal_silence(self.connection, self.connection.subscriptions[key])


def test_a_silent_socket_is_pinged_once_and_then_dropped(tmp_path: Path) -> None:
    one = Watched(tmp_path)
    assert one.at(0) == []
    assert one.at(29, lives=False) == []
    assert one.at(31, lives=False) == ["ping"]
    assert one.at(40, lives=False) == []
    assert one.at(42, lives=False) == ["drop: half open: no answer to a ping"]


def test_a_socket_that_answers_is_pinged_again_after_the_next_silence(tmp_path: Path) -> None:
    one = Watched(tmp_path)
    one.at(0)
    assert one.at(31, lives=False) == ["ping"]
    assert one.at(32) == []
    assert one.at(50, lives=False) == []
    assert one.at(63, lives=False) == ["ping"]


def test_an_unconfirmed_subscription_is_retried_then_given_up_for_ten_minutes(tmp_path: Path) -> None:
    one = Watched(tmp_path, "a", "b")
    one.socket.requests["b"].confirmed_at = 0
    assert [one.at(seconds) for seconds in (9, 11, 15, 22, 33, 44)] == [[], ["b"], [], ["b"], [], []]
    assert one.socket.requests["b"].rejected
    assert one.socket.requests["b"].tries == MAX_TRIES
    assert [one.at(seconds, "a") for seconds in (600, 621, 623)] == [[], [], ["b"]]  # the venue may have been too busy


@pytest.mark.parametrize("count", [1, MAX_RESUBSCRIBED + 1])
def test_a_socket_without_confirmations_is_dropped(count: int, tmp_path: Path) -> None:
    one = Watched(tmp_path, *(f"k{number}" for number in range(count)), confirmed=False)
    done = [said for seconds in (11, 22, 33) for said in one.at(seconds)]
    assert done[-1] == f"drop: {count} subscriptions are not confirmed"


def test_a_silent_subscription_is_restarted_then_its_socket_replaced_then_its_interval_doubles(tmp_path: Path) -> None:
    one = Watched(tmp_path, "a", "b")
    one.at(0, "a")
    assert one.at(99, "b") == []
    assert one.at(101, "b") == ["a"]
    assert (one.at(200, "b"), one.leaves) == ([], "")
    assert (one.at(202, "b"), one.leaves) == ([], "a is silent")
    assert (one.at(303, "b"), one.leaves) == ([], "")
    assert one.silence("a") == 200.0
    assert one.at(500, "b") == []
    assert one.at(504, "b") == ["a"]
    assert one.silence("b") == 100.0


def test_a_subscription_that_resumes_at_once_is_checked_as_before(tmp_path: Path) -> None:
    one = Watched(tmp_path, "a")
    one.at(0, "a")
    assert one.at(101) == ["a"]
    one.at(102, "a")
    assert one.gaps == [("a", 0, 102)]
    assert one.silence("a") == 100.0
    assert one.at(203) == ["a"]


def test_what_comes_soon_after_a_long_silence_was_held_back_by_it_though_not_at_once(tmp_path: Path) -> None:
    """The next trade of a quiet instrument may be some seconds away."""
    one = Watched(tmp_path, "a")
    one.at(0, "a")
    assert one.at(101) == ["a"]
    one.at(119, "a")
    assert one.gaps == [("a", 0, 119)]
    assert one.silence("a") == 100.0


def test_a_subscription_that_resumes_by_itself_extends_its_normal_silence(tmp_path: Path) -> None:
    one = Watched(tmp_path, "a")
    one.at(0, "a")
    assert one.at(101) == ["a"]
    one.at(180, "a")
    assert one.silence("a") == pytest.approx(360.0)
    assert one.gaps == []
    assert one.at(530) == []
    assert one.at(541) == ["a"]


def test_normal_silence_has_an_upper_limit(tmp_path: Path) -> None:
    one = Watched(tmp_path, "a")
    one.at(0, "a")
    for seconds in range(0, 100_000, 50):
        one.at(seconds)
    assert one.silence("a") == TIMING.longest_silence


def test_nothing_is_requested_while_the_rate_limit_delays_messages(tmp_path: Path) -> None:
    one = Watched(tmp_path, "a", "b")
    one.socket.requests["b"].confirmed_at = 0
    one.socket.busy = True
    assert one.at(200) == []
    one.socket.busy = False
    assert one.at(201) == ["b", "a"]


def test_unconfirmed_subscriptions_and_those_without_silence_are_not_stale(tmp_path: Path) -> None:
    one = Watched(tmp_path, "a", "b", "c")
    one.socket.requests["a"].confirmed_at = 0
    one.socket.requests["a"].rejected = "no such channel"
    one.connection.subscriptions["b"] = Subscription("b", "ws://h", "", "liquidation-orders", ("liquidation",), None)
    one.socket.requests["c"].confirmed_at = 5_000 * NS
    assert one.at(5_000) == []
