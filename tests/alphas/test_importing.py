"""Packages into MongoDB: what lands, what is refused, what each mode does, and what a repeat costs."""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from packaged import DAY, MONTH, Document, alpha, deliver, expected, new_account, run, stored
from pymongo import MongoClient

from marketdata_assets.alphas import importer, ingest, layout, status
from marketdata_assets.alphas.errors import BadOptions
from marketdata_assets.alphas.file_index import listed
from marketdata_assets.alphas.files import write
from marketdata_assets.alphas.import_modes import FieldModes, ImportOptions
from marketdata_assets.alphas.ingest import AccountsReport, Report
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.merge import MergePolicy
from marketdata_assets.fanout import Fanout
from marketdata_assets.loading.states import State
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry, Quarantined

Client = MongoClient[dict[str, Any]]


@dataclass
class Lab:
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
def lab(mongo_uri: str, client: Client, tmp_path: Path) -> Lab:
    return Lab(mongo_uri, client, tmp_path)


def test_new_documents_land_with_utc_dates_and_nothing_else_changed(lab: Lab) -> None:
    documents = [alpha("xVWpJpp", dateSubmitted="2024-11-28T01:00:00-05:00"), alpha("6XpMb0aG", color=None, tags=[])]
    lab.deliver(*documents)
    report = lab.run()
    assert (report.total("inserted"), report.total("updated"), report.rejected, report.unchanged) == (2, 0, 0, 0)
    assert lab.stored() == {document["id"]: expected(document) for document in documents}
    assert lab.stored()["xVWpJpp"]["dateCreated"] == dt.datetime(2024, 11, 27, 9, tzinfo=dt.UTC)
    indexes = lab.client["regular_alphas"][lab.account].index_information()
    assert indexes["id_1"]["unique"]


def test_supers_land_in_their_own_database(lab: Lab) -> None:
    lab.deliver(alpha("S1", type="SUPER"), kind="super")
    assert lab.run(kind="super").total("inserted") == 1
    assert list(lab.stored("super")) == ["S1"]
    assert lab.stored() == {}


def test_a_repeat_reads_nothing_and_writes_nothing(lab: Lab) -> None:
    lab.load(alpha("A"), alpha("B"))
    before = lab.stored()
    report = lab.run()
    assert (report.unchanged, report.units) == (1, ())
    forced = lab.run(force=True)
    assert (forced.total("inserted"), forced.total("updated"), forced.total("read")) == (0, 0, 2)
    assert lab.stored() == before
    with mongo.connect(lab.uri) as other:
        (package,) = ingest.find(lab.root, lab.account, "regular", [MONTH])
        assert importer.unwritten(other["regular_alphas"], package, ImportOptions()) == []


def test_force_brings_back_what_was_taken_out_of_the_database(lab: Lab) -> None:
    lab.load(alpha("A"), alpha("B"))
    lab.client["regular_alphas"][lab.account].delete_one({"id": "A"})
    assert lab.run().total("inserted") == 0
    report = lab.run(force=True)
    assert (report.total("inserted"), report.total("updated"), sorted(lab.stored())) == (1, 0, ["A", "B"])


def test_dropped_collection_is_due_again_and_imported_again(lab: Lab) -> None:
    """The ledger, a collection of its own, still has its packages as imported."""
    lab.load(*(alpha(f"A{number}") for number in range(5)))
    before = lab.stored()
    assert status.outdated_pairs(lab.client, lab.root) == []
    lab.client["regular_alphas"].drop_collection(lab.account)
    assert status.outdated_pairs(lab.client, lab.root, exact=False) == [(lab.account, MONTH)]
    report = lab.run()
    assert (report.total("inserted"), report.unchanged) == (5, 0)
    assert lab.stored() == before
    assert status.outdated_pairs(lab.client, lab.root) == []


def test_account_without_documents_is_not_due_again(lab: Lab) -> None:
    lab.load()
    assert status.outdated_pairs(lab.client, lab.root) == []
    assert lab.run().unchanged == 1


