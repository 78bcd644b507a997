"""One rate for all: no period ever holds more turns than the budget, whoever takes them, and hardly one is wasted."""

import asyncio
import fcntl
import json
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.budget import LONGEST_BLOCK_SECONDS, Budget, BudgetBlocked, Clock, FileStore
from tests.recorded_budgets import most_within

TAKER = """
import asyncio, sys
from pathlib import Path
from marketdata_assets.budget import Budget

async def main(folder, per_seconds, requests, turns, waiters):
    budget = Budget(Path(folder), "lk", float(per_seconds), float(requests))
    print("ready", flush=True)
    async def take():
        for _ in range(int(turns)):
            await budget.acquire()
    await asyncio.gather(*(take() for _ in range(int(waiters))))

asyncio.run(main(*sys.argv[1:]))
"""
WAITERS = 3
LONGEST = 120.0
"""Seconds that a taker may need on a busy machine."""


def takers(folder: Path, processes: int, budget: Budget, turns: int) -> list[subprocess.Popen[str]]:
    """Processes that take so many turns each, in several tasks."""
    arguments = [str(folder), str(budget.per_seconds), str(budget.requests), str(turns // WAITERS), str(WAITERS)]
    command = [sys.executable, "-c", TAKER, *arguments]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    return children


def finish(children: Sequence[subprocess.Popen[str]]) -> None:
    for child in children:
        child.communicate(timeout=LONGEST)
        assert child.returncode == 0


def state(folder: Path) -> Path:
    return folder / "lk.budget"


def next_turn(folder: Path) -> float:
    """When the budget allows the next request, by the monotonic clock."""
    turn: float = json.loads(state(folder).read_bytes())["turn"]
    return turn


def is_unlocked(folder: Path) -> bool:
    with state(folder).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_three_processes_share_one_rate(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    budget, started = Budget(folder, "lk", 1.0, 60), time.monotonic()
    finish(takers(folder, 3, budget, 30))
    # Turns follow one another at the spacing, whoever takes them, and none is taken before its time.
    assert next_turn(folder) > started + 90 * budget.spacing - 0.001
    assert time.monotonic() > started + 89 * budget.spacing - 0.001
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(state(folder).stat().st_mode) == 0o600


def test_block_stops_every_process_and_then_all_go_on(tmp_path: Path) -> None:
    budget = Budget(tmp_path, "lk", 1.0, 200)
    children = takers(tmp_path, 2, budget, 300)
    ends = time.monotonic() + 1.0
    budget.block(1.0)
    assert next_turn(tmp_path) > ends - 0.001
    finish(children)
    assert time.monotonic() > ends


def test_killed_and_stopped_processes_cost_the_others_nothing(tmp_path: Path) -> None:
    budget = Budget(tmp_path, "lk", 1.0, 100)
    killed, stopped, living = takers(tmp_path, 3, budget, 90)
    killed.kill()
    killed.communicate()
    stopped.send_signal(signal.SIGSTOP)
    while not is_unlocked(tmp_path) and living.poll() is None:  # stopped in the microseconds in which it had the lock
        stopped.send_signal(signal.SIGCONT)
        time.sleep(0.01)
        stopped.send_signal(signal.SIGSTOP)
    finish([living])
    assert stopped.poll() is None
    stopped.send_signal(signal.SIGCONT)
    finish([stopped])


def test_threads_share_it_with_tasks(tmp_path: Path) -> None:
    budget, started = Budget(tmp_path, "lk", 1.0, 100), time.monotonic()

    def work() -> None:
        for _ in range(10):
            asyncio.run(budget.acquire())

    async def tasks() -> None:
        for _ in range(10):
            await budget.acquire()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()
    assert next_turn(tmp_path) > started + 50 * budget.spacing - 0.001


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0\0",
        b'{"turn": 12',
        b'{"turn": 12.5, "boot": 1}',
        b'{"machine": "a", "turn": null, "written": 1, "time": 1}',
        b'{"machine": "a", "turn": NaN, "written": 1, "time": 1}',
        b'{"machine": "a", "turn": 1, "written": NaN, "time": 1}',
        b'{"machine": "a", "turn": 1, "written": 1, "time": NaN}',
        b'{"machine": "a", "turn": 1, "written": -Infinity, "time": 1}',
        b"[1, 2]",
        b"7",
        b"\xff" * 300,
    ],
)
def test_torn_state_heals_itself(tmp_path: Path, content: bytes) -> None:
    budget = Budget(tmp_path, "lk", 1.0, 20)
    state(tmp_path).write_bytes(content)
    started = time.monotonic()
    asyncio.run(budget.acquire(patience=1))  # which raises where the wait would be longer
    asyncio.run(budget.acquire(patience=1))
    assert next_turn(tmp_path) > started


def written(folder: Path, **changes: object) -> None:
    """A state of this machine, with some changes."""
    budget = Budget(folder, "lk", 1.0, 20)
    asyncio.run(budget.acquire(patience=1))
    content = json.loads(state(folder).read_bytes())
    state(folder).write_text(json.dumps(content | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"turn": 1e12},
        {"written": 1e12},
        {"time": 1e300},
        {"turn": -1e9},
        {"machine": "of another boot"},
        {"machine": "of another boot", "time": 4e9},
        {"machine": "of another boot", "time": -7200.0},
        {"machine": None},
    ],
)
def test_state_of_another_boot_or_too_far_ahead_heals_itself(tmp_path: Path, changes: dict[str, object]) -> None:
    written(tmp_path, **changes)
    asyncio.run(Budget(tmp_path, "lk", 1.0, 20).acquire(patience=1))


