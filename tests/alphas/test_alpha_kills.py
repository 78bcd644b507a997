"""SIGKILL of fetches and of packaging before any step: what is there is whole, and the next run ends as one without a
kill, repeats few requests and loses no alpha."""

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bson
import pytest
from pymongo import MongoClient

from marketdata_assets.alphas import changes, fetch_records, paging, slices
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.changes import ChangesReport, Selection, fetch_changes
from marketdata_assets.alphas.documents import read as as_stored
from marketdata_assets.alphas.fetch import ClientFactory, fetch_accounts
from marketdata_assets.alphas.fetch_records import IN_FLIGHT
from marketdata_assets.alphas.layout import DAY, KINDS
from marketdata_assets.stores import mongo_ledger
from marketdata_assets.stores.mongo import CODEC
from marketdata_demo import sample_alphas
from marketdata_demo.servers.brain import BrainServer, make
from tests import dying
from tests.alphas.archives import ACCOUNT, MONTH, alpha, on_disk, pack, packed, put
from tests.alphas.brain_clients import EMAIL, LATER, NOVEMBER, PASSWORD, client
from tests.alphas.test_fetch import on_disk as fetched_alphas
from tests.dying import Load
from tests.examples import others_slow

Client = MongoClient[dict[str, Any]]
STEPS = (
    *((os, name) for name in ("replace", "fsync", "unlink")),
    *((BrainClient, name) for name in ("page", "ordered", "records")),
    *((fetch_records._Job, "store"), (mongo_ledger, "write")),
)
"""A change of any file, a request, or a document."""

