"""Clients of the test server, with short pauses and a budget that is in nobody's way unless a test says so."""

import asyncio
import datetime as dt
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from marketdata_assets.alphas.accounts import Credentials
from marketdata_assets.alphas.api import CONCURRENCY, BrainClient
from marketdata_assets.alphas.fetch import MonthReport, fetch_month
from marketdata_assets.alphas.layout import month_window
from marketdata_assets.budget import Budget
from marketdata_assets.http_client import RetryPolicy
from marketdata_demo.servers.brain import BrainServer

T = TypeVar("T")

EMAIL, PASSWORD = "person@example.com", "canary-password"
MONTH = "2024-11"
NOVEMBER = month_window(MONTH)
LATER = dt.datetime(2025, 1, 15, tzinfo=dt.UTC)
HASTY = RetryPolicy(max_retries=3, backoff=0.01, max_backoff=0.05, timeout=10.0)


def children() -> dict[str, str]:
    """The environment of a process that imports what the tests import."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def client(
    server: BrainServer,
    home: Path,
    *,
    account: str = "lk",
    email: str = EMAIL,
    password: str = PASSWORD,
    policy: RetryPolicy = HASTY,
    budget: Budget | None = None,
    concurrency: int = CONCURRENCY,
) -> BrainClient:
    credentials = Credentials(email, password)
    budget = budget or Budget(home / "budgets", account, 1.0, 2000)
    return BrainClient(
        account,
        credentials,
        server.url,
        sessions=home / "brain",
        budget=budget,
        policy=policy,
        concurrency=concurrency,
    )


def with_client(
    server: BrainServer, home: Path, body: Callable[[BrainClient], Coroutine[Any, Any, T]], **options: Any
) -> T:
    """Run `body` with a client in an event loop of its own."""

    async def main() -> T:
        async with client(server, home, **options) as one:
            return await body(one)

    return asyncio.run(main())


def fetched(server: BrainServer, home: Path, *, month: str = MONTH, account: str = "lk", **options: Any) -> MonthReport:
    """Fetch a month into `home`/alphas; options of the client or of `fetch`."""
    mine = {key: options.pop(key) for key in ("email", "password", "policy", "budget", "concurrency") if key in options}
    rest: dict[str, Any] = {"now": LATER, "kinds": ["regular"], **options}
    return with_client(
        server, home, lambda one: fetch_month(one, home / "alphas", account, month, **rest), account=account, **mine
    )
