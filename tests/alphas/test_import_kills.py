"""SIGKILL of the importer or the server at random moments, importers at once: nothing acknowledged is lost."""

import datetime as dt
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from marketdata_assets.errors import TransientError
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import mongo
from marketdata_assets.stores.errors import StoreAway
from tests.alphas.packaged import DAY, alpha, deliver, expected, new_account, run, stored

ROUNDS = 20
SERVER_ROUNDS = (4, 8, 12, 16, 19)
PER_DAY = 60
DAYS = 3
BATCH = 10


def acknowledging(uri: str, root: str, account: str, acknowledged: str) -> None:
    """Import in small batches, and write down each document once the import takes it for written."""
    write = mongo.write
    with Path(acknowledged).open("a") as record:

        def noted(collection: Any, items: Any, *arguments: Any, **options: Any) -> mongo.Written:
            written = write(collection, items, *arguments, **options)
            record.write("".join(f"{name}\n" for name in items))
            record.flush()
            return written

        mongo.write = noted
        report = run(uri, Path(root), account, batch_size=BATCH)
    if report.failed:
        raise SystemExit(1)


def importer(*arguments: object) -> subprocess.Popen[bytes]:
    """A process of its own that imports, acknowledging."""
    code = f"import sys; from tests.alphas import {Path(__file__).stem} as kills; kills.acknowledging(*sys.argv[1:])"
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=Path(__file__).parents[2])


def version(number: int, round_: int) -> dict[str, Any]:
    return alpha(f"A{number}", round_, round=round_, **{f"r{round_}": True})


def deliver_round(root: Path, account: str, round_: int) -> None:
    for day in range(DAYS):
        numbers = range(day * PER_DAY, (day + 1) * PER_DAY)
        deliver(root, account, *(version(n, round_) for n in numbers), day=DAY + dt.timedelta(days=day))


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_nothing_is_merged_twice(tmp_path: Path) -> None:
    chance, account, root, killed_early = random.Random(7), new_account(), tmp_path / "alphas", 0
    with LocalStack(Settings(home=tmp_path / "stack", mongo_uri=None), services=("mongo",)) as stack:
        server, uri = stack.server("mongo"), str(stack.endpoints.mongo_uri)
        for round_ in range(ROUNDS):
            deliver_round(root, account, round_)
            record = tmp_path / f"acknowledged{round_}"
            process = importer(uri, root, account, record)
            while not record.exists():
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.2))
            if round_ in SERVER_ROUNDS:
                server.kill()
                server.start()
            else:
                process.kill()
            process.wait(60)
            acknowledged = set(record.read_text().split("\n")[:-1])
            killed_early += len(acknowledged) < PER_DAY * DAYS
            with mongo.connect(uri) as client:
                standing = stored(client, account)
                assert all(standing[name]["round"] == round_ for name in acknowledged)
                assert not run(uri, root, account).failed
                assert_converged(client, account, round_)
                assert run(uri, root, account).units == ()
    assert killed_early > ROUNDS // 4


def assert_converged(client: MongoClient[dict[str, Any]], account: str, round_: int) -> None:
    """Every document is there with what all rounds brought, and was written once a round."""
    past = {f"r{number}": True for number in range(round_ + 1)}
    after = stored(client, account)
    assert len(after) == PER_DAY * DAYS
    for number in range(PER_DAY * DAYS):
        assert after[f"A{number}"] == expected(version(number, round_) | past, round_ + 1)


IDS = 40
IMPORTERS = 3
VERSIONS = 5


