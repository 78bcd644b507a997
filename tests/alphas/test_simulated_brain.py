"""Two accounts at a BRAIN with caps, slow pages, lock-out and identity checks, one of them broken.

The other account gets all its alphas, each of three runs, with at most 1.2 times the least possible requests: full
pages, one list of super alphas, and one login. Run with -s to see the figures.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from brain_clients import LATER, MONTH, NOVEMBER, client
from test_paging import PAGE

from marketdata_assets.alphas import slices
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.fetch import AccountsReport, fetch_accounts
from marketdata_assets.http_client import RetryPolicy
from marketdata_demo.servers.brain import BrainServer, spread

PASSWORD = "secret"
IMPATIENT = RetryPolicy(max_retries=5, backoff=0.01, max_backoff=0.05, timeout=3.0)
RUNS = 3


@dataclass
class Brain:
    """The accounts `good` and `broken`; the password of the latter may be wrong."""

    server: BrainServer
    home: Path
    wrong: bool

    def client(self, account: str) -> BrainClient:
        password = "wrong" if self.wrong and account == "broken" else PASSWORD
        return client(self.server, self.home, account=account, email=account, password=password, policy=IMPATIENT)

    def fetch(self) -> AccountsReport:
        pairs = [("broken", MONTH), ("good", MONTH)]
        return fetch_accounts(self.home / "alphas", pairs, self.client, now=LATER)

    def landed(self, account: str) -> set[str]:
        pieces = slices.of_month(self.home / "alphas", account, "regular", MONTH)
        return {alpha["id"] for piece in pieces for alpha in json.loads(piece.path.read_bytes())}


WRONG = "wrong password"


@pytest.mark.parametrize(
    ("count", "broken", "limits"),
    [
        pytest.param(10_500, WRONG, {"cap": 10_000, "count_cap": 10_000}, id="cap of 10,000"),
        pytest.param(3000, "headers", {"cap": 1000}, id="cap of 1,000"),
        pytest.param(3000, "body", {"cap": 1000, "beyond": "end"}, id="empty pages beyond 1,000"),
        pytest.param(3000, "headers", {"cap": 1000, "count_cap": 1000}, id="count capped at 1,000"),
        pytest.param(3000, WRONG, {"capacity": 1, "latency": 0.02}, id="slow pages"),
    ],
)
def test_good_account_gets_all_its_alphas(tmp_path: Path, count: int, broken: Any, limits: dict[str, Any]) -> None:
    alphas = list(spread(NOVEMBER.start, NOVEMBER.end, count))
    with BrainServer(lock_after=2, **limits) as server:
        server.add_user("good", PASSWORD, alphas)
        server.add_user("broken", PASSWORD, alphas[:50], persona=None if broken == WRONG else broken)
        brain = Brain(server, tmp_path, wrong=broken == WRONG)
        for _ in range(RUNS):
            outcomes = {month.account: month.outcome for month in brain.fetch().months}
            assert outcomes == {"good": "fetched", "broken": "failed"}
        assert brain.landed("good") == {alpha.id for alpha in alphas}
        requests, least = len(server.arrivals["good"]), -(-count // PAGE) + 2
        asked = len(server.arrivals["broken"])
        print(f"{count} alphas: {requests} requests of {least}, {requests / least:.2f}; broken by {broken}: {asked}")
        assert requests <= 1.2 * least
        assert asked <= (1 if broken == WRONG else RUNS)
        brain.wrong = False  # corrected before it was locked
        server.person_arrives("broken")
        assert not brain.fetch().failed
        assert brain.landed("broken") == {alpha.id for alpha in alphas[:50]}
