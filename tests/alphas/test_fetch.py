"""Fetching: every alpha of the month lands once, whatever the server does, and a failure stays where it belongs."""

import datetime as dt
import errno
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.alphas import slices
from marketdata_assets.alphas.errors import ApiUnavailable, LoginRejected, RequestRejected
from marketdata_assets.alphas.fetch import LISTING_DELAY, MAX_FAILURES
from marketdata_assets.alphas.file_index import list_packages
from marketdata_assets.alphas.files import read_package
from marketdata_assets.alphas.layout import KINDS, SECOND, Kind, Window, month_window, slice_path
from marketdata_assets.alphas.packaging import package_months
from marketdata_assets.alphas.rejected import in_raw_files
from marketdata_assets.budget import Budget
from marketdata_assets.errors import TransientError
from marketdata_assets.fanout import Fanout
from marketdata_demo.servers.brain import Alpha, BrainServer, make, spread
from tests.alphas.brain_clients import EMAIL, HASTY, MONTH, NOVEMBER, PASSWORD, fetched
from tests.recorded_budgets import RecordedBudgets, most_within

LIST = "GET /users"
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


@pytest.fixture
def server() -> Iterator[BrainServer]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD)
        yield server


def on_disk(home: Path, kind: Kind = "regular", account: str = "lk", month: str = MONTH) -> dict[str, Any]:
    """What the slices of a month hold, by id; an id twice is an error, and so is one outside its window."""
    found: dict[str, Any] = {}
    for piece in slices.of_month(home / "alphas", account, kind, month):
        for document in json.loads(piece.path.read_bytes()):
            assert document["id"] not in found
            assert piece.window.start <= dt.datetime.fromisoformat(document["dateCreated"]) < piece.window.end
            found[document["id"]] = document
    return found


def windows(home: Path, kind: Kind = "regular") -> list[Window]:
    return [piece.window for piece in slices.of_month(home / "alphas", "lk", kind, MONTH)]


def assert_exact(home: Path, alphas: Sequence[Alpha], kind: Kind = "regular") -> None:
    assert on_disk(home, kind) == {alpha.id: json.loads(alpha.body) for alpha in alphas}
    assert slices.uncovered(NOVEMBER, windows(home, kind)) == []
    assert not [path for path in (home / "alphas").rglob("*") if path.name.endswith(".partial")]


@cache
def month_of(count: int, kind: Kind = "regular") -> list[Alpha]:
    """Not to be changed: it is made once."""
    return list(spread(NOVEMBER.start, NOVEMBER.end, count, kind))


# What is asked for.


def test_small_month_is_one_request_and_one_slice(server: BrainServer, tmp_path: Path) -> None:
    alphas = month_of(99)
    server.add_alphas(EMAIL, alphas)
    report = fetched(server, tmp_path)
    assert (report.alphas, report.count("ok"), server.asked(LIST)) == (99, 1, 1)
    assert (report.requests, report.finished, report.failed) == (2, 0, ())
    assert windows(tmp_path) == [NOVEMBER]
    assert_exact(tmp_path, alphas)
    empty = fetched(server, tmp_path / "empty", month="2024-10")
    assert (empty.count("empty"), server.asked(LIST)) == (1, 2)
    assert slice_path(tmp_path / "empty/alphas", "lk", "regular", month_window("2024-10")).read_bytes() == b"[]"


def test_larger_month_takes_no_more_requests_than_pages(server: BrainServer, tmp_path: Path) -> None:
    alphas = [*spread(NOVEMBER.start, NOVEMBER.start + DAY, 250), make(900, NOVEMBER.end - SECOND)]
    server.add_alphas(EMAIL, alphas)
    heard: list[tuple[int, int, str]] = []
    report = fetched(server, tmp_path, progress=lambda *told: heard.append(told))
    assert (report.count("ok"), report.count("empty"), report.count("failed")) == (2, 0, 0)
    assert server.asked(LIST) == 3
    assert heard[-1][:2] == (2, 2)
    assert_exact(tmp_path, alphas)


def test_both_kinds_are_kept_apart(server: BrainServer, tmp_path: Path) -> None:
    regular, supers = month_of(30), month_of(7, "super")
    server.add_alphas(EMAIL, [*regular, *supers])
    report = fetched(server, tmp_path, kinds=["regular", "super"])
    assert [(one.kind, one.count) for one in report.windows] == [("regular", 30), ("super", 7)]
    assert_exact(tmp_path, regular)
    assert_exact(tmp_path, supers, "super")


def test_month_to_come_asks_for_nothing(server: BrainServer, tmp_path: Path) -> None:
    report = fetched(server, tmp_path, now=NOVEMBER.start + LISTING_DELAY)
    assert (report.windows, report.requests, server.requests) == ((), 0, 0)


