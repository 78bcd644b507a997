"""SIGKILL of a fetch of changed alphas at random moments: the next one continues it, and ends as one without a kill."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dying
import pytest
from brain_clients import EMAIL, LATER, NOVEMBER, PASSWORD, client
from dying import Load

from marketdata_assets.alphas import changes, paging
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.changes import ChangesReport, Selection, fetch_changes
from marketdata_assets.alphas.layout import Kind
from marketdata_demo.servers.brain import Alpha, BrainServer, make

STEPS = ((BrainClient, "page"), (BrainClient, "ordered"), (changes, "replacing"))
"""A page, or a file."""

LIST = "GET /users/self/alphas"


def submitted(kind: Kind, count: int) -> Iterator[Alpha]:
    for number in range(count):
        moment = NOVEMBER.start + number * (NOVEMBER.end - NOVEMBER.start) // count
        yield make(number, moment.replace(microsecond=0), kind, status="ACTIVE")


ALPHAS = [*submitted("regular", 450), *submitted("super", 120)]
PAGES = 1
PART = PAGES + 1
"""Pages that are read before their alphas are written: what a killed process has to request again."""


def changed(url: str, home: Path) -> ChangesReport:
    def client_of(account: str) -> BrainClient:
        return client(SimpleNamespace(url=url), home, account=account)  # type: ignore[arg-type]

    [report] = fetch_changes(home / "alphas", ["lk"], client_of, Selection(), now=LATER)
    return report


def doomed(url: str, home: str) -> None:
    paging.MAX_PAGES = PAGES
    assert changed(url, Path(home)).error == ""


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with dying.server(Path(__file__)) as load:
        yield load


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BrainServer]:
    monkeypatch.setattr(paging, "MAX_PAGES", PAGES)
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, ALPHAS)
        yield server


def held(home: Path) -> dict[str, bytes]:
    folder = home / "alphas" / "lk" / "changed_data"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*/[!.]*.json")}


def seen(home: Path) -> object:
    return json.loads((home / "alphas" / "lk" / "changed_data" / ".seen.json").read_bytes())


def test_a_killed_fetch_is_continued_and_repeats_no_request_of_a_part_that_was_written(
    server: BrainServer, tmp_path: Path, survived: Load
) -> None:
    whole = tmp_path / "whole"
    report = changed(server.url, whole)
    least = server.asked(LIST)
    steps = least + report.written
    assert (report.error, report.written > 100) == ("", True)
    moments = [0, steps - 1, *random.Random(20).sample(range(1, steps - 1), 4)]
    for moment in moments:
        home, before = tmp_path / str(moment), server.asked(LIST)
        assert not survived(server.url, home, moment)
        assert changed(server.url, home).error == ""
        assert held(home) == held(whole)
        assert seen(home) == seen(whole)
        assert server.asked(LIST) - before <= least + PART + 2


def test_a_fetch_that_was_killed_long_ago_lists_everything_again(
    server: BrainServer, tmp_path: Path, survived: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, home = changed(server.url, tmp_path / "whole"), tmp_path / "killed"
    assert not survived(server.url, home, whole.written // 2)
    monkeypatch.setattr(changes, "MAX_INTERRUPTION", changes.MAX_INTERRUPTION * 0)
    again = changed(server.url, home)
    assert again.listed == whole.listed
    assert 0 < again.written < whole.written