def import_some(uri: str, root: Path, account: str, mine: int) -> int:
    """Import versions of the same ids that only this importer knows parts of; how many writes won."""
    wins = 0
    for number in range(VERSIONS):
        checks = [{"name": "SHARED", f"i{mine}": number}, {"name": f"ONLY{mine}", "value": number}]
        parts = (alpha(f"A{n}", number, is_={f"i{mine}": {f"v{number}": n}}, checks=checks) for n in range(IDS))
        deliver(root, account, *parts)
        report = run(uri, root, account, force=True, batch_size=IDS // 2)
        assert not report.failed
        wins += report.total("inserted") + report.total("updated")
    return wins


def test_importers_on_the_same_ids_lose_no_update(mongo_uri: str, client: Any, tmp_path: Path) -> None:
    account = new_account()
    with ThreadPoolExecutor(IMPORTERS) as pool:
        running = [
            pool.submit(import_some, mongo_uri, tmp_path / f"{mine}", account, mine) for mine in range(IMPORTERS)
        ]
        wins = [one.result() for one in running]
    after = stored(client, account)
    assert sorted(after) == sorted(f"A{n}" for n in range(IDS))
    for number in range(IDS):
        document = after[f"A{number}"]
        assert document["is_"] == {f"i{m}": {f"v{v}": number for v in range(VERSIONS)} for m in range(IMPORTERS)}
        checks = {check["name"]: check for check in document["checks"]}
        assert len(checks) == len(document["checks"]) == IMPORTERS + 1
        assert checks["SHARED"] == {"name": "SHARED"} | {f"i{m}": VERSIONS - 1 for m in range(IMPORTERS)}
    assert sum(document["_rev"] for document in after.values()) <= sum(wins)
    assert sum(document["_rev"] for document in after.values()) >= IDS * IMPORTERS * VERSIONS * 0.5


def test_a_race_is_read_again_and_planned_anew(client: Any) -> None:
    collection = client["regular_alphas"][new_account()]
    collection.create_index("id", unique=True)
    collection.insert_many([{"id": name, "_rev": 1, "n": 0} for name in ("A", "B")])
    rounds = 0

    def plan(old: dict[str, Any] | None, item: str) -> mongo.Plan:
        nonlocal rounds
        assert old is not None
        if item == "A" and rounds == 0:
            rounds += 1
            collection.update_one({"id": "A"}, {"$set": {"other": 1}, "$inc": {"_rev": 1}})
        if "mine" in old:
            return None
        return mongo.Change(old | {"mine": 1}, {"mine": 1})

    written = mongo.write(collection, {"A": "A", "B": "B"}, plan)
    documents = {one["id"]: one for one in collection.find({}, {"_id": 0})}
    assert documents["A"] == {"id": "A", "n": 0, "other": 1, "mine": 1, "_rev": 3}
    assert documents["B"] == {"id": "B", "n": 0, "mine": 1, "_rev": 2}
    assert (written.updated, written.inserted, written.races > 0) == (2, 0, True)


def test_endless_races_end_in_a_clear_error(client: Any) -> None:
    collection = client["regular_alphas"][new_account()]
    collection.insert_one({"id": "A", "_rev": 1})

    def plan(old: dict[str, Any] | None, item: str) -> mongo.Plan:
        assert old is not None
        collection.update_one({"id": "A"}, {"$inc": {"_rev": 1}})
        return mongo.Change(old | {"mine": 1}, {"mine": 1})

    with pytest.raises(TransientError, match="gave up after"):
        mongo.write(collection, {"A": "A"}, plan)


def test_a_server_that_stays_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo, "SELECTION_MS", 300)
    deliver(tmp_path, "lk", alpha("A"))
    with pytest.raises(StoreAway, match="MongoDB is not answering"):
        run("mongodb://127.0.0.1:9/", tmp_path, "lk")


@pytest.mark.slow
def test_memory_stays_flat(mongo_uri: str, tmp_path: Path) -> None:
    """A package far over the spool's room is imported within a few times that room."""
    code = "\n".join(
        [
            "import sys, resource; from pathlib import Path; from tests.alphas.packaged import run",
            "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024",
            "before = peak()",
            "report = run(sys.argv[1], Path(sys.argv[2]), sys.argv[3]); assert not report.failed, report.failed",
            "print(report.total('inserted'), peak() - before)",
        ]
    )
    account = new_account()
    filler = "x" * 8000
    deliver(tmp_path, account, *(alpha(f"A{n}", code=filler) for n in range(12_000)))
    done = subprocess.run(
        [sys.executable, "-c", code, mongo_uri, str(tmp_path), account],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    inserted, grown = done.stdout.split()
    assert int(inserted) == 12_000
    assert float(grown) < 120, "100 MB of documents, of which 32 MB may be in memory"


def test_a_server_that_refuses_a_document_does_not_stop_the_others(client: Any, tmp_path: Path, mongo_uri: str) -> None:
    """What only the server can know, such as a validator of the collection, is kept aside with its reason."""
    account = new_account()
    try:
        client["regular_alphas"].create_collection(account, validator={"color": {"$ne": "BAD"}})
    except PyMongoError:
        pytest.skip("this server has no validators")
    deliver(tmp_path, account, alpha("A"), alpha("B", color="BAD"), alpha("C"))
    report = run(mongo_uri, tmp_path, account)
    assert (sorted(stored(client, account)), report.rejected) == (["A", "C"], 1)