def test_only_changed_documents_of_a_changed_package_are_written(lab: Lab) -> None:
    lab.load(*(alpha(f"A{n}") for n in range(50)))
    changed = alpha("A7", 5, color="RED")
    lab.deliver(*(changed if n == 7 else alpha(f"A{n}") for n in range(50)), alpha("NEW"))
    report = lab.run()
    assert (report.total("inserted"), report.total("updated"), report.total("read")) == (1, 1, 51)
    after = lab.stored()
    assert after["A7"] == expected(changed, 2)
    assert {document["_rev"] for name, document in after.items() if name != "A7"} == {1}


def test_the_same_lines_compressed_cost_no_write(lab: Lab) -> None:
    plain = lab.deliver(alpha("A"), alpha("B"))
    lab.run()
    write(
        layout.package_path(lab.root, lab.account, "regular", DAY, ".ndjson.zst"), plain.read_bytes().splitlines(True)
    )
    plain.unlink()
    report = lab.run()
    assert (report.total("read"), report.total("inserted"), report.total("updated")) == (2, 0, 0)
    assert lab.run().unchanged == 1


def test_of_one_id_twice_the_newest_lands(lab: Lab) -> None:
    lab.load(alpha("A", 9, color="NEW"), alpha("A", 3, color="OLD"))
    assert lab.stored()["A"]["color"] == "NEW"


def test_an_older_version_late_adds_and_overrides_nothing(lab: Lab) -> None:
    lab.load(alpha("A", 9, color="NEW"))
    lab.load(alpha("A", 3, color="OLD", grade="GOOD"))
    assert lab.stored()["A"] == expected(alpha("A", 9, color="NEW", grade="GOOD"), 2)


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
    (b'{"id": "X", "code": "' + b"x" * (17 << 20) + b'"}', "over MongoDB's limit of 16 MiB"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_document_is_kept_aside_and_the_rest_lands(lab: Lab, line: bytes, reason: str) -> None:
    lab.deliver(alpha("A"), line, alpha("B"))
    report = lab.run()
    assert (report.total("inserted"), report.rejected, report.failed) == (2, 1, ())
    assert sorted(lab.stored()) == ["A", "B"]
    (rejected,) = lab.quarantined()
    assert (rejected.line, rejected.unit) == (2, f"{DAY}")
    assert reason in rejected.reason
    lab.deliver(alpha("A"), alpha("X"), alpha("B"))
    assert lab.run().rejected == 0
    assert lab.quarantined() == []


def test_a_merge_over_the_size_limit_is_rejected_and_the_stored_version_stays(lab: Lab) -> None:
    lab.load(alpha("A", old="x" * (9 << 20)))
    lab.load(alpha("A", 1, new="x" * (9 << 20)), alpha("B"))
    (rejected,) = lab.quarantined()
    assert "merged with what is stored, it is over MongoDB's limit" in rejected.reason
    assert "new" not in lab.stored()["A"]


@pytest.mark.parametrize("fields", [{"a.b": 1}, {"is": {"a.b": 1}}, {"is": {"$x": 1}}, {"": 1}, {"is": {"": {"y": 1}}}])
def test_odd_keys_that_mongodb_takes_are_merged(lab: Lab, fields: Document) -> None:
    lab.load(alpha("A"))
    lab.deliver(alpha("A", 1, **fields))
    report = lab.run()
    after = lab.stored()["A"]
    assert report.total("updated") == 1
    for key, value in fields.items():
        assert after[key] == (value if key != "is" else alpha("A")["is"] | value)
    assert lab.run(force=True).total("updated") == 0


def test_too_many_bad_documents_fail_the_package_and_nothing_of_it_lands(lab: Lab) -> None:
    lab.deliver(alpha("A"), *(b"{}" for _ in range(11)))
    lab.deliver(alpha("B"), day=DAY + dt.timedelta(days=1))
    report = lab.run()
    (failed,) = report.failed
    assert "11 of 12 rows rejected" in (failed.error or "")
    assert list(lab.stored()) == ["B"]
    entry = lab.entries()[f"{DAY}"]
    assert (entry.outcome, entry.content_hash) == ("failed", None)
    lab.deliver(alpha("A"))
    assert lab.run().total("inserted") == 1


@pytest.mark.parametrize(
    ("bad", "good", "failed"), [(10, 0, True), (1, 0, True), (5, 5, False), (11, 989, False), (60, 940, True)]
)
def test_rejects_are_judged_by_their_share_and_their_number(lab: Lab, bad: int, good: int, failed: bool) -> None:
    lab.deliver(*(alpha(f"A{number}") for number in range(good)), *(b"{}" for _ in range(bad)))
    report = lab.run()
    assert (bool(report.failed), len(lab.stored())) == (failed, 0 if failed else good)
    assert len(lab.quarantined()) == (0 if failed else bad)


def test_a_failed_package_keeps_what_stood_before(lab: Lab) -> None:
    good = lab.deliver(alpha("A"))
    lab.run()
    content = good.read_bytes()
    zst = layout.package_path(lab.root, lab.account, "regular", DAY, ".ndjson.zst")
    write(zst, [content])
    zst.write_bytes(zst.read_bytes()[:-9])
    good.unlink()
    report = lab.run()
    assert str(zst.name) in (report.failed[0].error or "")
    assert list(lab.stored()) == ["A"]
    zst.unlink()
    good.write_bytes(content)
    assert (lab.run().total("updated"), len(lab.stored())) == (0, 1)


def two_versions(lab: Lab) -> tuple[Document, Document]:
    """A stored document that knows more and is newer than the package's."""
    existing = alpha("A", 60, color="STORED", is_={"x": 1}, tags=["t"])
    lab.load(existing)
    incoming = alpha("A", 30, color="PACKAGE", tags=[])
    lab.deliver(incoming)
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
    lab: Lab, mode: str, after: Callable[[Document, Document], Document]
) -> None:
    existing, incoming = two_versions(lab)
    assert lab.run(mode).total("updated") == (mode != "incremental")
    assert lab.stored()["A"] == after(existing, incoming)
    assert lab.run(mode).total("updated") == 0


