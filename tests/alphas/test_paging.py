"""A list that the API lists in part only: capped counts and offsets, empty pages, slow answers. No alpha is missing."""

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.fetch import fetch_accounts
from marketdata_assets.alphas.layout import DAY, SECOND, Window
from marketdata_assets.errors import TransientError
from marketdata_assets.http_client import RetryPolicy
from marketdata_demo.servers.brain import Alpha, BrainServer, make, spread
from tests.alphas.archives import names, pack
from tests.alphas.brain_clients import EMAIL, LATER, MONTH, NOVEMBER, PASSWORD, client, fetched
from tests.alphas.test_fetch import assert_exact, month_of, on_disk

PAGE = 100
BUSY_DAY = Window(NOVEMBER.start + 4 * DAY, NOVEMBER.start + 5 * DAY)


def least(alphas: int) -> int:
    """Full pages, and the login: no client can ask for less."""
    return -(-alphas // PAGE) + 1


@pytest.mark.parametrize(
    ("count", "span", "limits"),
    [
        pytest.param(2000, NOVEMBER, {"count_cap": 1500}, id="capped count"),
        pytest.param(1500, BUSY_DAY, {"cap": 1000}, id="busy day"),
        pytest.param(2000, NOVEMBER, {"cap": 1000, "count_cap": 1000}, id="both capped"),
        pytest.param(3000, NOVEMBER, {"cap": 400}, id="small cap"),
        pytest.param(400, NOVEMBER, {"count_cap": 100}, id="count of one page"),
        pytest.param(2000, NOVEMBER, {"cap": 1000, "count_cap": 1000, "beyond": "end"}, id="empty pages"),
    ],
)
def test_limits_are_learned_and_lose_nothing(tmp_path: Path, count: int, span: Window, limits: dict[str, Any]) -> None:
    alphas = month_of(count) if span == NOVEMBER else list(spread(span.start, span.end, count))
    with BrainServer(**limits) as server:
        server.add_user(EMAIL, PASSWORD, alphas)
        assert fetched(server, tmp_path).failed == ()
        assert_exact(tmp_path, alphas)
        assert server.requests <= 1.2 * least(count)


WRONG = "wrong password"
IMPATIENT = RetryPolicy(max_retries=5, backoff=0.01, max_backoff=0.05, timeout=3.0)


@pytest.mark.parametrize(
    ("broken", "limits"),
    [
        pytest.param("headers", {"cap": 1000, "count_cap": 1000}, id="identity check"),
        pytest.param(WRONG, {"capacity": 1, "latency": 0.02}, id="slow pages"),
    ],
)
def test_an_account_gets_all_its_alphas_while_another_is_broken(
    tmp_path: Path, broken: Any, limits: dict[str, Any]
) -> None:
    """With at most 1.2 times the least possible requests: full pages, one list of super alphas, and one login."""
    alphas, few, runs = month_of(2000), month_of(50), 2
    passwords = {"good": PASSWORD, "broken": "wrong" if broken == WRONG else PASSWORD}

    def fetch() -> dict[str, str]:
        def client_of(name: str) -> BrainClient:
            return client(server, tmp_path, account=name, email=name, password=passwords[name], policy=IMPATIENT)

        pairs = [(name, MONTH) for name in passwords]
        return {
            one.account: one.outcome for one in fetch_accounts(tmp_path / "alphas", pairs, client_of, now=LATER).months
        }

    with BrainServer(lock_after=2, **limits) as server:
        server.add_user("good", PASSWORD, alphas)
        server.add_user("broken", PASSWORD, few, persona=None if broken == WRONG else broken)
        for _ in range(runs):
            assert fetch() == {"good": "fetched", "broken": "failed"}
        assert set(on_disk(tmp_path, account="good")) == {alpha.id for alpha in alphas}
        assert len(server.arrivals["good"]) <= 1.2 * (least(len(alphas)) + 1)
        assert len(server.arrivals["broken"]) <= (1 if broken == WRONG else runs)
        passwords["broken"] = PASSWORD  # corrected before it was locked
        server.person_arrives("broken")
        assert fetch() == dict.fromkeys(passwords, "fetched")
        assert set(on_disk(tmp_path, account="broken")) == {alpha.id for alpha in few}


def test_short_page_that_lasts_fails_only_its_second(tmp_path: Path) -> None:
    """One alpha is counted, and listed in no page."""
    hidden = NOVEMBER.start + dt.timedelta(days=3, hours=5)
    alphas = [*month_of(60), make(9000, hidden)]
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, alphas)
        server.hide(EMAIL, alphas[-1].id)
        report = fetched(server, tmp_path)
        [failed] = report.failed
        assert (failed.window, report.alphas) == (Window(hidden, hidden + SECOND), 60)
        assert isinstance(failed.error, TransientError)
        assert "0 of 1 alphas were delivered" in str(failed.error)


