"""Packages into MongoDB: what lands, what is refused, what each mode does, and what a repeat costs."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from packaged import DAY, MONTH, Document, alpha, deliver, expected, new_account, run, stored
from pymongo import MongoClient

from marketdata_assets.alphas import importer, ingest, layout
from marketdata_assets.alphas.errors import BadOptions
from marketdata_assets.alphas.files import write
from marketdata_assets.alphas.import_modes import ImportOptions
from marketdata_assets.alphas.merge import MergePolicy
from marketdata_assets.stores import mongo, mongo_ledger

Client = MongoClient[dict[str, Any]]


def test_new_documents_land_with_utc_dates_and_nothing_else_changed(
    mongo_uri: str, client: Client, tmp_path: Path
) -> None:
    account = new_account()
    documents = [alpha("xVWpJpp", dateSubmitted="2024-11-28T01:00:00-05:00"), alpha("6XpMb0aG", color=None, tags=[])]
    deliver(tmp_path, account, *documents)
    report = run(mongo_uri, tmp_path, account)
    assert (report.total("inserted"), report.total("updated"), report.rejected, report.unchanged) == (2, 0, 0, 0)
    assert stored(client, account) == {document["id"]: expected(document) for document in documents}
    assert stored(client, account)["xVWpJpp"]["dateCreated"] == dt.datetime(2024, 11, 27, 9, tzinfo=dt.UTC)
    indexes = client["regular_alphas"][account].index_information()
    assert indexes["id_1"]["unique"]


def test_supers_land_in_their_own_database(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    deliver(tmp_path, account, alpha("S1", type="SUPER"), kind="super")
    assert run(mongo_uri, tmp_path, account, kind="super").total("inserted") == 1
    assert list(stored(client, account, "super")) == ["S1"]
    assert stored(client, account) == {}


def test_a_repeat_reads_nothing_and_writes_nothing(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    deliver(tmp_path, account, alpha("A"), alpha("B"))
    run(mongo_uri, tmp_path, account)
    before = stored(client, account)
    report = run(mongo_uri, tmp_path, account)
    assert (report.unchanged, report.units) == (1, ())
    forced = run(mongo_uri, tmp_path, account, force=True)
    assert (forced.total("inserted"), forced.total("updated"), forced.total("read")) == (0, 0, 2)
    assert stored(client, account) == before
    with mongo.connect(mongo_uri) as other:
        (package,) = ingest.find(tmp_path, account, "regular", [MONTH])
        assert importer.unwritten(other["regular_alphas"], package, 500) == []


def test_force_brings_back_what_was_taken_out_of_the_database(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    deliver(tmp_path, account, alpha("A"), alpha("B"))
    run(mongo_uri, tmp_path, account)
    client["regular_alphas"][account].delete_one({"id": "A"})
    assert run(mongo_uri, tmp_path, account).total("inserted") == 0
    report = run(mongo_uri, tmp_path, account, force=True)
    assert (report.total("inserted"), report.total("updated"), sorted(stored(client, account))) == (1, 0, ["A", "B"])


def test_only_changed_documents_of_a_changed_package_are_written(
    mongo_uri: str, client: Client, tmp_path: Path
) -> None:
    account = new_account()
    deliver(tmp_path, account, *(alpha(f"A{n}") for n in range(50)))
    run(mongo_uri, tmp_path, account)
    changed = alpha("A7", 5, color="RED")
    deliver(tmp_path, account, *(changed if n == 7 else alpha(f"A{n}") for n in range(50)), alpha("NEW"))
    report = run(mongo_uri, tmp_path, account)
    assert (report.total("inserted"), report.total("updated"), report.total("read")) == (1, 1, 51)
    after = stored(client, account)
    assert after["A7"] == expected(changed, 2)
    assert {document["_rev"] for name, document in after.items() if name != "A7"} == {1}


def test_the_same_lines_compressed_cost_no_write(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    plain = deliver(tmp_path, account, alpha("A"), alpha("B"))
    run(mongo_uri, tmp_path, account)
    write(layout.package_path(tmp_path, account, "regular", DAY, ".ndjson.zst"), plain.read_bytes().splitlines(True))
    plain.unlink()
    report = run(mongo_uri, tmp_path, account)
    assert (report.total("read"), report.total("inserted"), report.total("updated")) == (2, 0, 0)
    assert run(mongo_uri, tmp_path, account).unchanged == 1


def test_of_one_id_twice_the_newest_lands(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    deliver(tmp_path, account, alpha("A", 9, color="NEW"), alpha("A", 3, color="OLD"))
    run(mongo_uri, tmp_path, account)
    assert stored(client, account)["A"]["color"] == "NEW"


def test_an_older_version_late_adds_and_overrides_nothing(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    deliver(tmp_path, account, alpha("A", 9, color="NEW"))
    run(mongo_uri, tmp_path, account)
    deliver(tmp_path, account, alpha("A", 3, color="OLD", grade="GOOD"))
    run(mongo_uri, tmp_path, account)
    assert stored(client, account)["A"] == expected(alpha("A", 9, color="NEW", grade="GOOD"), 2)


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
def test_a_bad_document_is_kept_aside_and_the_rest_lands(
    mongo_uri: str, client: Client, tmp_path: Path, line: bytes, reason: str
) -> None:
    account = new_account()
    deliver(tmp_path, account, alpha("A"), line, alpha("B"))
    report = run(mongo_uri, tmp_path, account)
    assert (report.total("inserted"), report.rejected, report.failed) == (2, 1, ())
    assert sorted(stored(client, account)) == ["A", "B"]
    (refused,) = [
        one for one in mongo_ledger.quarantined(client["regular_alphas"], "regular_alphas") if one.source == account
    ]
    assert (refused.line, refused.unit) == (2, f"{DAY}")
    assert reason in refused.reason
    deliver(tmp_path, account, alpha("A"), alpha("X"), alpha("B"))
    assert run(mongo_uri, tmp_path, account).rejected == 0
    left = mongo_ledger.quarantined(client["regular_alphas"], "regular_alphas")
    assert [one for one in left if one.source == account] == []


@pytest.mark.parametrize("fields", [{"a.b": 1}, {"is": {"a.b": 1}}, {"is": {"$x": 1}}, {"": 1}, {"is": {"": {"y": 1}}}])
def test_odd_keys_that_mongodb_takes_are_merged(
    mongo_uri: str, client: Client, tmp_path: Path, fields: Document
) -> None:
    account = new_account()
    deliver(tmp_path, account, alpha("A"))
    run(mongo_uri, tmp_path, account)
    deliver(tmp_path, account, alpha("A", 1, **fields))
    report = run(mongo_uri, tmp_path, account)
    after = stored(client, account)["A"]
    assert report.total("updated") == 1
    for key, value in fields.items():
        assert after[key] == (value if key != "is" else alpha("A")["is"] | value)
    assert run(mongo_uri, tmp_path, account, force=True).total("updated") == 0


def test_too_many_bad_documents_fail_the_package_and_nothing_of_it_lands(
    mongo_uri: str, client: Client, tmp_path: Path
) -> None:
    account = new_account()
    deliver(tmp_path, account, alpha("A"), *(b"{}" for _ in range(11)))
    deliver(tmp_path, account, alpha("B"), day=DAY + dt.timedelta(days=1))
    report = run(mongo_uri, tmp_path, account)
    (failed,) = report.failed
    assert "11 of 12 rows rejected" in (failed.error or "")
    assert list(stored(client, account)) == ["B"]
    entries = {one.unit: one for one in mongo_ledger.entries(client["regular_alphas"], "regular_alphas", account)}
    assert (entries[f"{DAY}"].outcome, entries[f"{DAY}"].content_hash) == ("failed", None)
    deliver(tmp_path, account, alpha("A"))
    assert run(mongo_uri, tmp_path, account).total("inserted") == 1


def test_a_failed_package_keeps_what_stood_before(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    good = deliver(tmp_path, account, alpha("A"))
    run(mongo_uri, tmp_path, account)
    content = good.read_bytes()
    zst = layout.package_path(tmp_path, account, "regular", DAY, ".ndjson.zst")
    write(zst, [content])
    zst.write_bytes(zst.read_bytes()[:-9])
    good.unlink()
    report = run(mongo_uri, tmp_path, account)
    assert str(zst.name) in (report.failed[0].error or "")
    assert list(stored(client, account)) == ["A"]
    zst.unlink()
    good.write_bytes(content)
    assert (run(mongo_uri, tmp_path, account).total("updated"), len(stored(client, account))) == (0, 1)


def two_versions(mongo_uri: str, tmp_path: Path, account: str) -> tuple[Document, Document]:
    """A stored document that knows more and is newer than the package's."""
    stands = alpha("A", 60, color="STORED", is_={"x": 1}, tags=["t"])
    deliver(tmp_path, account, stands)
    run(mongo_uri, tmp_path, account)
    comes = alpha("A", 30, color="PACKAGE", tags=[])
    deliver(tmp_path, account, comes)
    return stands, comes


