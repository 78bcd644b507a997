"""Packages into MongoDB: what lands, what is refused, what each mode does, and what a repeat costs."""

import datetime as dt
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from marketdata_assets.alphas import importer, ingest, status
from marketdata_assets.alphas.errors import BadOptions
from marketdata_assets.alphas.file_index import listed
from marketdata_assets.alphas.import_modes import FieldModes, ImportOptions
from marketdata_assets.alphas.ingest import AccountsReport, Report
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.merge import MergePolicy
from marketdata_assets.fanout import Fanout
from marketdata_assets.loading.states import State
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry, Quarantined
from tests.alphas.archives import write
from tests.alphas.packaged import DAY, MONTH, Document, alpha, deliver, expected, new_account, package_path, run, stored

Client = MongoClient[dict[str, Any]]


@dataclass
class AlphasEnv:
    """An account of the test's own: its packages and its collections."""

    uri: str
    client: Client
    root: Path
    account: str = field(default_factory=new_account)

    def deliver(self, *lines: Document | bytes, **options: Any) -> Path:
        return deliver(self.root, self.account, *lines, **options)

    def run(self, mode: str = "incremental", **options: Any) -> Report:
        return run(self.uri, self.root, self.account, mode, **options)

    def automatic(self, modes: FieldModes | None = None) -> AccountsReport:
        """Import as schedules and sensors do."""
        fields, pairs = {self.account: modes or {}}, [(self.account, MONTH)]
        fanout = Fanout(1, ("marketdata_assets.alphas.ingest",))
        return ingest.import_accounts(
            self.uri, self.root, "regular", pairs, run_id="run", fanout=fanout, options=ImportOptions(), fields=fields
        )

    def load(self, *lines: Document | bytes) -> Path:
        """Deliver and import; the package."""
        path = self.deliver(*lines)
        self.run()
        return path

    def stored(self, kind: Kind = "regular") -> dict[str, Document]:
        return stored(self.client, self.account, kind)

    def entries(self) -> dict[str, Entry]:
        """The ledger by day."""
        entries = mongo_ledger.entries(self.client["regular_alphas"], "regular_alphas", self.account)
        return {entry.unit: entry for entry in entries}

    def quarantined(self) -> list[Quarantined]:
        rows = mongo_ledger.quarantined(self.client["regular_alphas"], "regular_alphas")
        return [row for row in rows if row.source == self.account]


@pytest.fixture
def alphas_env(mongo_uri: str, client: Client, tmp_path: Path) -> AlphasEnv:
    return AlphasEnv(mongo_uri, client, tmp_path)


def test_new_documents_land_with_utc_dates_and_nothing_else_changed(alphas_env: AlphasEnv) -> None:
    documents = [alpha("xVWpJpp", dateSubmitted="2024-11-28T01:00:00-05:00"), alpha("6XpMb0aG", color=None, tags=[])]
    alphas_env.deliver(*documents)
    report = alphas_env.run()
    assert (report.total("inserted"), report.total("updated"), report.rejected, report.unchanged) == (2, 0, 0, 0)
    assert alphas_env.stored() == {document["id"]: expected(document) for document in documents}
    assert alphas_env.stored()["xVWpJpp"]["dateCreated"] == dt.datetime(2024, 11, 27, 9, tzinfo=dt.UTC)
    indexes = alphas_env.client["regular_alphas"][alphas_env.account].index_information()
    assert indexes["id_1"]["unique"]


def test_a_repeat_reads_nothing_and_writes_nothing(alphas_env: AlphasEnv) -> None:
    alphas_env.load(alpha("A"), alpha("B"))
    before = alphas_env.stored()
    report = alphas_env.run()
    assert (report.unchanged, report.units) == (1, ())
    forced = alphas_env.run(force=True)
    assert (forced.total("inserted"), forced.total("updated"), forced.total("read")) == (0, 0, 2)
    assert alphas_env.stored() == before
    with mongo.connect(alphas_env.uri) as other:
        (package,) = ingest.find(alphas_env.root, alphas_env.account, "regular", [MONTH])
        assert importer.unwritten(other["regular_alphas"], package, ImportOptions()) == []


