"""Submitted and changed alphas of any month: found in one fetch, written once per version, packaged like others."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from marketdata_assets.alphas import file_index, packaging, status
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.changes import ChangesReport, Selection, fetch_changes
from marketdata_assets.alphas.files import read_package
from marketdata_assets.alphas.filters import parse
from marketdata_assets.fanout import Fanout
from marketdata_assets.loading.states import State
from marketdata_demo.servers.brain import BrainServer, make, spread
from tests.alphas.brain_clients import EMAIL, LATER, MONTH, NOVEMBER, PASSWORD, client, fetched

OLD = dt.datetime(2016, 3, 4, 5, tzinfo=dt.UTC)
NEVER: dict[str, Any] = {"status": "UNSUBMITTED", "dateSubmitted": None}


@pytest.fixture
def server() -> Iterator[BrainServer]:
    """150 alphas of November, and one of 2016, none of them submitted."""
    with BrainServer() as server:
        numbers = range(150)
        moments = [NOVEMBER.start + dt.timedelta(hours=4 * number) for number in numbers]
        server.add_user(EMAIL, PASSWORD, [make(n, at, **NEVER) for n, at in zip(numbers, moments, strict=True)])
        server.add_alphas(EMAIL, [make(900, OLD, **NEVER)])
        yield server


def changed(
    server: BrainServer, home: Path, now: dt.datetime = LATER, ids: tuple[str, ...] = (), **filters: Any
) -> ChangesReport:
    def client_of(account: str) -> BrainClient:
        return client(server, home, account=account)

    selection = Selection(parse(filters) if filters else None, ids)
    [report] = fetch_changes(home / "alphas", ["lk"], client_of, selection, now=now)
    return report


def packaged(home: Path, month: str) -> dict[str, dict[str, Any]]:
    packaging.package_months(home / "alphas", [("lk", month)], Fanout(1))
    lines = (
        line
        for path in file_index.list_packages(home / "alphas", "lk", "regular", [month])
        for _, line in read_package(path)
    )
    return {one["id"]: one for one in map(json.loads, lines)}


def test_an_old_alpha_that_was_submitted_is_found_and_packaged(server: BrainServer, tmp_path: Path) -> None:
    assert changed(server, tmp_path).written == 0
    submitted = make(900, OLD, modified=LATER, status="ACTIVE", dateSubmitted="2025-01-14T10:00:00-05:00")
    server.add_alphas(EMAIL, [submitted])
    report = changed(server, tmp_path, LATER + dt.timedelta(hours=6))
    assert (report.error, report.written, report.months, report.requests) == ("", 1, {"2016-03"}, 6)
    assert packaged(tmp_path, "2016-03")[submitted.id]["status"] == "ACTIVE"
    again = changed(server, tmp_path, LATER + dt.timedelta(hours=12))
    assert (again.error, again.written, again.listed) == ("", 0, 1)


@pytest.mark.parametrize("order", ["obey", "ignore", "reject"])
def test_changed_alphas_are_found_by_order_of_change_where_the_api_orders(
    server: BrainServer, tmp_path: Path, order: Literal["obey", "ignore", "reject"]
) -> None:
    server.order_by_modified = order
    fetched(server, tmp_path)
    changed(server, tmp_path)
    renamed = make(900, OLD, modified=LATER + dt.timedelta(hours=2), name="renamed", **NEVER)
    server.add_alphas(EMAIL, [renamed])
    report = changed(server, tmp_path, LATER + dt.timedelta(hours=6))
    assert report.error == ""
    assert report.written == report.listed == (order == "obey")
    assert bool(report.note) == (order != "obey")
    if order == "obey":
        assert packaged(tmp_path, "2016-03")[renamed.id]["name"] == "renamed"


def test_many_changes_over_several_pages_are_all_found(server: BrainServer, tmp_path: Path) -> None:
    changed(server, tmp_path)
    later = LATER + dt.timedelta(hours=1)
    server.add_alphas(EMAIL, [make(n, NOVEMBER.start, modified=later, **NEVER) for n in range(140)])
    report = changed(server, tmp_path, LATER + dt.timedelta(hours=2))
    assert (report.error, report.written, report.months) == ("", 140, {MONTH})
    assert len(packaged(tmp_path, MONTH)) == 140


def test_a_count_of_one_page_ends_no_list_of_changes(server: BrainServer, tmp_path: Path) -> None:
    server.count_cap = 100
    changed(server, tmp_path)
    later = LATER + dt.timedelta(hours=1)
    server.add_alphas(EMAIL, [make(n, NOVEMBER.start, modified=later, **NEVER) for n in range(140)])
    report = changed(server, tmp_path, LATER + dt.timedelta(hours=2))
    assert (report.error, report.note, report.written) == ("", "", 140)


def test_a_lasting_failure_leaves_the_time_of_the_last_fetch(server: BrainServer, tmp_path: Path) -> None:
    changed(server, tmp_path)
    server.add_alphas(EMAIL, [make(3, NOVEMBER.start, modified=LATER + dt.timedelta(hours=1), **NEVER)])
    server.fail(503, 1000, "order=-dateModified")
    assert "503" in changed(server, tmp_path, LATER + dt.timedelta(hours=200)).error
    server.no_more_faults()
    assert changed(server, tmp_path, LATER + dt.timedelta(hours=206)).written == 1


def test_filters_choose_alphas_of_every_month(server: BrainServer, tmp_path: Path) -> None:
    active = [
        make(700 + n, OLD + dt.timedelta(days=n), status="ACTIVE", dateSubmitted=f"2030-05-{n + 1:02d}T12:00:00-04:00")
        for n in range(20)
    ]
    server.add_alphas(EMAIL, active)
    report = changed(server, tmp_path, status=["ACTIVE"], submitted_from="2030-05-03", submitted_to="2030-05-05")
    assert (report.error, report.listed, report.written) == ("", 3, 3)
    assert changed(server, tmp_path, status=["ACTIVE"]).written == 17
    assert set(packaged(tmp_path, "2016-03")) == {one.id for one in active}


def test_alphas_by_id_and_unknown_ones(server: BrainServer, tmp_path: Path) -> None:
    name = make(900, OLD).id
    report = changed(server, tmp_path, ids=(name, "nothere1", "../x"))
    assert (report.written, report.unknown) == (1, ["nothere1"])
    assert [text.partition(":")[0] for text in report.rejected] == ["'../x'"]
    assert list(packaged(tmp_path, "2016-03")) == [name]


def test_an_id_is_never_a_path(server: BrainServer, tmp_path: Path) -> None:
    server.add_alphas(EMAIL, [make(901, OLD, modified=LATER, **NEVER | {"id": "../../中文_" + "x" * 300})])
    assert changed(server, tmp_path).written == 1
    assert [name[:8] for name in packaged(tmp_path, "2016-03")] == ["../../中文"]


def test_a_month_of_which_only_changes_are_known_is_missing_not_ok(server: BrainServer, tmp_path: Path) -> None:
    changed(server, tmp_path, ids=(make(900, OLD).id,))
    root = tmp_path / "alphas"
    assert file_index.accounts_on_disk(root) == ["lk"]
    assert file_index.months_on_disk(root, "lk", "regular") == {"2016-03"}
    [files, _] = status.on_disk(root, LATER)
    assert files.states == {"2016-03": State.MISSING}


def test_an_account_that_fails_is_named_and_the_others_are_fetched(server: BrainServer, tmp_path: Path) -> None:
    def client_of(account: str) -> BrainClient:
        return client(server, tmp_path, account=account, password=PASSWORD if account == "lk" else "wrong")

    found = fetch_changes(tmp_path / "alphas", ["lk", "bad"], client_of, Selection(), now=LATER)
    assert [bool(one.error) for one in found] == [False, True]


def test_seen_is_forgotten_without_harm(server: BrainServer, tmp_path: Path) -> None:
    server.add_alphas(EMAIL, spread(OLD, OLD + dt.timedelta(days=1), 3, first=800))
    first = changed(server, tmp_path, min_sharpe=-100.0)
    seen = tmp_path / "alphas" / "lk" / "changed_data" / ".seen.json"
    seen.write_text("{")
    assert changed(server, tmp_path, min_sharpe=-100.0).written == first.written > 0