@pytest.mark.parametrize("cap", [100, 10_000])
def test_dense_seconds_beyond_a_cap_or_over_a_page_are_fetched(tmp_path: Path, cap: int) -> None:
    moment, denser = NOVEMBER.start + 9 * HOUR, NOVEMBER.start + 10 * HOUR
    alphas = [*month_of(40), *spread(moment, moment + 20 * SECOND, 450, first=5000)]
    alphas += [make(9000 + number, denser + number // 70 * SECOND) for number in range(300)]
    with BrainServer(cap=cap) as server:
        server.add_user(EMAIL, PASSWORD, alphas)
        report = fetched(server, tmp_path)
        assert report.failed == ()
        assert max(one.count for one in report.windows) <= cap
        assert_exact(tmp_path, alphas)


# What is not asked for again.


def test_finished_windows_are_not_fetched_again_unless_asked(server: BrainServer, tmp_path: Path) -> None:
    server.add_alphas(EMAIL, month_of(150))
    fetched(server, tmp_path)
    asked = server.requests
    again = fetched(server, tmp_path)
    assert (again.windows, again.requests, again.finished, server.requests) == ((), 0, 2, asked)
    changed = make(3, NOVEMBER.start + 5 * DAY, color="GREEN")
    server.add_alphas(EMAIL, [changed])
    report = fetched(server, tmp_path, refetch=True)
    assert (report.alphas, report.finished) == (150, 0)
    assert on_disk(tmp_path)[changed.id]["color"] == "GREEN"


def test_current_month_grows_by_what_is_missing(server: BrainServer, tmp_path: Path) -> None:
    alphas = month_of(60)
    server.add_alphas(EMAIL, alphas)
    middle = NOVEMBER.start + 10 * DAY + LISTING_DELAY + dt.timedelta(milliseconds=7)
    fetched(server, tmp_path, now=middle)
    fetched(server, tmp_path, now=middle + HOUR)
    assert [(one.end - NOVEMBER.start) / HOUR for one in windows(tmp_path)] == [240, 241]
    fetched(server, tmp_path)
    assert len(windows(tmp_path)) == 3
    assert_exact(tmp_path, alphas)


def test_what_a_whole_fetch_covers_is_superseded(server: BrainServer, tmp_path: Path) -> None:
    alphas = month_of(60)
    server.add_alphas(EMAIL, alphas)
    for hour in (24, 25, 26):
        fetched(server, tmp_path, now=NOVEMBER.start + hour * HOUR)
    report = fetched(server, tmp_path, refetch=True)
    assert (report.superseded, windows(tmp_path)) == (3, [NOVEMBER])
    more = list(spread(NOVEMBER.start, NOVEMBER.end, 90, first=500))
    server.add_alphas(EMAIL, more)
    report = fetched(server, tmp_path, refetch=True)
    assert (report.superseded, len(windows(tmp_path))) == (1, 2)
    assert_exact(tmp_path, [*alphas, *more])


def test_old_archive_is_completed_where_it_was_read_too_early(server: BrainServer, tmp_path: Path) -> None:
    alphas = list(spread(NOVEMBER.start, NOVEMBER.start + 3 * HOUR, 30))
    server.add_alphas(EMAIL, alphas)
    for hour in range(3):
        window = Window(NOVEMBER.start + hour * HOUR, NOVEMBER.start + (hour + 1) * HOUR)
        held = [alpha.body for alpha in alphas if window.start <= alpha.created < window.end]
        path = slices.write(tmp_path / "alphas", "lk", "regular", window, held[:4] if hour == 1 else held)
        if hour == 1:
            os.utime(path, (window.end.timestamp() - 1,) * 2)
    report = fetched(server, tmp_path)
    assert (report.count("ok"), report.alphas) == (1, 10)
    assert_exact(tmp_path, alphas)


# What goes wrong.


@pytest.mark.parametrize("fault", ["insert", "remove", "back", "forth"])
def test_pages_that_shift_are_read_again(server: BrainServer, tmp_path: Path, fault: str) -> None:
    alphas = list(spread(NOVEMBER.start + HOUR, NOVEMBER.start + 2 * HOUR, 350))
    before, after = make(9000, NOVEMBER.start + HOUR), make(9001, NOVEMBER.start + 3 * HOUR)
    server.add_alphas(EMAIL, alphas)

    def shift() -> None:
        if fault in ("insert", "back"):
            server.add_alphas(EMAIL, [before])
        if fault in ("remove", "forth"):
            server.remove_alpha(EMAIL, alphas[0].id)
        if fault == "back":  # the count stays, and every page moves by one
            server.remove_alpha(EMAIL, alphas[-1].id)
        if fault == "forth":  # besides, no alpha is seen twice
            server.add_alphas(EMAIL, [after])

    server.before(shift, where="offset=198")
    assert fetched(server, tmp_path, concurrency=1).failed == ()
    expected = {
        "insert": [before, *alphas],
        "remove": alphas[1:],
        "back": [before, *alphas[:-1]],
        "forth": [*alphas[1:], after],
    }
    assert_exact(tmp_path, expected[fault])


def test_list_that_keeps_shifting_is_read_page_by_page(server: BrainServer, tmp_path: Path) -> None:
    alphas = [*spread(NOVEMBER.start, NOVEMBER.start + DAY, 450), make(999, NOVEMBER.start + 2 * DAY)]
    server.add_alphas(EMAIL, alphas)
    numbers = iter(range(2000, 3000))

    def insert() -> None:
        server.add_alphas(EMAIL, [make(next(numbers), NOVEMBER.start)])

    server.before(insert, 9999, "offset=99")
    assert fetched(server, tmp_path).failed == ()
    assert set(on_disk(tmp_path)) >= {alpha.id for alpha in alphas}


def test_second_that_keeps_shifting_fails_alone(server: BrainServer, tmp_path: Path) -> None:
    moment = NOVEMBER.start + HOUR
    other = [make(1, NOVEMBER.start), make(3, NOVEMBER.end - SECOND)]
    server.add_alphas(EMAIL, [*other, *(make(1000 + number, moment) for number in range(300))])
    numbers = iter(range(2000, 3000))
    server.before(lambda: server.add_alphas(EMAIL, [make(next(numbers), moment)]), 9999, "offset=99")
    [failed] = fetched(server, tmp_path).failed
    assert (type(failed.error), failed.window) == (TransientError, Window(moment, moment + SECOND))
    assert "the pages changed during" in str(failed.error)
    assert set(on_disk(tmp_path)) == {alpha.id for alpha in other}
    server.no_more_faults()
    assert fetched(server, tmp_path).failed == ()


def test_alpha_that_breaks_its_page_fails_its_day_at_most_and_old_slices_stay(
    server: BrainServer, tmp_path: Path
) -> None:
    alphas = month_of(300)
    server.add_alphas(EMAIL, alphas)
    fetched(server, tmp_path)
    broken = next(alpha for alpha in alphas if alpha.created >= NOVEMBER.start + 3 * DAY)
    server.break_alpha(EMAIL, broken.id)
    report = fetched(server, tmp_path, refetch=True)
    [failed] = report.failed
    assert isinstance(failed.error, ApiUnavailable)
    assert failed.window.start <= broken.created < failed.window.end
    assert (failed.window.length <= DAY, report.alphas >= 290) == (True, True)
    kept = [piece.path.read_bytes() for piece in slices.of_month(tmp_path / "alphas", "lk", "regular", MONTH)]
    assert {alpha["id"] for raw in kept for alpha in json.loads(raw)} == {alpha.id for alpha in alphas}


def test_odd_elements_of_a_page_cost_no_other_and_end_in_quarantine(server: BrainServer, tmp_path: Path) -> None:
    alphas = month_of(250)
    odd: list[Alpha] = []
    for place, change in ((0, {"is": {"sharpe": float("nan")}}), (99, {"id": None}), (249, {"id": 7})):
        document = json.loads(alphas[place].body) | change
        odd.append(replace(alphas[place], body=json.dumps(document).encode()))
    server.add_alphas(EMAIL, [*alphas, *odd])
    report = fetched(server, tmp_path)
    assert (report.failed, report.alphas) == ((), 250)
    assert server.asked(LIST) <= 6
    package_months(tmp_path / "alphas", [("lk", MONTH)], Fanout(1))
    lines = [
        json.loads(line)["id"]
        for path in list_packages(tmp_path / "alphas", "lk", "regular")
        for _, line in read_package(path)
    ]
    assert sorted(lines) == sorted({one.id for one in alphas} - {one.id for one in odd})
    reasons = sorted(one.reason for one in in_raw_files(tmp_path / "alphas", "lk", "regular"))
    assert [reason[:7] for reason in reasons] == ["id is n", "no JSON", "no id"]


def test_server_that_stays_away_is_asked_a_few_times(server: BrainServer, tmp_path: Path) -> None:
    server.fail(500, 9999, LIST)
    report = fetched(server, tmp_path)
    assert slices.uncovered(NOVEMBER, [window.window for window in report.failed]) == []
    assert server.asked(LIST) == MAX_FAILURES * (HASTY.max_retries + 1)


def test_everything_at_once_still_ends_exact(server: BrainServer, tmp_path: Path) -> None:
    alphas = month_of(600)
    server.add_alphas(EMAIL, alphas)
    server.fail(503, 3, LIST)
    server.drop(3, "offset=99")
    server.fail(429, 1, "2024-11-05", headers={"Retry-After": "0.2"})
    server.cut(2, "2024-11-07")
    server.stall(0.1, 5, "2024-11-09")
    server.before(server.expire_sessions, 2, "2024-11-12")
    assert fetched(server, tmp_path).failed == ()
    assert_exact(tmp_path, alphas)
    assert server.logins <= 5


def test_filter_that_is_not_obeyed_is_refused(server: BrainServer, tmp_path: Path) -> None:
    stray = make(1, NOVEMBER.start - DAY)
    body = {"count": 1, "next": None, "previous": None, "results": [json.loads(stray.body)]}
    server.fail(200, 99, LIST, body=body)
    failed, *_ = fetched(server, tmp_path).failed
    assert isinstance(failed.error, RequestRejected)
    assert f"alpha {stray.id} of 2024-10-31T00:00:00+00:00, outside the window" in str(failed.error)


def test_slice_that_cannot_be_written_fails_its_window(
    server: BrainServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_alphas(EMAIL, month_of(150))
    write, moment = slices.write, NOVEMBER.start + 2 * DAY

    def refuse(root: Path, account: str, kind: Kind, window: Window, results: Iterable[bytes]) -> Path:
        if window.start <= moment < window.end:
            raise OSError(errno.ENAMETOOLONG, "no")
        return write(root, account, kind, window, results)

    monkeypatch.setattr(slices, "write", refuse)
    [failed] = fetched(server, tmp_path).failed
    assert isinstance(failed.error, OSError)
    assert (failed.window.length <= DAY, failed.window.start <= moment < failed.window.end) == (True, True)
    assert len(on_disk(tmp_path)) >= 145


def test_at_most_so_many_requests_at_once(tmp_path: Path) -> None:
    with BrainServer(latency=0.02) as server:
        server.add_user(EMAIL, PASSWORD, month_of(900))
        assert fetched(server, tmp_path, concurrency=3).failed == ()
        assert 2 <= server.most_in_flight <= 3


def test_without_a_login_every_window_fails_with_the_reason(server: BrainServer, tmp_path: Path) -> None:
    report = fetched(server, tmp_path, password="wrong", kinds=KINDS)
    assert [(one.kind, type(one.error)) for one in report.failed] == [(kind, LoginRejected) for kind in KINDS]
    assert (server.refused_logins, server.asked(LIST)) == (1, 0)


def test_budget_is_kept_while_fetching(tmp_path: Path) -> None:
    with BrainServer() as server:
        alphas = month_of(500)
        server.add_user(EMAIL, PASSWORD, alphas)
        budgets = RecordedBudgets(tmp_path / "b")
        budget = Budget(budgets, "lk", 1.0, 30)
        report = fetched(server, tmp_path, budget=budget, policy=HASTY, concurrency=8)
        assert (report.failed, report.alphas) == ((), 500)
        assert len(budgets.turns["lk"]) >= sum(map(len, server.arrivals.values())) > 0
        assert most_within(budgets.turns["lk"], 1.0) <= 30
        assert_exact(tmp_path, alphas)


# Laws.

MOMENTS = st.lists(st.integers(0, 29 * 86400), min_size=0, max_size=60)


@given(MOMENTS, st.lists(st.integers(0, 86400), max_size=18), st.sampled_from([100, 110]))
def test_any_month_lands_whole(
    tmp_path_factory: pytest.TempPathFactory, moments: list[int], dense: list[int], cap: int
) -> None:
    """Alphas at any moments, some many times over, under a cap that forces halving."""
    home = tmp_path_factory.mktemp("home")
    spans = [*moments, *(second // 40 for second in dense for _ in range(5))]
    alphas = [make(number, NOVEMBER.start + second * SECOND) for number, second in enumerate(spans)]
    with BrainServer(cap=cap) as server:
        server.add_user(EMAIL, PASSWORD, alphas)
        report = fetched(server, home)
        assert report.failed == ()
        assert_exact(home, alphas)


@given(st.integers(1, 40 * 86400), st.integers(0, 999), st.integers(0, 86400 * 40))
def test_halves_make_the_window_again(seconds: int, milliseconds: int, start: int) -> None:
    begin = NOVEMBER.start + start * SECOND + dt.timedelta(milliseconds=milliseconds)
    window = Window(begin, begin + seconds * SECOND)
    if (halves := window.halves()) is None:
        assert window.length <= SECOND
        return
    first, second = halves
    assert (first.start, first.end, second.end) == (window.start, second.start, window.end)
    assert first.length and second.length and first.end.microsecond == 0
