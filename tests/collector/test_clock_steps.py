"""The clock of the machine is set while a market is collected: forwards, as after a wrong start, and back."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from marketdata_assets.collector.connections import Clock
from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.health import judge
from marketdata_assets.collector.status import Status
from marketdata_assets.exchanges.records import Trade
from marketdata_demo.venues.venue import Venue
from tests.collector.collecting import Run
from tests.collector.market_cases import EVERY_VENUE, Case, collect, each

NS = 1_000_000_000
HOURS_3 = 3 * 3600 * NS


class TwoClocks:
    """A machine in which `seconds` pass, and whose clock is set by `steps`."""

    def __init__(self) -> None:
        self.passed = self.stepped = 0

    def clock(self) -> Clock:
        return Clock(lambda: 10**18 + self.passed + self.stepped, lambda: self.passed)

    def passes(self, seconds: float) -> None:
        self.passed += int(seconds * NS)


@pytest.mark.parametrize("step", [HOURS_3, -HOURS_3])
def test_durations_do_not_know_that_the_clock_was_set(step: int) -> None:
    machine = TwoClocks()
    clock = machine.clock()
    begun = clock.steady_ns()
    machine.passes(5)
    machine.stepped += step
    assert clock.steady_ns() - begun == 5 * NS
    machine.passes(2)
    later = clock.steady_ns()
    assert later - begun == 7 * NS
    assert clock.time_ns() - clock.shown(begun) == 7 * NS
    assert clock.earliest(begun) == 10**18 + min(0, step)
    assert clock.earliest(later) == clock.time_ns()


def test_a_clock_that_was_put_right_again_counts_with_the_steps_of_its_time() -> None:
    machine = TwoClocks()
    clock = machine.clock()
    machine.stepped = HOURS_3
    wrong = clock.steady_ns()
    machine.passes(10)
    machine.stepped = 0
    right = clock.steady_ns()
    assert right - wrong == 10 * NS
    assert (clock.earliest(wrong), clock.earliest(right)) == (10**18, 10**18 + 10 * NS)


def test_a_small_difference_is_no_step() -> None:
    machine = TwoClocks()
    clock = machine.clock()
    machine.stepped = NS // 2
    assert clock.steady(clock.time_ns()) == clock.time_ns()
    assert clock.earliest(clock.time_ns()) == clock.time_ns()


def set_clock(run: Run, step: int) -> Callable[[], int]:
    """Set the clock of a market; how often it was read since."""
    read = 0

    def time_ns() -> int:
        nonlocal read
        read += 1
        return time.time_ns() + step

    run.market.clock.time_ns = time_ns
    return lambda: read


def verdict(run: Run) -> list[str]:
    """What the health of a collector with this market says."""
    state, now = run.market.state(), run.market.clock.time_ns()
    status = Status(now, now - 3600 * NS, "test", "1/1", (state,), (), LatencyHistogram(), {}, {})
    return judge(status).reasons


def after_a_step(case: Case, folder: Path, step: int, act: Callable[[Run, Venue], Awaitable[None]]) -> None:
    """A live market whose clock is set, and that has looked several times at every subscription since."""

    async def scenario(run: Run, venue: Venue) -> None:
        await run.emit(50)
        await run.caught_up()
        read = set_clock(run, step)
        await run.until(lambda: read() > 40)
        await act(run, venue)

    collect(case, folder, scenario, types=("trade", "orderbook", "ticker"))


@pytest.mark.parametrize("step", [HOURS_3, -HOURS_3])
@each(*EVERY_VENUE, alike=True)
def test_no_subscription_is_silent_because_the_clock_was_set(case: Case, tmp_path: Path, step: int) -> None:
    async def judged(run: Run, venue: Venue) -> None:
        assert verdict(run) == []
        states = run.market.state().subscriptions
        assert {(one.status, one.resubscribed) for one in states} == {("confirmed", 0)}
        assert {(one.reconnects, one.planned) for one in run.connections} == {(0, 0)}
        await run.emit(50)
        await run.caught_up()
        received = [one.ts_recv for one in run.of(Trade)]
        assert abs(received[-1] - received[0] - step) < HOURS_3 // 2  # what is recorded has the new time
        assert not run.gaps()

    after_a_step(case, tmp_path, step, judged)


@pytest.mark.parametrize("step", [HOURS_3, -HOURS_3])
@each(*EVERY_VENUE, alike=True)
def test_no_gap_ends_before_it_begins_when_the_clock_was_set(case: Case, tmp_path: Path, step: int) -> None:
    async def lost(run: Run, venue: Venue) -> None:
        venue.call(venue.sockets[0].transport.abort)
        await run.until(lambda: sum(one.reconnects for one in run.connections) == 1)
        await run.live()
        await run.until(run.gaps, emit=10)
        assert all(one.ts_from <= one.ts_to for one in run.gaps())

    after_a_step(case, tmp_path, step, lost)
