"""Limits: concurrent requests, batches of units, and rates over all processes."""

import asyncio
import datetime as dt
import multiprocessing
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Queue
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.budget import SLOTS, BudgetBlocked, FileStore, Quota
from marketdata_assets.budget import Clock as MachineClock
from marketdata_assets.concurrency_limit import ConcurrencyLimit
from marketdata_assets.reference.records import Days
from marketdata_assets.ticks.load_run import Batches, Limits
from marketdata_assets.ticks.plan import ordered
from marketdata_assets.ticks.provider_client import RateLimiter
from marketdata_assets.ticks.providers_file import Network, RateLimits
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tushare import Account, Tushare
from marketdata_demo.servers.tushare import TOKEN, TushareServer
from tests.recorded_budgets import RecordedBudgets, most_within
from tests.ticks.tick_clients import FREE, JUNE, SYMBOL, Clients, tushare_config


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_client_tells_its_gate_of_rates_and_timeouts_but_not_of_errors(
    clients: Clients, tushare_server: TushareServer
) -> None:
    config = tushare_config(network=Network(timeout=3.0, max_retries=3, backoff=0.01))
    seen = []

    async def main() -> None:
        async with clients.tushare(tushare_server, config=config) as client:
            limit = ConcurrencyLimit(8)
            client.set_concurrency_limit(limit)
            for fault in (
                lambda: tushare_server.fail(502, 2),
                lambda: tushare_server.fail(429, 1, retry="0"),
                lambda: tushare_server.stall(60.0, 1),
            ):
                fault()
                await client.bars(SYMBOL, JUNE)
                seen.append((limit.halvings, limit.allowed))

    asyncio.run(main())
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert tushare_server.requests == 7


DAY = dt.datetime(2025, 6, 2, tzinfo=dt.UTC)


def test_first_by_name_then_never_loaded_then_the_stalest() -> None:
    units = [Unit(symbol, "2025-06") for symbol in "ABCDEF"]
    attempted = {units[0]: DAY + dt.timedelta(hours=2), units[1]: DAY, units[4]: DAY + dt.timedelta(hours=1)}
    found = ordered([*units, units[2]], ["F", "X", "A"], attempted)
    assert "".join(unit.symbol for unit in found) == "FACDBE"


def test_of_equals_the_newest_month_comes_first() -> None:
    units = [Unit(symbol, month) for month in ("2025-05", "2025-06") for symbol in "BA"]
    assert ordered(units, [], {}) == [
        Unit("A", "2025-06"),
        Unit("B", "2025-06"),
        Unit("A", "2025-05"),
        Unit("B", "2025-05"),
    ]
    assert ordered(units, ["B"], {})[:2] == [Unit("B", "2025-06"), Unit("B", "2025-05")]


def limits(rows: int = 100, items: int = 100, seconds: float = 100.0, held: int = 1000) -> Limits:
    return Limits(rows, items, seconds, held, first=seconds)


@pytest.mark.parametrize(
    ("given", "put", "due"),
    [
        (limits(rows=10), [("a", 6), ("b", 6), ("a", 4)], "a"),
        (limits(items=2), [("a", 0), ("b", 0), ("b", 0)], "b"),
    ],
)
def test_a_batch_is_due_by_rows_or_by_items(given: Limits, put: list[tuple[str, int]], due: str) -> None:
    async def main() -> tuple[str, list[str], int] | None:
        batches: Batches[str] = Batches(given)
        for number, (month, rows) in enumerate(put):
            await batches.put(month, f"{month}{number}", rows)
        return await batches.take()

    taken = asyncio.run(asyncio.wait_for(main(), 5))
    assert taken
    wanted = [(month, rows, f"{month}{number}") for number, (month, rows) in enumerate(put) if month == due]
    assert taken == (due, [name for _, _, name in wanted], sum(rows for _, rows, _ in wanted))


