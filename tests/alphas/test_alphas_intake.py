"""Alphas: whatever happens to a folder, each file has a state, and each alpha the version of the newest file."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from deliveries import EVENTS, Rows, Step, assert_lawful, packed
from dying import Load, server
from hypothesis import HealthCheck, Phase, given, settings
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
    rows_leave = forgets = False

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
        raise NotImplementedError

    def entries(self) -> list[FileEntry]:
        return status.entries(self.client, self.folder)

    def table(self) -> Rows:
        found = self.client["regular_alphas"]["my lk-2"].find()
        return {int(one["id"][1:]): one["v"] for one in found}


@settings(
    max_examples=12,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
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
    assert bool(status.outdated_pairs(client, folder)) == bool(unsettled(domain.entries()))
