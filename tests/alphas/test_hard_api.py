"""Every difficulty of the API together: caps, slow pages, and a second account that cannot log in, in each of its ways.

All alphas of the good account land, in at most 1.2 times the requests that any client needs.
"""

import asyncio
from itertools import product
from pathlib import Path

import pytest
from brain_clients import LATER, MONTH, client
from test_fetch import assert_exact, month_of
from test_paging import least

from marketdata_assets.alphas.errors import AlphasError, IdentityCheckRequired, LoginRejected
from marketdata_assets.alphas.fetch import MonthReport, fetch_month
from marketdata_assets.http_client import RetryPolicy
from marketdata_demo.servers.brain import BrainServer

PATIENT = RetryPolicy(max_retries=5, backoff=0.01, max_backoff=0.05, timeout=4.0)
GOOD, BROKEN = "good@example.com", "broken@example.com"
FAILURES = ["locked out", "persona in headers", "persona in body"]


async def fetch_both(server: BrainServer, home: Path) -> tuple[MonthReport, MonthReport]:
    """The month of a good and of a broken account, at once."""

    async def one(account: str, email: str, password: str) -> MonthReport:
        async with client(server, home, account=account, email=email, password=password, policy=PATIENT) as mine:
            return await fetch_month(mine, home / "alphas", account, MONTH, now=LATER, kinds=["regular"])

    good, broken = one("lk", GOOD, "good"), one("broken", BROKEN, "wrong")
    reports = await asyncio.gather(good, broken)
    return reports[0], reports[1]


def add_broken(server: BrainServer, failure: str) -> type[AlphasError]:
    """Add the account that cannot log in; how its login fails."""
    match failure:
        case "locked out":
            server.add_user(BROKEN, "right")
            return LoginRejected
        case "persona in headers":
            server.add_user(BROKEN, "wrong", persona="headers")
        case _:
            server.add_user(BROKEN, "wrong", persona="body")
    return IdentityCheckRequired


@pytest.mark.parametrize(
    ("cap", "count", "failure", "capacity"),
    [
        *product([1_000], [3_500], FAILURES, [None]),
        *product([10_000], [10_500], FAILURES, [None]),
        (1_000, 3_500, "persona in body", 2),
        (10_000, 10_500, "locked out", 2),
    ],
)
def test_all_alphas_of_the_good_account_land_in_few_requests(
    tmp_path: Path, cap: int, count: int, failure: str, capacity: int | None
) -> None:
    alphas = month_of(count)
    latency = 0.05 if capacity else 0.0
    with BrainServer(cap=cap, count_cap=cap, capacity=capacity, latency=latency, lock_after=2) as server:
        server.add_user(GOOD, "good", alphas)
        expected = add_broken(server, failure)
        good, broken = asyncio.run(fetch_both(server, tmp_path))
        requests = server.requests - len(server.arrivals[BROKEN])
        ratio = requests / least(count)
        print(
            f"cap {cap}, {failure}, at most {capacity} at once: {requests} requests, {ratio:.2f} times {least(count)}"
        )
        assert (good.failed, good.alphas) == ((), count)
        assert_exact(tmp_path, alphas)
        assert ratio <= 1.2
        assert [type(window.error) for window in broken.failed] == [expected]
        assert len(server.arrivals[BROKEN]) <= 2
        asyncio.run(fetch_both(server, tmp_path))
        assert server.refused_logins == (1 if failure == "locked out" else 0)