class Host(Clock):
    """A machine that was started at another time, and whose clock may be wrong; `world` is the true time."""

    def __init__(self, name: str, world: list[float], *, booted: float, wrong: float = 0.0) -> None:
        self.name, self.world, self.booted, self.wrong = name, world, booted, wrong

    @property
    def machine(self) -> str:
        return self.name

    def monotonic(self) -> float:
        return self.world[0] - self.booted

    def time(self) -> float:
        return self.world[0] + self.wrong


def two_hosts(folder: Path, *, wrong: float = 0.0) -> tuple[list[float], tuple[Budget, Budget], tuple[Host, Host]]:
    """The same budget of ten turns a second on two hosts, where the clock of the second is `wrong`."""
    world = [1_700_000_000.0]
    first = Host("first", world, booted=world[0] - 5e6)
    second = Host("second", world, booted=world[0] - 100.0, wrong=wrong)
    return (
        world,
        (Budget(FileStore(folder, first), "lk", 1.0, 10), Budget(FileStore(folder, second), "lk", 1.0, 10)),
        (first, second),
    )


def taken(budget: Budget, cost: float = 1.0) -> float:
    """0 when the budget has a turn now, else the seconds to wait."""
    assert isinstance(budget.store, FileStore)
    return budget.store.take_now(budget, cost)


@pytest.mark.parametrize("moment", [50_000.0 + 0.1 * step for step in range(40)])
def test_the_longest_block_is_kept_whatever_the_clock_shows(tmp_path: Path, moment: float) -> None:
    """The moment of its end is rounded, so that it may look longer than it can be."""
    host = Host("first", [moment], booted=0.0)
    budget = Budget(FileStore(tmp_path, host), "lk", 1.0, 10)
    budget.block(LONGEST_BLOCK_SECONDS)
    assert taken(budget) == pytest.approx(LONGEST_BLOCK_SECONDS)
    host.world[0] += LONGEST_BLOCK_SECONDS / 2
    assert taken(budget) == pytest.approx(LONGEST_BLOCK_SECONDS / 2)


def taken_by(world: list[float], budgets: Sequence[Budget], seconds: float, step: float = 0.005) -> list[float]:
    """When turns were taken by hosts that ask as often as they can."""
    ends, moments = world[0] + seconds, []
    while world[0] < ends:
        moments += [world[0] for budget in budgets if taken(budget) == 0]
        world[0] += step
    return moments