def test_force_brings_back_what_was_taken_out_of_the_database(alphas_env: AlphasEnv) -> None:
    alphas_env.load(alpha("A"), alpha("B"))
    before = alphas_env.stored()
    alphas_env.client["regular_alphas"][alphas_env.account].update_one({"id": "A"}, {"$unset": {"dateModified": ""}})
    assert alphas_env.run().total("updated") == 0
    report = alphas_env.run(force=True)
    assert (report.total("inserted"), report.total("updated")) == (0, 1)
    assert alphas_env.stored()["A"]["dateModified"] == before["A"]["dateModified"]


def test_what_the_database_rejects_is_due_until_it_is_corrected_there(alphas_env: AlphasEnv) -> None:
    alphas_env.load(alpha("A"), alpha("B"))
    stored = alphas_env.client["regular_alphas"][alphas_env.account]
    stored.update_one({"id": "A"}, {"$set": {"_rev": "x"}})
    assert alphas_env.run(force=True).total("rejected") == 1
    assert alphas_env.run().total("rejected") == 1
    assert status.outdated_pairs(alphas_env.client, alphas_env.root, exact=False) == [(alphas_env.account, MONTH)]
    stored.update_one({"id": "A"}, {"$unset": {"_rev": ""}})
    assert alphas_env.run().total("rejected") == 0
    assert status.outdated_pairs(alphas_env.client, alphas_env.root) == []


def test_dropped_collection_is_due_again_and_imported_again(alphas_env: AlphasEnv) -> None:
    """The ledger, a collection of its own, still has its packages as imported."""
    alphas_env.load(*(alpha(f"A{number}") for number in range(5)))
    before = alphas_env.stored()
    assert status.outdated_pairs(alphas_env.client, alphas_env.root) == []
    alphas_env.client["regular_alphas"].drop_collection(alphas_env.account)
    assert status.outdated_pairs(alphas_env.client, alphas_env.root, exact=False) == [(alphas_env.account, MONTH)]
    report = alphas_env.run()
    assert (report.total("inserted"), report.unchanged) == (5, 0)
    assert alphas_env.stored() == before
    empty = AlphasEnv(alphas_env.uri, alphas_env.client, alphas_env.root)
    empty.load()
    assert status.outdated_pairs(alphas_env.client, alphas_env.root) == []
    assert empty.run().unchanged == 1, "an account without documents is not due again"


def test_only_changed_documents_of_a_changed_package_are_written(alphas_env: AlphasEnv) -> None:
    alphas_env.load(*(alpha(f"A{n}") for n in range(50)))
    changed = alpha("A7", 5, color="RED")
    alphas_env.deliver(*(changed if n == 7 else alpha(f"A{n}") for n in range(50)), alpha("NEW"))
    report = alphas_env.run()
    assert (report.total("inserted"), report.total("updated"), report.total("read")) == (1, 1, 51)
    after = alphas_env.stored()
    assert after["A7"] == expected(changed, 2)
    assert {document["_rev"] for name, document in after.items() if name != "A7"} == {1}


def test_the_same_lines_compressed_cost_no_write(alphas_env: AlphasEnv) -> None:
    plain = alphas_env.deliver(alpha("A"), alpha("B"))
    alphas_env.run()
    packed = package_path(alphas_env.root, alphas_env.account, "regular", DAY, ".ndjson.zst")
    write(packed, plain.read_bytes().splitlines(True))
    plain.unlink()
    report = alphas_env.run()
    assert (report.total("read"), report.total("inserted"), report.total("updated")) == (2, 0, 0)
    assert alphas_env.run().unchanged == 1


def test_of_one_id_twice_the_newest_lands(alphas_env: AlphasEnv) -> None:
    alphas_env.load(alpha("A", 9, color="NEW"), alpha("A", 3, color="OLD"))
    assert alphas_env.stored()["A"]["color"] == "NEW"


def test_an_older_version_late_adds_and_overrides_nothing(alphas_env: AlphasEnv) -> None:
    alphas_env.load(alpha("A", 9, color="NEW"))
    alphas_env.load(alpha("A", 3, color="OLD", grade="GOOD"))
    assert alphas_env.stored()["A"] == expected(alpha("A", 9, color="NEW", grade="GOOD"), 2)


