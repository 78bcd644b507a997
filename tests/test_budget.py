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
from recorded_budgets import most_within

from marketdata_assets.budget import LONGEST_BLOCK_SECONDS, Budget, BudgetBlocked, Clock, FileStore

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
        b'{"boot": "a", "turn": 1, "time": null}',
        b'{"boot": "a", "turn": 1, "time": NaN}',
        b'{"boot": "a", "turn": 1, "time": -Infinity}',
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
        {"turn": -1e9},
        {"turn": float("nan")},
        {"boot": "another"},
        {"boot": "another", "time": 4e9},
        {"boot": "another", "time": 1e300},
        {"boot": "another", "time": -7200.0},
        {"boot": None},
    ],
)
def test_state_of_another_boot_or_too_far_ahead_heals_itself(tmp_path: Path, changes: dict[str, object]) -> None:
    written(tmp_path, **changes)
    asyncio.run(Budget(tmp_path, "lk", 1.0, 20).acquire(patience=1))


class Host(Clock):
    """A machine on which `passed` seconds went by since its first start, and whose clock may be wrong."""

    def __init__(self, passed: float = 5e6) -> None:
        self.passed, self.booted, self.wrong = passed, 0.0, 0.0

    @property
    def boot(self) -> str:
        return str(self.booted)

    def monotonic(self) -> float:
        return self.passed - self.booted

    def time(self) -> float:
        return 1_700_000_000.0 + self.passed + self.wrong

    def budget(self, folder: Path) -> Budget:
        """Ten turns a second."""
        return Budget(FileStore(folder, self), "lk", 1.0, 10)


def taken(budget: Budget, cost: float = 1.0) -> float:
    """0 when the budget has a turn now, else the seconds to wait."""
    assert isinstance(budget.store, FileStore)
    return budget.store.take_now(budget, cost)


@pytest.mark.parametrize("moment", [50_000.0 + 0.1 * step for step in range(40)])
def test_the_longest_block_is_kept_whatever_the_clock_shows(tmp_path: Path, moment: float) -> None:
    """The moment of its end is rounded, so that it may look longer than it can be."""
    host = Host(moment)
    budget = host.budget(tmp_path)
    budget.block(LONGEST_BLOCK_SECONDS)
    assert taken(budget) == pytest.approx(LONGEST_BLOCK_SECONDS)
    host.passed += LONGEST_BLOCK_SECONDS / 2
    assert taken(budget) == pytest.approx(LONGEST_BLOCK_SECONDS / 2)


def taken_in(host: Host, budget: Budget, seconds: float, step: float = 0.005) -> list[float]:
    """When turns were taken by who asks as often as it can."""
    ends, moments = host.passed + seconds, []
    while host.passed < ends:
        moments += [host.passed] if taken(budget) == 0 else []
        host.passed += step
    return moments


@pytest.mark.parametrize("jump", [7200.0, -7200.0, 1e9, -1e9])
def test_a_clock_that_is_set_costs_no_turn(tmp_path: Path, jump: float) -> None:
    host = Host()
    budget = host.budget(tmp_path)
    for wrong in (0.0, jump, 0.0):
        host.wrong = wrong
        assert 3 * 8 <= len(taken_in(host, budget, 3)) <= 3 * 10 + 2


@pytest.mark.parametrize("restarted", [False, True])
def test_a_block_outlasts_a_clock_that_is_set_and_a_restart_of_the_machine(tmp_path: Path, restarted: bool) -> None:
    host = Host()
    budget = host.budget(tmp_path)
    budget.block(300)
    if restarted:
        host.booted = host.passed
    else:
        host.wrong += 7200
    assert not taken_in(host, budget, 299, step=0.5)
    assert taken_in(host, budget, 2)


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