@pytest.mark.parametrize(
    ("count", "limits", "cause"),
    [
        (201, {"cap": 200}, "alphas were created within this second"),
        (1001, {"cap": 1000, "count_cap": 1000, "beyond": "end"}, "alphas were created within this second"),
        (1001, {"count_cap": 1000}, "1001 of 1000 alphas were delivered"),
        (101, {"count_cap": 100}, "101 of 100 alphas were delivered"),
    ],
)
def test_second_that_holds_more_alphas_than_a_cap_fails_alone(
    tmp_path: Path, count: int, limits: dict[str, Any], cause: str
) -> None:
    moment = NOVEMBER.start + 9 * 3600 * SECOND
    others = [make(1, moment - SECOND), make(3, moment + SECOND), make(5, NOVEMBER.end - SECOND)]
    with BrainServer(**limits) as server:
        server.add_user(EMAIL, PASSWORD, [*others, *(make(1000 + number, moment) for number in range(count))])
        [failed] = fetched(server, tmp_path).failed
        assert failed.window == Window(moment, moment + SECOND)
        assert cause in str(failed.error)
        assert set(on_disk(tmp_path)) == {alpha.id for alpha in others}


@pytest.mark.parametrize("count", [100, 199, 200])
def test_second_of_whole_pages_is_read_to_its_end(tmp_path: Path, count: int) -> None:
    alphas = [make(number, NOVEMBER.start) for number in range(count)]
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, alphas)
        assert fetched(server, tmp_path).failed == ()
        assert_exact(tmp_path, alphas)


def dated(alpha: Alpha, created: Any) -> Alpha:
    """The alpha with another text as dateCreated; the server lists it in its old place."""
    return replace(alpha, body=json.dumps({**json.loads(alpha.body), "dateCreated": created}).encode())


@pytest.mark.parametrize("odd", [10, 99, 100])
@pytest.mark.parametrize("created", ["as New York says", None, "someday", 17])
def test_alpha_without_a_date_or_an_offset_stays_in_its_slice(tmp_path: Path, odd: int, created: Any) -> None:
    alphas = month_of(300)[:]
    text = json.loads(alphas[odd].body)["dateCreated"]
    alphas[odd] = dated(alphas[odd], text[:-6] if created == "as New York says" else created)
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, alphas)
        report = fetched(server, tmp_path)
    assert (report.failed, report.alphas) == ((), 300)
    pack(tmp_path / "alphas")
    assert sorted(name for day in names(tmp_path / "alphas").values() for name in day) == sorted(
        alpha.id for alpha in alphas
    )


def test_date_without_an_offset_is_outside_the_window_too(tmp_path: Path) -> None:
    alphas = [dated(make(1, NOVEMBER.start), "2024-10-30T20:00:00")]
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, alphas)
        [failed, *_] = fetched(server, tmp_path).failed
    assert "of 2024-10-31T00:00:00+00:00, outside the window" in str(failed.error)


def test_pages_that_keep_failing_are_listed_from_their_own_beginning(tmp_path: Path) -> None:
    alphas = month_of(500)
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, alphas)
        server.fail(500, 10_000, "offset=99")
        assert fetched(server, tmp_path).failed == ()
        assert_exact(tmp_path, alphas)