@pytest.mark.parametrize("mode", ["incremental", "overwrite", "rebuild"])
@pytest.mark.parametrize("younger", [27, 28])
def test_of_equally_new_versions_in_two_packages_the_younger_one_stays(
    alphas_env: AlphasEnv, younger: int, mode: str
) -> None:
    paths = {}
    for day in (27, 28):
        moved = alpha("A", 5, dateCreated=f"2024-11-{day}T04:00:00-05:00", tags=[f"{day}"])
        paths[day] = alphas_env.deliver(moved, day=dt.date(2024, 11, day))
        os.utime(paths[day], (50 + (day == younger),) * 2)
    alphas_env.run(mode)
    alphas_env.run(mode, force=True)
    known = alphas_env.stored()["A"]
    assert known["tags"] == [f"{younger}"]
    again = alphas_env.run(mode, force=True)
    assert (again.total("inserted"), again.total("updated"), alphas_env.stored()["A"]) == (0, 0, known)
    paths[younger].unlink()
    alphas_env.run(force=True)
    assert alphas_env.stored()["A"]["tags"] == [f"{55 - younger}"]


BAD: list[tuple[bytes, str]] = [
    (b'{"id": "X", ', "no JSON"),
    (b"[1]", "a JSON list, not an object"),
    (b'{"type": "REGULAR"}', "has no id"),
    (b'{"id": 7}', "id '7' is no text"),
    (b'{"id": "X", "type": "SUPER"}', "type is 'SUPER' in a regular package"),
    (b'{"id": "X", "$set": 1}', "begins with $"),
    (b'{"id": "X", "_rev": 1}', "reserved"),
    (b'{"id": "X", "dateModified": "yesterday"}', "dateModified 'yesterday' is no date and time"),
    (b'{"id": "X", "n": 9223372036854775808}', "MongoDB cannot keep it"),
    (b'{"id": "X", "a\\u0000b": 1}', "MongoDB cannot keep it"),
    (b'{"id": "X", "code": "\xd6\xd0"}', "not UTF-8"),
    (b'{"id": "X", "a": ' + b"[" * 120 + b"]" * 120 + b"}", "nested deeper"),
    (b'{"id": "X", "n": NaN}', "no JSON"),
    (b'{"id": "X", "a": [{"$ref": "b", "$id": 1, "$db": null}]}', "a $db of null"),
    (b'{"id": "X", "code": "' + b"x" * (17 << 20) + b'"}', "over MongoDB's limit of 16 MiB"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_document_is_kept_aside_and_the_rest_lands(alphas_env: AlphasEnv, line: bytes, reason: str) -> None:
    alphas_env.deliver(alpha("A"), line, alpha("B"))
    report = alphas_env.run()
    assert (report.total("inserted"), report.rejected, report.failed) == (2, 1, ())
    assert sorted(alphas_env.stored()) == ["A", "B"]
    (rejected,) = alphas_env.quarantined()
    assert (rejected.line, rejected.unit) == (2, f"{DAY}")
    assert reason in rejected.reason
    alphas_env.deliver(alpha("A"), alpha("X"), alpha("B"))
    assert alphas_env.run().rejected == 0
    assert alphas_env.quarantined() == []


def test_of_a_package_that_is_rejected_as_a_whole_the_first_rows_are_kept(alphas_env: AlphasEnv) -> None:
    alphas_env.load(alpha("A"))
    alphas_env.deliver(alpha("A", 2), *[b"[%d]" % number for number in range(25)])
    (failed,) = alphas_env.run().failed
    assert "25 of 26 rows rejected" in str(failed.error)
    assert [(row.line, row.raw) for row in alphas_env.quarantined()] == [(2 + n, f"[{n}]\n") for n in range(20)]
    assert alphas_env.stored()["A"] == expected(alpha("A"))
    alphas_env.load(alpha("A", 2))
    assert alphas_env.quarantined() == []


@pytest.mark.parametrize("many", [0, 30], ids=["fields are set", "the document is replaced"])
@pytest.mark.parametrize(("old", "new"), [(9, 9), (14, 3)])
def test_a_merge_over_the_size_limit_is_rejected_until_the_file_or_the_stored_document_changes(
    alphas_env: AlphasEnv, old: int, new: int, many: int
) -> None:
    alphas_env.load(alpha("A", old="x" * (old << 20)))
    package = alphas_env.load(
        alpha("A", 1, new="x" * (new << 20), **{f"f{n}": n for n in range(many)}), alpha("B"), alpha("C")
    )
    (rejected,) = alphas_env.quarantined()
    assert "merged with what is stored, it is over MongoDB's limit of 16 MiB" in rejected.reason
    assert "new" not in alphas_env.stored()["A"]
    assert (alphas_env.run().unchanged, len(alphas_env.quarantined())) == (1, 1)
    assert status.outdated_pairs(alphas_env.client, alphas_env.root) == []
    collection = alphas_env.client["regular_alphas"][alphas_env.account]
    collection.update_one({"id": "A"}, {"$set": {"color": "RED"}})
    assert status.outdated_pairs(alphas_env.client, alphas_env.root) == [(alphas_env.account, MONTH)]
    assert alphas_env.run().total("rejected") == 1
    assert alphas_env.run().unchanged == 1
    collection.update_one({"id": "A"}, {"$unset": {"old": ""}})
    assert (alphas_env.run().total("updated"), alphas_env.quarantined()) == (1, [])
    assert len(alphas_env.stored()["A"]["new"]) == new << 20
    write(package, [*package.read_bytes().splitlines(True), json.dumps(alpha("D")).encode() + b"\n"])
    assert alphas_env.run().total("inserted") == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"a.b": 1},
        {"is": {"a.b": 1}},
        {"is": {"$x": 1}},
        {"": 1},
        {"is": {"": {"y": 1}}},
        {"link": {"$ref": "alphas", "$id": "B"}},
        {"is": {"$ref": "alphas", "$id": "B", "$db": "x"}},
        {"links": [{"$id": {"$ref": "a", "$id": 1}, "$ref": "alphas", "id": "B"}]},
    ],
)
def test_odd_keys_that_mongodb_takes_are_merged(alphas_env: AlphasEnv, fields: Document) -> None:
    alphas_env.load(alpha("A"))
    alphas_env.deliver(alpha("A", 1, **fields))
    report = alphas_env.run()
    after = alphas_env.stored()["A"]
    assert report.total("updated") == 1
    for key, value in fields.items():
        assert after[key] == (value if key != "is" else alpha("A")["is"] | value)
    assert alphas_env.run(force=True).total("updated") == 0