def test_mode_incremental_lets_the_newer_version_win(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    stands, _ = two_versions(mongo_uri, tmp_path, account)
    assert run(mongo_uri, tmp_path, account).total("updated") == 0
    assert stored(client, account)["A"] == expected(stands)


def test_mode_overwrite_lets_the_package_win_and_keeps_old_fields(
    mongo_uri: str, client: Client, tmp_path: Path
) -> None:
    account = new_account()
    stands, comes = two_versions(mongo_uri, tmp_path, account)
    assert run(mongo_uri, tmp_path, account, "overwrite").total("updated") == 1
    assert stored(client, account)["A"] == expected(stands | comes | {"tags": ["t"]}, 2)
    assert run(mongo_uri, tmp_path, account, "overwrite").total("updated") == 0


def test_mode_rebuild_replaces_whole_documents(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    _, comes = two_versions(mongo_uri, tmp_path, account)
    assert run(mongo_uri, tmp_path, account, "rebuild").total("updated") == 1
    assert stored(client, account)["A"] == expected(comes, 2)
    assert run(mongo_uri, tmp_path, account, "rebuild").total("updated") == 0


def test_mode_time_range_takes_what_changed_lately(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    now = dt.datetime.now(dt.UTC)

    def at(hours: float) -> str:
        return (now - dt.timedelta(hours=hours)).isoformat(timespec="seconds")

    undated = {key: value for key, value in alpha("UNDATED").items() if not key.startswith("date")}
    lines = [alpha("NEAR") | {"dateModified": at(3)}, alpha("FAR") | {"dateModified": at(30)}, undated]
    deliver(tmp_path, account, *lines)
    report = run(mongo_uri, tmp_path, account, "time_range", time_range_hours=4, buffer_hours=0)
    assert (sorted(stored(client, account)), report.total("skipped")) == (["NEAR", "UNDATED"], 1)
    assert run(mongo_uri, tmp_path, account).total("inserted") == 1, "what was left out is not taken for imported"
    assert sorted(stored(client, account)) == ["FAR", "NEAR", "UNDATED"]


def test_mode_smart_merge_goes_from_the_newest_stored(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    day = 24 * 60
    deliver(tmp_path, account, alpha("A", 10 * day))
    assert run(mongo_uri, tmp_path, account, "smart_merge").total("inserted") == 1, "an empty collection takes all"
    deliver(tmp_path, account, alpha("A", 10 * day), alpha("NEAR", 8 * day), alpha("FAR", 6 * day))
    report = run(mongo_uri, tmp_path, account, "smart_merge")
    assert (sorted(stored(client, account)), report.total("skipped")) == (["A", "NEAR"], 1)
    assert run(mongo_uri, tmp_path, account, "smart_merge", buffer_days=5).total("inserted") == 1


def test_a_policy_lets_named_fields_shrink(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    deliver(tmp_path, account, alpha("A", tags=["t"]))
    run(mongo_uri, tmp_path, account)
    deliver(tmp_path, account, alpha("A", 1, tags=[]))
    run(mongo_uri, tmp_path, account, policy=MergePolicy(frozenset({"tags"})))
    assert stored(client, account)["A"]["tags"] == []


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


def test_a_collection_of_the_old_tool_is_taken_over(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    """Its documents have ObjectIds for `_id`, dates as text and no revision."""
    account = new_account()
    old = alpha("A", 5, color="OLD") | {"legacy": 1}
    client["regular_alphas"][account].insert_one(dict(old))
    deliver(tmp_path, account, alpha("A", 9, color="NEW"), alpha("B"))
    report = run(mongo_uri, tmp_path, account)
    assert (report.total("inserted"), report.total("updated")) == (1, 1)
    after = stored(client, account)["A"]
    assert after == expected(alpha("A", 9, color="NEW") | {"legacy": 1}, 1)
    assert client["regular_alphas"][account].count_documents({"id": "A"}) == 1


def test_many_changed_leaves_replace_the_document(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    deliver(tmp_path, account, alpha("A", wide={f"k{n}": n for n in range(100)}, keep=1))
    run(mongo_uri, tmp_path, account)
    new = alpha("A", 1, wide={f"k{n}": n + 1 for n in range(100)})
    deliver(tmp_path, account, new)
    run(mongo_uri, tmp_path, account)
    assert stored(client, account)["A"] == expected(new | {"keep": 1}, 2)


def test_several_processes_import_a_month(mongo_uri: str, client: Client, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(ingest, "BATCH_PACKAGES", 4)
    account = new_account()
    for day in range(1, 13):
        date = dt.date(2024, 11, day)
        deliver(tmp_path, account, *(alpha(f"A{day}_{n}") for n in range(20)), day=date)
    report = run(mongo_uri, tmp_path, account, workers=2)
    assert (report.total("inserted"), len(report.units), len(stored(client, account))) == (240, 12, 240)
    assert [one.unit for one in mongo_ledger.entries(client["regular_alphas"], "regular_alphas", account)] == [
        f"2024-11-{day:02d}" for day in range(1, 13)
    ]


def test_recorded_alphas_round_trip(mongo_uri: str, client: Client, tmp_path: Path, fixtures: Path) -> None:
    """Unchanged but for dates and the one field of ours."""
    account = new_account()
    page = json.loads((fixtures / "brain/alpha_list/users_self_alphas_page.json").read_bytes())
    regular = [*page["results"], json.loads((fixtures / "brain/alpha_regular/regular_npOz2ZN8.json").read_bytes())]
    regular = [document for document in regular if document["type"] == "REGULAR"]
    supers = [json.loads((fixtures / "brain/alpha_super/super_xWVr3rW.json").read_bytes())]
    deliver(tmp_path, account, *regular)
    deliver(tmp_path, account, *supers, kind="super")
    run(mongo_uri, tmp_path, account)
    run(mongo_uri, tmp_path, account, kind="super")
    assert stored(client, account) == {document["id"]: expected(document) for document in regular}
    assert stored(client, account, "super") == {document["id"]: expected(document) for document in supers}
    assert (run(mongo_uri, tmp_path, account, force=True).total("updated")) == 0


def test_a_package_that_fails_with_any_error_fails_alone(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    account = new_account()
    deliver(tmp_path, account, alpha("A"))
    layout.package_path(tmp_path, account, "regular", DAY + dt.timedelta(days=1)).mkdir()
    report = run(mongo_uri, tmp_path, account)
    assert [(unit.outcome, unit.months) for unit in report.units] == [("ok", ("2024-11",)), ("failed", ("2024-11",))]
    assert "Is a directory" in (report.failed[0].error or "")
    assert [*stored(client, account)] == ["A"]
    assert len(run(mongo_uri, tmp_path, account).units) == 1, "only the failed package is due again"