def test_a_batch_is_due_by_age() -> None:
    async def main() -> list[object]:
        clock = Clock()
        batches: Batches[str] = Batches(limits(seconds=5.0), clock=clock)
        await batches.put("a", "first", 1)
        taking = asyncio.create_task(batches.take())
        for _ in range(10):
            await asyncio.sleep(0)
        early = taking.done()
        clock.now = 5.0
        await batches.put("b", "second", 1)
        return [early, await taking]

    assert asyncio.run(asyncio.wait_for(main(), 5)) == [False, ("a", ["first"], 1)]


def test_the_first_batches_are_due_early_so_that_a_killed_load_keeps_their_rows() -> None:
    async def main() -> list[float]:
        clock = Clock()
        batches: Batches[str] = Batches(Limits(seconds=10.0, first=1.0), clock=clock)
        waits = []
        for number in range(5):
            began = clock.now
            await batches.put("a", f"item {number}", 1)
            taking = asyncio.create_task(batches.take())
            while not taking.done():
                await asyncio.sleep(0)
                clock.now += 0.05
                await batches.put("a", "another", 1)
            waits.append(clock.now - began)
        return waits

    waits = asyncio.run(asyncio.wait_for(main(), 5))
    assert waits == sorted(waits)
    assert (round(waits[0]), round(waits[1]), round(waits[4])) == (1, 2, 10)


def test_closing_hands_out_everything_and_then_nothing() -> None:
    async def main() -> list[object]:
        batches: Batches[str] = Batches(limits())
        await batches.put("a", "first", 1)
        await batches.put("b", "second", 2)
        await batches.close()
        return [await batches.take() for _ in range(3)]

    assert asyncio.run(asyncio.wait_for(main(), 5)) == [("b", ["second"], 2), ("a", ["first"], 1), None]


def test_no_more_rows_are_held_than_the_limit_and_nobody_waits_for_ever() -> None:
    most = 0
    written: list[int] = []

    async def main() -> None:
        batches: Batches[int] = Batches(limits(rows=1000, held=50))

        async def give(first: int) -> None:
            nonlocal most
            for number in range(first, first + 20):
                await batches.put(f"{number % 3}", number, 60 if number == 7 else 20)
                most = max(most, batches.held)

        async def write() -> None:
            while (batch := await batches.take()) is not None:
                _, items, rows = batch
                await asyncio.sleep(0)
                written.extend(items)
                await batches.release(rows)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            await asyncio.gather(*(give(first) for first in (0, 20, 40)))
            await batches.close()

    asyncio.run(asyncio.wait_for(main(), 5))
    assert sorted(written) == list(range(60))
    assert most == 60  # the one that is larger than the limit, alone


@dataclass(frozen=True)
class At(MachineClock):
    """The clock of a machine that shows what `now` says."""

    now: Callable[[], float]

    def time(self) -> float:
        return self.now()


def counted(quota: Quota) -> float:
    """0 when the quota counts a request, else the seconds to wait."""
    assert isinstance(quota.store, FileStore)
    return quota.store.count_now(quota)


@given(
    st.integers(1, 30),
    st.lists(st.floats(0, 20), min_size=1, max_size=60),
)
def test_no_period_ever_sees_more_than_the_quota(allowed: int, steps: list[float]) -> None:
    now = 1_000_000.0
    given_out: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        quota = Quota(FileStore(Path(folder), At(lambda: now)), "q", 60.0, allowed)
        for step in steps:
            now += step
            wait = counted(quota)
            if wait == 0:
                given_out.append(now)
            else:
                now += wait
                if counted(quota) == 0:
                    given_out.append(now)
    for moment in given_out:
        assert sum(moment - 60.0 < other <= moment for other in given_out) <= allowed


def test_a_quota_is_used_up_and_comes_back(tmp_path: Path) -> None:
    now = 5000.0
    quota = Quota(FileStore(tmp_path, At(lambda: now)), "q", 3600.0, 3)
    assert [counted(quota) for _ in range(3)] == [0, 0, 0]
    wait = counted(quota)
    assert 3600 <= wait <= 3600 * (1 + 2 / SLOTS)
    now += wait
    assert counted(quota) == 0
    (tmp_path / "q.quota").write_bytes(b'{"torn')
    assert counted(quota) == 0