def test_mode_time_range_takes_what_changed_lately(lab: Lab) -> None:
    now = dt.datetime.now(dt.UTC)

    def at(hours: float) -> str:
        return (now - dt.timedelta(hours=hours)).isoformat(timespec="seconds")

    undated = {key: value for key, value in alpha("UNDATED").items() if not key.startswith("date")}
    lines = [alpha("NEAR") | {"dateModified": at(3)}, alpha("FAR") | {"dateModified": at(30)}, undated]
    lab.deliver(*lines)
    report = lab.run("time_range", time_range_hours=4, buffer_hours=0)
    assert (sorted(lab.stored()), report.total("skipped")) == (["NEAR", "UNDATED"], 1)
    assert lab.run().total("inserted") == 1, "what was left out is not taken for imported"
    assert sorted(lab.stored()) == ["FAR", "NEAR", "UNDATED"]


def test_mode_smart_merge_goes_from_the_newest_stored(lab: Lab) -> None:
    day = 24 * 60
    lab.deliver(alpha("A", 10 * day))
    assert lab.run("smart_merge").total("inserted") == 1, "an empty collection takes all"
    lab.deliver(alpha("A", 10 * day), alpha("NEAR", 8 * day), alpha("FAR", 6 * day))
    report = lab.run("smart_merge")
    assert (sorted(lab.stored()), report.total("skipped")) == (["A", "NEAR"], 1)
    assert lab.run("smart_merge", buffer_days=5).total("inserted") == 1


def test_a_policy_lets_named_fields_shrink(lab: Lab) -> None:
    lab.load(alpha("A", tags=["t"]))
    lab.deliver(alpha("A", 1, tags=[]))
    lab.run(policy=MergePolicy(frozenset({"tags"})))
    assert lab.stored()["A"]["tags"] == []


FULL = {"tags": ["t", "u"], "classifications": [{"id": "A"}, {"id": "B"}], "themes": [{"id": "X"}, {"id": "Y"}]}


@pytest.mark.parametrize(
    ("modes", "replaced"),
    [
        ({}, {"tags", "classifications"}),
        ({"tags": "merge"}, {"classifications"}),
        ({"themes": "replace"}, {"tags", "classifications", "themes"}),
    ],
)
def test_automation_replaces_fields_as_the_account_says(lab: Lab, modes: FieldModes, replaced: set[str]) -> None:
    lab.load(alpha("A", **FULL))
    small = {"tags": [], "classifications": [{"id": "B"}], "themes": [{"id": "Y"}]}
    lab.deliver(alpha("A", 1, **small))
    assert lab.automatic(modes).failed == {}
    after = lab.stored()["A"]
    assert {name: after[name] for name in FULL} == {name: (small if name in replaced else FULL)[name] for name in FULL}