UNTIL = NOVEMBER.start + 4 * DAY
ALPHAS = [
    make(number, NOVEMBER.start + number * (4 * DAY) // count, kind, status="ACTIVE")
    for kind, count in zip(KINDS, (320, 60), strict=True)
    for number in range(count)
]
WITH_RECORDS = ALPHAS[:40]
PAGES = 1
"""Pages that are read before their alphas are written, which a killed process has to request again."""


def clients(url: str, home: Path) -> ClientFactory:
    return lambda account: client(SimpleNamespace(url=url), home, account=account)  # type: ignore[arg-type]


def months(url: str, home: Path, uri: str, account: str, refetch: bool = False) -> None:
    report = fetch_accounts(home / "alphas", [("lk", MONTH)], clients(url, home), now=UNTIL, refetch=refetch)
    assert report.failed == ()


def refetched(url: str, home: Path, uri: str, account: str) -> None:
    months(url, home, uri, account, refetch=True)


def changed(url: str, home: Path, uri: str = "", account: str = "") -> ChangesReport:
    [report] = fetch_changes(home / "alphas", ["lk"], clients(url, home), Selection(), now=LATER)
    assert report.error == ""
    return report


def records(url: str, home: Path, uri: str, account: str) -> None:
    report = fetch_records.fetch_records(uri, "pnl", [(account, MONTH)], clients(url, home), run_id="r", now=LATER)
    assert report.failed == ()


WORK: dict[str, Callable[..., object]] = {one.__name__: one for one in (months, refetched, changed, records)}


def doomed(work: str, url: str, home: str, uri: str, account: str) -> None:
    paging.MAX_PAGES = PAGES
    WORK[work](url, Path(home), uri, account)


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


def with_alphas(mongo: Client) -> str:
    """A new account with alphas in MongoDB."""
    name = f"k{uuid.uuid4().hex[:10]}"
    documents = [bson.decode(as_stored(one.body, one.kind).bson, CODEC) | {"_id": one.id} for one in WITH_RECORDS]
    mongo["regular_alphas"][name].insert_many(documents)
    return name


def held(work: str, home: Path, mongo: Client, account: str) -> dict[str, Any]:
    """What is stored: alphas by id, of slices that keep to their windows, files of changed alphas, or record sets."""
    if work == "months":
        return fetched_alphas(home) | fetched_alphas(home, "super")
    if work == "changed":
        folder = home / "alphas" / "lk" / "changed_data"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*/[!.]*.json")}
    return {one["_id"]: one for one in mongo["alpha_pnl"][account].find({}, {"fetched": 0})}


@pytest.mark.parametrize(
    ("work", "stride", "repeated"),
    others_slow([("months", 6, PAGES + 3), ("changed", 330, PAGES + 3), ("records", 28, IN_FLIGHT)]),
)
def test_a_killed_fetch_is_continued_and_repeats_only_what_was_in_flight(
    server: BrainServer, mongo_client: Client, mongo_uri: str, tmp_path: Path, survived: Load, work: str, stride: int,
    repeated: int,
) -> None:  # fmt: skip
    whole = (tmp_path / "whole", mongo_client, with_alphas(mongo_client))
    WORK[work](server.url, whole[0], mongo_uri, whole[2])
    wanted, least, kills = held(work, *whole), server.requests, 0
    home, account = tmp_path / "0", with_alphas(mongo_client)
    before = server.requests
    while not survived(work, server.url, home, mongo_uri, account, kills * stride):
        assert held(work, home, mongo_client, account).items() <= wanted.items()
        WORK[work](server.url, home, mongo_uri, account)
        assert held(work, home, mongo_client, account) == wanted
        assert server.requests - before <= least + repeated
        kills += 1
        home, account, before = tmp_path / str(kills), with_alphas(mongo_client), server.requests
    assert kills >= 3
    assert len(wanted) == len(WITH_RECORDS if work == "records" else ALPHAS)
    if work == "records":
        entries = mongo_ledger.entries(mongo_client["alpha_pnl"], "alpha_pnl")
        assert {(one.read, one.rows, one.outcome) for one in entries} == {(40, 40, "ok")}


def versions(home: Path) -> dict[str, set[str]]:
    """Of each regular alpha the versions in slices."""
    found: dict[str, set[str]] = {}
    for piece in slices.of_month(home / "alphas", "lk", "regular", MONTH):
        for document in json.loads(piece.path.read_bytes()):
            found.setdefault(document["id"], set()).add(document["dateModified"])
    return found


def test_kill_of_a_refetch_loses_no_alpha_and_the_next_run_cleans_up(
    server: BrainServer, tmp_path: Path, survived: Load
) -> None:
    months(server.url, tmp_path, "", "")
    first, steps = versions(tmp_path), 0
    newer = [make(7, ALPHAS[7].created, modified=LATER), *(make(2000 + n, NOVEMBER.start) for n in range(60))]
    while not survived("refetched", server.url, tmp_path, "", "", steps):
        assert first.keys() <= versions(tmp_path).keys()
        steps += 9
        if steps == 9:
            server.add_alphas(EMAIL, newer)
    assert steps > 20
    assert {len(own) for own in versions(tmp_path).values()} == {1}
    assert len(versions(tmp_path)) == len(first) + 60


def test_a_fetch_that_was_killed_long_ago_lists_everything_again(
    server: BrainServer, tmp_path: Path, survived: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, home = changed(server.url, tmp_path / "whole"), tmp_path / "killed"
    assert not survived("changed", server.url, home, "", "", whole.written)
    monkeypatch.setattr(changes, "MAX_INTERRUPTION", changes.MAX_INTERRUPTION * 0)
    again = changed(server.url, home)
    assert again.listed == whole.listed
    assert 0 < again.written < whole.written


FILE_STEPS = (
    *((os, name) for name in ("replace", "unlink", "fsync", "mkdir", "pread")),
    *((Path, name) for name in ("open", "read_bytes")),
)


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_packaging_that_is_killed_at_any_write_loses_nothing(tmp_path: Path, stride: int) -> None:
    raw, wanted = tmp_path / "raw", tmp_path / "wanted"
    old = [alpha(f"o{day}", f"2024-11-0{day}T09:00:00Z") for day in (1, 2)]
    new = [alpha(f"n{day}", f"2024-11-0{day}T09:00:00Z") for day in (2, 3)]
    for root in (raw, wanted):
        first = put(root, "2024-11-01T00:00", old, hours=96, mtime=1)
        pack(root)
        first.unlink()
        put(root, "2024-11-01T00:00", [*new, 7], hours=72, mtime=2)
    pack(wanted)
    steps, code = 0, -signal.SIGKILL
    while code:
        root = tmp_path / str(steps)
        shutil.copytree(raw, root)
        code = dying.child(steps, lambda root=root: pack(root), FILE_STEPS)  # type: ignore[misc]
        assert code in (0, -signal.SIGKILL)
        assert {one["id"] for own in packed(root).values() for one in own} >= {"o1", "o2"}
        pack(root)
        assert on_disk(root) == on_disk(wanted)
        steps += stride
    assert steps > 20


def test_processes_packaging_the_same_month_at_once_end_in_the_same_files(tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    for root in (together, alone):
        sample_alphas.write_archive(root, ACCOUNT, ["2024-10", MONTH], regular=200, superalphas=0)
    pack(alone)
    code = (
        "import sys; from pathlib import Path; from marketdata_assets.alphas.packaging import package\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(6): package(Path(sys.argv[1]), 'lk', 'regular', '2024-11')"
    )
    pipe, command = subprocess.PIPE, [sys.executable, "-c", code, together]
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout and process.stdout.readline()
    for process in processes:
        process.communicate("\n", timeout=300)
    assert [process.returncode for process in processes] == [0, 0]
    pack(together)
    assert on_disk(together) == on_disk(alone)
