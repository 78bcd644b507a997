"""A list that the API lists in part only: capped counts and offsets, empty pages, slow answers. No alpha is missing."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from brain_clients import EMAIL, NOVEMBER, PASSWORD, fetched
from test_fetch import assert_exact, month_of

from marketdata_assets.alphas.errors import AlphasError
from marketdata_assets.alphas.fetch import MonthReport
from marketdata_assets.alphas.layout import DAY, SECOND, Window
from marketdata_assets.errors import TransientError
from marketdata_demo.servers.brain import Alpha, BrainServer, make, spread

LIST = "GET /users"
PAGE = 100


def least(alphas: int) -> int:
    """Full pages, and the login: no client can ask for less."""
    return -(-alphas // PAGE) + 1


def fetch(server: BrainServer, home: Path, alphas: Sequence[Alpha], **options: Any) -> MonthReport:
    """Fetch a month whole; prints how many requests it took."""
    server.add_user(EMAIL, PASSWORD, alphas)
    report = fetched(server, home, **options)
    ratio = server.requests / least(len(alphas))
    print(f"{len(alphas)} alphas: {server.requests} requests, {ratio:.2f} times {least(len(alphas))}")
    assert report.failed == ()
    assert_exact(home, alphas)
    return report


def test_capped_count_loses_nothing(tmp_path: Path) -> None:
    with BrainServer(count_cap=1500) as server:
        fetch(server, tmp_path, month_of(2500))
        assert server.requests <= 1.1 * least(2500)


@pytest.mark.parametrize("beyond", ["reject", "end"])
@pytest.mark.parametrize(("cap", "count_cap"), [(1000, None), (1000, 1000), (400, None)])
def test_cap_is_learned(tmp_path: Path, cap: int, beyond: Literal["reject", "end"], count_cap: int | None) -> None:
    with BrainServer(cap=cap, beyond=beyond, count_cap=count_cap) as server:
        fetch(server, tmp_path, month_of(3000))
        assert server.requests <= 1.2 * least(3000)


def test_cap_costs_a_busy_day_no_more_than_its_pages(tmp_path: Path) -> None:
    with BrainServer(cap=1000) as server:
        day = Window(NOVEMBER.start + 4 * DAY, NOVEMBER.start + 5 * DAY)
        fetch(server, tmp_path, list(spread(day.start, day.end, 1500)))
        assert server.requests <= 1.2 * least(1500)


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


def test_second_with_as_many_alphas_as_a_cap_is_not_taken_for_complete(tmp_path: Path) -> None:
    with BrainServer(count_cap=1000) as server:
        moment = NOVEMBER.start
        server.add_user(EMAIL, PASSWORD, [make(number, moment) for number in range(1001)])
        [failed] = fetched(server, tmp_path).failed
        assert (failed.window, type(failed.error)) == (Window(moment, moment + SECOND), AlphasError)
        assert "were created within this second" in str(failed.error)


def test_pages_that_keep_failing_are_listed_from_their_own_beginning(tmp_path: Path) -> None:
    with BrainServer() as server:
        server.fail(500, 10_000, "offset=99")
        fetch(server, tmp_path, month_of(500))