@pytest.mark.parametrize(
    ("bad", "good", "failed"), [(11, 1, True), (1, 0, True), (5, 5, False), (11, 989, False), (60, 940, True)]
)
def test_rejects_beyond_a_share_and_a_number_fail_the_package_and_no_other(
    alphas_env: AlphasEnv, bad: int, good: int, failed: bool
) -> None:
    lines = [alpha(f"A{number}") for number in range(good)]
    alphas_env.deliver(*lines, *(b"{}" for _ in range(bad)))
    alphas_env.deliver(alpha("B"), day=DAY + dt.timedelta(days=1))
    report = alphas_env.run()
    assert (bool(report.failed), len(alphas_env.stored())) == (failed, 1 if failed else good + 1)
    assert len(alphas_env.quarantined()) == (min(bad, 20) if failed else bad)
    entry = alphas_env.entries()[f"{DAY}"]
    assert (entry.outcome, entry.content_hash is None) == ("failed" if failed else "ok", failed)
    if failed:
        assert f"{bad} of {bad + good} rows rejected" in (report.failed[0].error or "")
        alphas_env.deliver(*lines)
        assert alphas_env.run().total("inserted") == good


def test_a_failed_package_keeps_what_stood_before(alphas_env: AlphasEnv) -> None:
    good = alphas_env.deliver(alpha("A"))
    alphas_env.run()
    content = good.read_bytes()
    zst = package_path(alphas_env.root, alphas_env.account, "regular", DAY, ".ndjson.zst")
    write(zst, [content])
    zst.write_bytes(zst.read_bytes()[:-9])
    good.unlink()
    report = alphas_env.run()
    assert str(zst.name) in (report.failed[0].error or "")
    assert list(alphas_env.stored()) == ["A"]
    zst.unlink()
    good.write_bytes(content)
    assert (alphas_env.run().total("updated"), len(alphas_env.stored())) == (0, 1)


def two_versions(alphas_env: AlphasEnv) -> tuple[Document, Document]:
    """A stored document that knows more and is newer than the package's."""
    existing = alpha("A", 60, color="STORED", is_={"x": 1}, tags=["t"])
    alphas_env.load(existing)
    incoming = alpha("A", 30, color="PACKAGE", tags=[])
    alphas_env.deliver(incoming)
    return existing, incoming