@pytest.mark.parametrize("wrong", [0.0, 0.03, -0.03, 40.0, -40.0, 86400.0, -86400.0])
def test_hosts_that_share_the_folder_share_one_rate(tmp_path: Path, wrong: float) -> None:
    world, budgets, _ = two_hosts(tmp_path, wrong=wrong)
    moments = taken_by(world, budgets, 20)
    assert most_within(moments, 0.999) <= 10 + 1
    assert len(moments) >= 20 * 8


def test_block_of_one_host_stops_the_other(tmp_path: Path) -> None:
    for wrong in (0.0, -40.0):
        folder = tmp_path / str(wrong)
        world, (first, second), _ = two_hosts(folder, wrong=wrong)
        assert taken(second) == 0
        first.block(300)
        assert not taken_by(world, (second, first), 299, step=0.5)
        assert taken_by(world, (second,), 2)


@pytest.mark.parametrize("jump", [7200.0, -7200.0, 1e9, -1e9])
def test_clock_that_is_set_stops_nobody_for_longer_than_a_turn(tmp_path: Path, jump: float) -> None:
    world, budgets, (first, second) = two_hosts(tmp_path)
    taken_by(world, budgets, 2)
    for host, back in ((first, 0.0), (second, 0.0), (first, -jump), (second, -jump)):
        host.wrong += back or jump
        moments = taken_by(world, budgets, 3)
        assert 3 * 8 <= len(moments) <= 3 * 10 + 2


def test_block_outlasts_a_clock_that_is_set_on_its_own_host(tmp_path: Path) -> None:
    world, (first, _), (host, _) = two_hosts(tmp_path)
    first.block(300)
    host.wrong += 7200
    assert not taken_by(world, (first,), 299, step=0.5)


def test_long_block_is_told_to_the_impatient_and_longer_ones_win(tmp_path: Path) -> None:
    budget = Budget(tmp_path, "lk", 1.0, 20)
    budget.block(500)
    budget.block(1)
    with pytest.raises(BudgetBlocked, match=r"49\d|500") as caught:
        asyncio.run(budget.acquire(patience=60))
    assert 490 < caught.value.seconds <= 500
    state(tmp_path).unlink()
    asyncio.run(budget.acquire(patience=0))


def test_names_and_rates_that_make_no_budget_are_refused(tmp_path: Path) -> None:
    for name in ("", "..", "a/b", "a b"):
        with pytest.raises(ValueError, match="budget name"):
            Budget(tmp_path, name, 60, 100)
    for rate in ((0, 1), (1, 0), (-1, 5)):
        with pytest.raises(ValueError, match="no rate"):
            Budget(tmp_path, "lk", *rate)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.02, 0.5, 3.0]), st.integers(1, 9)),
        min_size=20,
        max_size=120,
    ),
    st.sampled_from([(1.0, 10, 1), (60.0, 120, 1), (2.0, 3, 1), (10.0, 1, 1), (1.0, 40, 9), (60.0, 600, 9)]),
)
def test_any_pattern_of_waking_and_costs_keeps_within_the_budget_but_for_the_dearest(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[float, int]], rate: tuple[float, int, int]
) -> None:
    """Waiters that wake late by any amount, on a clock of the test's own."""
    per_seconds, requests, dearest = rate
    costs = [min(cost, dearest) for _, cost in turns]
    budget = Budget(tmp_path_factory.mktemp("b"), "lk", per_seconds, requests)
    now, moments = 1000.0, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        patch.setattr(time, "time", lambda: now)
        for (late, _), cost in zip(turns, costs, strict=True):
            while wait := taken(budget, cost):
                now += wait + late * per_seconds + 1e-6
            moments += [now] * cost
    assert most_within(moments, per_seconds) <= requests + dearest - 1
    assert now - 1000.0 >= (sum(costs[:-1]) - requests) * budget.spacing


def test_state_survives_where_the_folder_is_removed(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "deep" / "er", "lk", 1.0, 50)
    asyncio.run(budget.acquire())
    state(tmp_path / "deep" / "er").unlink()
    (tmp_path / "deep" / "er").rmdir()
    asyncio.run(budget.acquire())
    assert state(tmp_path / "deep" / "er").exists()