def test_an_hour_may_be_spent_at_the_pace_of_minutes(tmp_path: Path) -> None:
    limiter = RateLimiter(tmp_path, "m", RateLimits(requests_per_minute=6000, requests_per_hour=60), longest_wait=1.0)

    async def turns() -> None:
        for _ in range(60):
            await limiter.acquire("bars")

    asyncio.run(turns())  # which raises where a turn is more than longest_wait away
    with pytest.raises(BudgetBlocked, match="requests per hour"):
        asyncio.run(limiter.acquire("bars"))


def test_a_silence_is_kept_by_one_interface_only(tmp_path: Path) -> None:
    limiter = RateLimiter(tmp_path, "m", FREE, longest_wait=1.0)
    limiter.block("bars", 60.0)
    asyncio.run(limiter.acquire("daily"))
    with pytest.raises(BudgetBlocked):
        asyncio.run(limiter.acquire("bars"))


def test_a_silence_holds_for_those_who_wait_already(tmp_path: Path) -> None:
    limiter = RateLimiter(tmp_path, "m", RateLimits(requests_per_minute=600, requests_per_hour=6000), longest_wait=1.0)

    async def main() -> list[object]:
        await limiter.acquire("bars")
        waiting = asyncio.gather(*(limiter.acquire("bars") for _ in range(3)), return_exceptions=True)
        await asyncio.sleep(0.02)
        limiter.block("bars", 60.0)
        return list(await waiting)

    assert [type(outcome) for outcome in asyncio.run(main())] == [BudgetBlocked] * 3


LIMITS = RateLimits(requests_per_minute=40, requests_per_hour=40)


def ask_often(url: str, folder: Path, times: int, granted: "Queue[tuple[list[float], list[float]]]") -> None:
    config, budgets = tushare_config(rate_limits=LIMITS), RecordedBudgets(folder)
    limiter = RateLimiter(budgets, "shared", LIMITS, minute_seconds=1.0, hour_seconds=2.0)

    async def main() -> None:
        async with Tushare([Account(TOKEN, limiter)], config, url=url) as client:
            day = Days.month("2025-06").slices(1)[1]
            await asyncio.gather(*(client.bars(SYMBOL, day) for _ in range(times)))

    asyncio.run(main())
    granted.put((budgets.turns["shared"], budgets.counted["shared"]))


@pytest.mark.slow
def test_two_processes_share_both_limits(tmp_path: Path) -> None:
    """40 in a second and 40 in two: 80 requests take two periods of the longer limit."""
    with TushareServer() as server:
        context = multiprocessing.get_context("spawn")
        granted: Queue[tuple[list[float], list[float]]] = context.Queue()
        workers = [context.Process(target=ask_often, args=(server.url, tmp_path, 40, granted)) for _ in range(2)]
        for worker in workers:
            worker.start()
        first, second = granted.get(timeout=300), granted.get(timeout=300)
        for worker in workers:
            worker.join(300)
        assert [worker.exitcode for worker in workers] == [0, 0]
        turns, counted = first[0] + second[0], first[1] + second[1]
        assert len(counted) >= server.requests == 80, "a turn that came too late is not used"
        assert most_within(turns, 1.0) <= 40
        assert most_within(counted, 2.0) <= 40


def test_the_servers_limit_is_obeyed_where_ours_is_wrong(tmp_path: Path, clients: Clients) -> None:
    """The file allows more than the account has: every refusal is answered with silence, and the work gets done."""
    with TushareServer(minute=2, minute_seconds=60.0) as server:
        limiter = RateLimiter(tmp_path, "m", FREE, longest_wait=3.0)

        async def main(client: Tushare) -> None:
            for day in Days.month("2025-06").slices(1)[:5]:
                await client.bars(SYMBOL, day)

        with pytest.raises(Exception, match=r"频率超限\(2次/分钟\)"):
            clients.with_tushare(server, main, limiter=limiter)
        assert (server.requests, server.overruns) == (3, 1)