@pytest.mark.parametrize(
    ("mode", "after"),
    [
        ("incremental", lambda existing, incoming: expected(existing)),
        ("overwrite", lambda existing, incoming: expected(existing | incoming | {"tags": ["t"]}, 2)),
        ("rebuild", lambda existing, incoming: expected(incoming, 2)),
    ],
)
def test_mode_says_which_version_wins_and_what_is_kept(
    alphas_env: AlphasEnv, mode: str, after: Callable[[Document, Document], Document]
) -> None:
    existing, incoming = two_versions(alphas_env)
    assert alphas_env.run(mode).total("updated") == (mode != "incremental")
    assert alphas_env.stored()["A"] == after(existing, incoming)
    assert alphas_env.run(mode).total("updated") == 0


def test_mode_time_range_takes_what_changed_lately(alphas_env: AlphasEnv) -> None:
    now = dt.datetime.now(dt.UTC)

    def at(hours: float) -> str:
        return (now - dt.timedelta(hours=hours)).isoformat(timespec="seconds")

    undated = {key: value for key, value in alpha("UNDATED").items() if not key.startswith("date")}
    lines = [alpha("NEAR") | {"dateModified": at(3)}, alpha("FAR") | {"dateModified": at(30)}, undated]
    alphas_env.deliver(*lines)
    report = alphas_env.run("time_range", time_range_hours=4, buffer_hours=0)
    assert (sorted(alphas_env.stored()), report.total("skipped")) == (["NEAR", "UNDATED"], 1)
    assert alphas_env.run().total("inserted") == 1, "what was left out is not taken for imported"
    assert sorted(alphas_env.stored()) == ["FAR", "NEAR", "UNDATED"]


def test_mode_smart_merge_goes_from_the_newest_stored(alphas_env: AlphasEnv) -> None:
    day = 24 * 60
    alphas_env.deliver(alpha("A", 10 * day))
    assert alphas_env.run("smart_merge").total("inserted") == 1, "an empty collection takes all"
    alphas_env.deliver(alpha("A", 10 * day), alpha("NEAR", 8 * day), alpha("FAR", 6 * day))
    report = alphas_env.run("smart_merge")
    assert (sorted(alphas_env.stored()), report.total("skipped")) == (["A", "NEAR"], 1)
    assert alphas_env.run("smart_merge", buffer_days=5).total("inserted") == 1


FULL = {"tags": ["t", "u"], "classifications": [{"id": "A"}, {"id": "B"}], "themes": [{"id": "X"}, {"id": "Y"}]}


@pytest.mark.parametrize(
    ("modes", "replaced"),
    [
        ({}, {"tags", "classifications"}),
        ({"tags": "merge"}, {"classifications"}),
        ({"themes": "replace"}, {"tags", "classifications", "themes"}),
    ],
)
def test_automation_replaces_fields_as_the_account_says(
    alphas_env: AlphasEnv, modes: FieldModes, replaced: set[str]
) -> None:
    alphas_env.load(alpha("A", **FULL))
    small = {"tags": [], "classifications": [{"id": "B"}], "themes": [{"id": "Y"}]}
    alphas_env.deliver(alpha("A", 1, **small))
    assert alphas_env.automatic(modes).failed == {}
    after = alphas_env.stored()["A"]
    assert {name: after[name] for name in FULL} == {name: (small if name in replaced else FULL)[name] for name in FULL}


