"""Both limits of an account hold, over processes, on the server's own clock."""

import asyncio
import multiprocessing
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tick_clients import FREE, SYMBOL, Clients, tushare_config

from marketdata_assets.budget import BudgetBlocked
from marketdata_assets.ticks.providers_file import RateLimits
from marketdata_assets.ticks.rate_limit import SLOTS, Quota, RateLimiter
from marketdata_assets.ticks.records import Days
from marketdata_assets.ticks.tushare import Tushare
from marketdata_demo.servers.tushare import TOKEN, TushareServer


@given(
    st.integers(1, 30),
    st.lists(st.floats(0, 20), min_size=1, max_size=60),
)
def test_no_period_ever_sees_more_than_the_quota(allowed: int, steps: list[float]) -> None:
    now = 1_000_000.0
    given_out: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        quota = Quota(Path(folder), "q", 60.0, allowed, clock=lambda: now)
        for step in steps:
            now += step
            wait = quota.take()
            if wait == 0:
                given_out.append(now)
            else:
                now += wait
                if quota.take() == 0:
                    given_out.append(now)
    for moment in given_out:
        assert sum(moment - 60.0 < other <= moment for other in given_out) <= allowed


def test_a_quota_is_used_up_and_comes_back(tmp_path: Path) -> None:
    now = 5000.0
    quota = Quota(tmp_path, "q", 3600.0, 3, clock=lambda: now)
    assert [quota.take() for _ in range(3)] == [0, 0, 0]
    wait = quota.take()
    assert 3600 <= wait <= 3600 * (1 + 2 / SLOTS)
    now += wait
    assert quota.take() == 0
    (tmp_path / "q.quota").write_bytes(b'{"torn')
    assert quota.take() == 0


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
WAY = 0.25
"""Seconds that a request may take to the server on a busy machine; of a real minute our margin is 0.6 s."""


def ask_often(url: str, folder: Path, times: int) -> None:
    config = tushare_config(rate_limits=LIMITS)
    limiter = RateLimiter(folder, "shared", LIMITS, minute_seconds=1.0, hour_seconds=2.0)

    async def main() -> None:
        async with Tushare(TOKEN, config, limiter, url=url) as client:
            day = Days.month("2025-06").slices(1)[1]
            await asyncio.gather(*(client.bars(SYMBOL, day) for _ in range(times)))

    asyncio.run(main())


def test_two_processes_share_both_limits(tmp_path: Path) -> None:
    """40 in a second and 40 in two: 80 requests take two periods of the longer limit."""
    with TushareServer(minute=40, minute_seconds=1.0 - WAY, hour=40, hour_seconds=2.0 - WAY) as server:
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=ask_often, args=(server.url, tmp_path, 40)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
        assert [worker.exitcode for worker in workers] == [0, 0]
        assert (server.overruns, server.requests) == (0, 80)


def test_the_servers_limit_is_obeyed_where_ours_is_wrong(tmp_path: Path, clients: Clients) -> None:
    """The file allows more than the account has: every refusal is answered with silence, and the work gets done."""
    with TushareServer(minute=2, minute_seconds=60.0) as server:
        limiter = RateLimiter(tmp_path, "m", FREE, longest_wait=3.0)

        async def main(client: Tushare) -> None:
            for day in Days.month("2025-06").slices(1)[:5]:
                await client.bars(SYMBOL, day)

        with pytest.raises(Exception, match="每分钟最多访问该接口2次"):
            clients.with_tushare(server, main, limiter=limiter)
        assert (server.requests, server.overruns) == (3, 1)