def test_what_an_earlier_version_merged_is_imported_again_once(lab: Lab) -> None:
    """It accumulated classifications, and kept tags that had been cleared."""
    package = lab.load(alpha("A", **FULL))
    newest = alpha("A", 1, tags=[], classifications=[{"id": "B"}])
    lab.load(newest)
    assert lab.stored()["A"]["tags"] == FULL["tags"]
    ledger = lab.client["regular_alphas"][mongo_ledger.LEDGER]
    ledger.update_many({"source": lab.account}, {"$set": {"code_version": "alphas-1"}})
    [entry] = lab.entries().values()
    states = status.Survey(lab.root, lab.account, "regular", listed(lab.root), [entry]).months()
    assert (states, package.exists()) == ({MONTH: State.STALE}, True)
    assert lab.automatic().total("updated") == 1
    assert lab.stored()["A"] == expected(newest | {"themes": FULL["themes"]}, 3)
    assert lab.automatic().total("read") == 0


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


def test_a_collection_of_the_old_tool_is_taken_over(lab: Lab) -> None:
    """Its documents have ObjectIds for `_id`, dates as text and no revision."""
    old = alpha("A", 5, color="OLD") | {"legacy": 1}
    lab.client["regular_alphas"][lab.account].insert_one(dict(old))
    lab.deliver(alpha("A", 9, color="NEW"), alpha("B"))
    report = lab.run()
    assert (report.total("inserted"), report.total("updated")) == (1, 1)
    after = lab.stored()["A"]
    assert after == expected(alpha("A", 9, color="NEW") | {"legacy": 1}, 1)
    assert lab.client["regular_alphas"][lab.account].count_documents({"id": "A"}) == 1


def test_many_changed_leaves_replace_the_document(lab: Lab) -> None:
    lab.load(alpha("A", wide={f"k{n}": n for n in range(100)}, keep=1))
    new = alpha("A", 1, wide={f"k{n}": n + 1 for n in range(100)})
    lab.load(new)
    assert lab.stored()["A"] == expected(new | {"keep": 1}, 2)


def test_several_processes_import_a_month(lab: Lab, monkeypatch: Any) -> None:
    monkeypatch.setattr(ingest, "BATCH_PACKAGES", 4)
    for day in range(1, 13):
        date = dt.date(2024, 11, day)
        lab.deliver(*(alpha(f"A{day}_{n}") for n in range(20)), day=date)
    report = lab.run(workers=2)
    assert (report.total("inserted"), len(report.units), len(lab.stored())) == (240, 12, 240)
    assert list(lab.entries()) == [f"2024-11-{day:02d}" for day in range(1, 13)]


def test_recorded_alphas_round_trip(lab: Lab, fixtures: Path) -> None:
    """Unchanged but for dates and the one field of ours."""
    page = json.loads((fixtures / "brain/alpha_list/users_self_alphas_page.json").read_bytes())
    regular = [*page["results"], json.loads((fixtures / "brain/alpha_regular/regular_npOz2ZN8.json").read_bytes())]
    regular = [document for document in regular if document["type"] == "REGULAR"]
    supers = [json.loads((fixtures / "brain/alpha_super/super_xWVr3rW.json").read_bytes())]
    lab.load(*regular)
    lab.deliver(*supers, kind="super")
    lab.run(kind="super")
    assert lab.stored() == {document["id"]: expected(document) for document in regular}
    assert lab.stored("super") == {document["id"]: expected(document) for document in supers}
    assert (lab.run(force=True).total("updated")) == 0


def test_a_package_that_fails_with_any_error_fails_alone(lab: Lab) -> None:
    lab.deliver(alpha("A"))
    layout.package_path(lab.root, lab.account, "regular", DAY + dt.timedelta(days=1)).symlink_to("nothing")
    report = lab.run()
    assert [(unit.outcome, unit.months) for unit in report.units] == [("ok", ("2024-11",)), ("failed", ("2024-11",))]
    assert "a link to nothing" in (report.failed[0].error or "")
    assert [*lab.stored()] == ["A"]
    assert len(lab.run().units) == 1, "only the failed package is due again"