def test_what_an_earlier_version_merged_is_imported_again_once(alphas_env: AlphasEnv) -> None:
    """It accumulated classifications, and kept tags that had been cleared."""
    package = alphas_env.load(alpha("A", **FULL))
    newest = alpha("A", 1, tags=[], classifications=[{"id": "B"}])
    alphas_env.load(newest)
    assert alphas_env.stored()["A"]["tags"] == FULL["tags"]
    ledger = alphas_env.client["regular_alphas"][mongo_ledger.LEDGER]
    ledger.update_many({"source": alphas_env.account}, {"$set": {"code_version": "alphas-1"}})
    [entry] = alphas_env.entries().values()
    states = status.Survey(alphas_env.root, alphas_env.account, "regular", listed(alphas_env.root), [entry]).months()
    assert (states, package.exists()) == ({MONTH: State.STALE}, True)
    assert alphas_env.automatic().total("updated") == 1
    assert alphas_env.stored()["A"] == expected(newest | {"themes": FULL["themes"]}, 3)
    assert alphas_env.automatic().total("read") == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "merge"}, "none of incremental"),
        ({"time_range_hours": 3}, "goes with mode time_range, not with incremental"),
        ({"mode": "smart_merge", "buffer_hours": 3}, "goes with mode time_range, not with smart_merge"),
        ({"mode": "time_range", "buffer_days": 3}, "goes with mode smart_merge"),
        ({"mode": "time_range", "time_range_hours": -1}, "less than nothing"),
        ({"mode": "rebuild", "policy": MergePolicy(frozenset({"tags"}))}, "no effect"),
        ({"batch_size": 0}, "batch size 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOptions, match=words):
        ImportOptions(**options)


def test_a_collection_of_the_old_tool_is_taken_over(alphas_env: AlphasEnv) -> None:
    """Its documents have ObjectIds for `_id`, dates as text and no revision."""
    old = alpha("A", 5, color="OLD") | {"legacy": 1}
    alphas_env.client["regular_alphas"][alphas_env.account].insert_one(dict(old))
    alphas_env.deliver(alpha("A", 9, color="NEW"), alpha("B"))
    report = alphas_env.run()
    assert (report.total("inserted"), report.total("updated")) == (1, 1)
    after = alphas_env.stored()["A"]
    assert after == expected(alpha("A", 9, color="NEW") | {"legacy": 1}, 1)
    assert alphas_env.client["regular_alphas"][alphas_env.account].count_documents({"id": "A"}) == 1


def test_many_changed_leaves_replace_the_document(alphas_env: AlphasEnv) -> None:
    alphas_env.load(alpha("A", wide={f"k{n}": n for n in range(100)}, keep=1))
    new = alpha("A", 1, wide={f"k{n}": n + 1 for n in range(100)})
    alphas_env.load(new)
    assert alphas_env.stored()["A"] == expected(new | {"keep": 1}, 2)


def test_several_processes_import_a_month(alphas_env: AlphasEnv, monkeypatch: Any) -> None:
    monkeypatch.setattr(ingest, "BATCH_PACKAGES", 4)
    for day in range(1, 13):
        date = dt.date(2024, 11, day)
        alphas_env.deliver(*(alpha(f"A{day}_{n}") for n in range(20)), day=date)
    report = alphas_env.run(workers=2)
    assert (report.total("inserted"), len(report.units), len(alphas_env.stored())) == (240, 12, 240)
    assert list(alphas_env.entries()) == [f"2024-11-{day:02d}" for day in range(1, 13)]


def test_recorded_alphas_round_trip(alphas_env: AlphasEnv, fixtures: Path) -> None:
    """Unchanged but for dates and the one field of ours."""
    page = json.loads((fixtures / "brain/alpha_list/users_self_alphas_page.json").read_bytes())
    regular = [*page["results"], json.loads((fixtures / "brain/alpha_regular/regular_npOz2ZN8.json").read_bytes())]
    regular = [document for document in regular if document["type"] == "REGULAR"]
    supers = [json.loads((fixtures / "brain/alpha_super/super_xWVr3rW.json").read_bytes())]
    alphas_env.load(*regular)
    alphas_env.deliver(*supers, kind="super")
    alphas_env.run(kind="super")
    assert alphas_env.stored() == {document["id"]: expected(document) for document in regular}, "in its own database"
    assert alphas_env.stored("super") == {document["id"]: expected(document) for document in supers}
    assert (alphas_env.run(force=True).total("updated")) == 0


def test_a_package_that_fails_with_any_error_fails_alone(alphas_env: AlphasEnv) -> None:
    alphas_env.deliver(alpha("A"))
    package_path(alphas_env.root, alphas_env.account, "regular", DAY + dt.timedelta(days=1)).symlink_to("nothing")
    report = alphas_env.run()
    assert [(unit.outcome, unit.months) for unit in report.units] == [("ok", ("2024-11",)), ("failed", ("2024-11",))]
    assert "a link to nothing" in (report.failed[0].error or "")
    assert [*alphas_env.stored()] == ["A"]
    assert len(alphas_env.run().units) == 1, "only the failed package is due again"
