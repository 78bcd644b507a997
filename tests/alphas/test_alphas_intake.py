"""Alphas: whatever happens to a folder, each file has a state, and each alpha the version of the newest file."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.collection import Collection

from marketdata_assets.alphas import status
from marketdata_assets.alphas.import_modes import ImportOptions
from marketdata_assets.alphas.ingest import import_accounts
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.alphas.packaging import package_months
from marketdata_assets.fanout import Fanout
from marketdata_assets.loading.file_ledger import FileEntry, unsettled
from tests.deliveries import EVENTS, Rows, Step, assert_lawful, packed
from tests.dying import Load, server
from tests.examples import FEW

CREATED = [f"2024-{day}T09:30:00Z" for day in ("11-29", "11-29", "11-30", "12-01", "12-01", "12-02")]
MONTHS = ("2024-11", "2024-12")
SPAN = "2024-11-28-00-00-00.000Z_to_2024-12-03-00-00-00.000Z"
FOLDER = "my lk-2/primeval_data/all_regular_alphas"
STEPS = (
    *((os, name) for name in ("replace", "fsync", "pread")),
    *((Path, name) for name in ("open", "read_bytes", "unlink")),
    *((Collection, name) for name in ("create_index", "bulk_write", "replace_one", "find", "find_one")),
)


def doomed(uri: str, folder: str) -> None:
    pairs = [("my lk-2", month) for month in MONTHS]
    package_months(Path(folder), pairs, Fanout(1))
    options = ImportOptions()
    import_accounts(uri, Path(folder), "regular", pairs, run_id="r", fanout=Fanout(1), fields={}, options=options)


@pytest.fixture(scope="module")
def dying() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


class Alphas:
    """A folder of raw slices; a key is an alpha, a value one of its fields. No alpha has a dateModified.

    Documents are merged and never removed, and packages keep the alphas of raw files that are deleted.
    """

    names = (
        f"{FOLDER}/lk_{SPAN}_all_regular_alphas.json",
        f"{FOLDER}/b_{SPAN}_.JSON",
        f"{FOLDER}/c_{SPAN}_all.zip",
        f"{FOLDER}/plain.zip",
        f"{FOLDER}/a_{SPAN}_more.json.gz",
    )
    by_age = is_staged = True
    rows_leave = old_rows_yield = forgets = stays_forgotten = follows_deleted = False
    extra_rows = 0

    def __init__(self, uri: str, client: MongoClient[dict[str, Any]], folder: Path, dying: Load) -> None:
        self.uri, self.client, self.folder, self.dying = uri, client, folder, dying

    def content(self, name: str, rows: Mapping[int, int]) -> bytes:
        """The file of a slot, packed as its name says."""
        alphas = [{"id": f"a{key}", "dateCreated": CREATED[key], "v": value} for key, value in rows.items()]
        return packed(name, json.dumps(alphas).encode(), f"x/lk_{SPAN}_all.json")

    def load(self) -> None:
        doomed(self.uri, str(self.folder))

    def kill(self, steps: int) -> None:
        self.dying(self.uri, str(self.folder), steps)

    def forget(self, name: str) -> None:
        raise AssertionError(f"{name}: documents are merged and never removed, no file is taken back")

    def entries(self) -> list[FileEntry]:
        return status.entries(self.client, self.folder)

    def table(self) -> Rows:
        found = self.client["regular_alphas"]["my lk-2"].find()
        return {int(one["id"][1:]): one["v"] for one in found}


@settings(FEW, phases=[Phase.generate])
@given(steps=st.lists(EVENTS, min_size=2, max_size=8))
def test_every_file_has_a_state_and_every_alpha_one_fate(
    mongo_uri: str,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
    dying: Load,
    steps: list[Step],
) -> None:
    for kind in KINDS:
        client.drop_database(f"{kind}_alphas")
    folder = tmp_path_factory.mktemp("alphas") / "delivered"
    folder.mkdir()
    domain = Alphas(mongo_uri, client, folder, dying)
    assert_lawful(domain, steps)
    left = [one.file for one in unsettled(domain.entries())]
    of_no_month = {f"{FOLDER}/plain.zip"}  # one that cannot be opened is of no month, so no run is requested for it
    assert bool(status.outdated_pairs(client, folder)) == bool({*left} - of_no_month)


def put(folder: Path, name: str, *alphas: object, age: int = 1) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(name, json.dumps(alphas).encode(), f"lk_{SPAN}_all.json"))
    os.utime(path, (1_700_000_000 + age,) * 2)
    return path


def alpha(name: str, day: str = "2024-11-29", **rest: Any) -> dict[str, Any]:
    return {"id": name, "dateCreated": f"{day}T09:30:00Z", **rest}


@pytest.fixture
def alphas_env(mongo_uri: str, client: MongoClient[dict[str, Any]], tmp_path: Path, dying: Load) -> Alphas:
    for kind in KINDS:
        client.drop_database(f"{kind}_alphas")
    (tmp_path / "delivered").mkdir()
    return Alphas(mongo_uri, client, tmp_path / "delivered", dying)


def bring(alphas_env: Alphas, pairs: Sequence[tuple[str, str]]) -> None:
    options = ImportOptions()
    import_accounts(
        alphas_env.uri, alphas_env.folder, "regular", pairs, run_id="r", fanout=Fanout(1), fields={}, options=options
    )


def states(alphas_env: Alphas) -> dict[str, str]:
    return {one.file: str(one.state) for one in alphas_env.entries()}


def test_every_entry_is_named_with_a_reason(alphas_env: Alphas) -> None:
    good = put(alphas_env.folder, f"{FOLDER}/lk_{SPAN}_.json", alpha("a"))
    reasons = {
        "notes.txt": "no alphas are read here",
        "bad|name/primeval_data/all_regular_alphas/x.json": "no account name",
        "my lk-2/primeval_data/all_mega_alphas/x.json": "no alphas are read here",
        f"{FOLDER}/nameless.json": "no window",
        f"{FOLDER}/lk_{SPAN}_.json.bad": "raw alphas are read from",
        f"{FOLDER}/lk_2099-01-01-00-00-00.000Z_to_2099-01-02-00-00-00.000Z_.json": "of no month from 2015-01",
        "my lk-2/changed_data/regular/2024-13/a.json": "no alphas are read here",
        "my lk-2/packages/regular/2024-11/2024-12-01.ndjson": "names such as 2024-11-01.ndjson",
        "my lk-2/packages/regular/2024-11/a.csv": "packages are read from",
    }
    for name in reasons:
        put(alphas_env.folder, name)
    (good.parent / f"b_{SPAN}_.json").symlink_to(good.parent / "absent")
    (good.parent / "c.zip").write_bytes(b"PK\3\4")
    alphas_env.load()
    found = {one.file: one for one in alphas_env.entries()}
    for name, reason in reasons.items():
        assert (found[name].state, reason in found[name].reason) == ("not taken", True), found[name]
    assert found.pop(f"{FOLDER}/b_{SPAN}_.json").state == found.pop(f"{FOLDER}/c.zip").state == "failed"
    assert {name for name, one in found.items() if one.state == "loaded"} == {
        f"{FOLDER}/{good.name}",
        "my lk-2/packages/regular/2024-11/2024-11-29.ndjson",
    }
    assert len(found) == len(reasons) + 2


def test_raw_file_is_loaded_when_its_packages_are_in_mongodb(alphas_env: Alphas) -> None:
    name = f"{FOLDER}/lk_{SPAN}_.json"
    put(alphas_env.folder, name, alpha("a"), alpha("b", "2024-12-01"))
    assert states(alphas_env) == {name: "due"}
    package_months(alphas_env.folder, [("my lk-2", month) for month in MONTHS], Fanout(1))
    assert set(states(alphas_env).values()) == {"due"}
    alphas_env.load()
    assert set(states(alphas_env).values()) == {"loaded"}
    alphas_env.client["regular_alphas"]["marketdata-ledger"].delete_one({"unit": "2024-12-01"})
    assert {day for day, state in states(alphas_env).items() if state == "due"} == {
        name,
        *(d for d in states(alphas_env) if "12-01" in d),
    }


def test_slice_of_two_months_is_due_until_both_are_loaded(alphas_env: Alphas) -> None:
    name = f"{FOLDER}/lk_{SPAN}_.json"
    put(alphas_env.folder, name, alpha("a"), alpha("b", "2024-12-01"))
    pairs = [("my lk-2", month) for month in MONTHS]
    package_months(alphas_env.folder, pairs[:1], Fanout(1))
    bring(alphas_env, pairs[:1])
    assert states(alphas_env)[name] == "due"
    assert status.outdated_pairs(alphas_env.client, alphas_env.folder) == pairs[1:]


def test_each_alpha_of_a_raw_file_has_one_fate(alphas_env: Alphas) -> None:
    old, new = f"{FOLDER}/a_{SPAN}_.json", f"{FOLDER}/b_{SPAN}_.json"
    plain = [alpha(f"p{number}", "2024-12-01") for number in range(20)]
    put(alphas_env.folder, old, alpha("a"), alpha("b"), 7, alpha("c", v=1), alpha("c", v=2), age=1)
    put(alphas_env.folder, new, alpha("b"), alpha("x", "2024-12-01", type="SUPER"), *plain, age=2)
    alphas_env.load()
    first, second = (one for one in alphas_env.entries() if one.file in (old, new))
    assert (first.read, first.loaded, first.rejected, first.duplicates, first.replaced) == (5, 2, 1, 1, {new: 1})
    assert (second.read, second.loaded, second.rejected, second.replaced) == (22, 21, 1, {}), "MongoDB has rejected one"
    assert first.balanced and second.balanced


def test_raw_file_whose_package_is_damaged_is_failed(alphas_env: Alphas) -> None:
    name = f"{FOLDER}/lk_{SPAN}_.json"
    put(alphas_env.folder, name, alpha("a7", v=1))
    alphas_env.load()
    package = alphas_env.folder / "my lk-2/packages/regular/2024-11/2024-11-29.ndjson"
    package.write_text(json.dumps(alpha("a7", "2024-11-30", v=1)) + "\n")  # of another day: imported, but not packaged
    put(alphas_env.folder, name, alpha("a7", v=1), alpha("a8", v=2), age=2)
    alphas_env.load()
    assert alphas_env.table() == {7: 1}
    assert states(alphas_env)[name] == "failed"


def test_deleting_the_newest_raw_file_does_not_bring_an_older_version_back(alphas_env: Alphas) -> None:
    put(alphas_env.folder, f"{FOLDER}/a_{SPAN}_.json", alpha("a7", v=1), age=1)
    newest = put(alphas_env.folder, f"{FOLDER}/b_{SPAN}_.json", alpha("a7", v=2), age=2)
    alphas_env.load()
    newest.unlink()
    alphas_env.load()
    put(alphas_env.folder, f"{FOLDER}/c_{SPAN}_.json", alpha("a8", v=3), age=1)
    alphas_env.load()
    assert alphas_env.table() == {7: 2, 8: 3}
    [entry] = [one for one in alphas_env.entries() if "/a_" in one.file]
    assert (entry.state, entry.replaced) == ("loaded", {f"{FOLDER}/{newest.name}": 1})


def test_of_two_lines_of_a_package_with_one_id_one_is_a_duplicate(alphas_env: Alphas) -> None:
    package = alphas_env.folder / "my lk-2/packages/regular/2024-11/2024-11-29.ndjson"
    package.parent.mkdir(parents=True)
    lines = [json.dumps(alpha("a", v=number)) for number in range(2)]
    for more in ([], [json.dumps(alpha("b"))]):
        package.write_text("\n".join([*lines, *more]) + "\n")
        bring(alphas_env, [("my lk-2", MONTHS[0])])
        [entry] = alphas_env.entries()
        assert (entry.state, entry.read, entry.loaded, entry.duplicates) == ("loaded", 2 + len(more), 1 + len(more), 1)
