"""Raw files: which belong to a month, what of them are alphas, and what is refused."""

import datetime as dt
import gzip
import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.file_index import listed, months_on_disk
from marketdata_assets.alphas.layout import month_window
from marketdata_assets.alphas.packaging import compact
from marketdata_assets.alphas.raw_files import Alpha, Reject, instant, raw_files, read_raw
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Opener
from tests.alphas.archives import ACCOUNT, MONTH, alpha, names, pack, put, put_single


def read(root: Path, month: str = MONTH) -> tuple[list[Alpha], list[Reject]]:
    taken = [one for one in listed(root) if month in one.months and not one.not_taken]
    files = [file for one in taken for file in raw_files(one, month)]
    with Opener() as opener:
        found = [element for file in files for element in read_raw(file, month_window(month), opener)]
    return [f for f in found if isinstance(f, Alpha)], [f for f in found if isinstance(f, Reject)]


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-09-16T21:30:00-04:00", utc("2025-09-17 01:30")),
        ("2025-11-02T01:30:00-04:00", utc("2025-11-02 05:30")),
        ("2025-11-02T01:10:00-05:00", utc("2025-11-02 06:10")),
        ("2025-07-01T10:00:00", utc("2025-07-01 14:00")),  # naive: New York, summer
        ("2025-01-01T10:00:00.250", utc("2025-01-01 15:00:00.250")),  # and winter
        ("2025-01-01T10:00:00Z", utc("2025-01-01 10:00")),
        ("2025-02-30T10:00:00Z", None),
        ("0001-01-01T00:00:00+05:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_dates(text: str | None, expected: dt.datetime | None) -> None:
    assert instant(text) == expected


@pytest.mark.parametrize("created", ["not a date", None, 17, ["2024-11-03"], {}])
def test_without_a_date_the_window_says_the_day(tmp_path: Path, created: Any) -> None:
    put(tmp_path, "2024-11-27T09:00", [{"id": "a", "dateCreated": created, "dateModified": 5}])
    (found,), rejects = read(tmp_path)
    assert (found.day, found.created, found.modified, rejects) == (dt.date(2024, 11, 27), None, None, [])
    assert json.loads(compact(found.raw))["dateCreated"] == created


def test_bad_elements_are_quarantined_and_the_rest_lands(tmp_path: Path) -> None:
    content = [alpha("a"), 7, {"x": 1}, alpha("b"), {"id": 17}, {"id": None}, {"id": ""}, ["id"], None, alpha("c")]
    path = put(tmp_path, "2024-11-27T09:00", content)
    found, rejects = read(tmp_path)
    assert [f.id for f in found] == ["a", "b", "c"]
    place = path.relative_to(tmp_path).as_posix()
    assert [(r.place, r.reason) for r in rejects] == [
        (f"{place}:2", "not a JSON object"),
        (f"{place}:3", "no id"),
        (f"{place}:5", "id is not a string: 17"),
        (f"{place}:6", "no id"),
        (f"{place}:7", "no id"),
        (f"{place}:8", "not a JSON object"),
        (f"{place}:9", "not a JSON object"),
    ]
    assert rejects[1].raw == '{"x": 1}'


@pytest.mark.parametrize("bad", [b"NaN", b'"\\ud800"', b'"\t"', b"[-Infinity]"])
def test_an_element_that_is_no_strict_json_does_not_take_its_slice_along(tmp_path: Path, bad: bytes) -> None:
    good = json.dumps(alpha("a")).encode()
    put(tmp_path, "2024-11-27T09:00", b"[" + good + b' ,\n{"id": "b", "x": ' + bad + b"} , " + good + b" ]\n")
    found, (reject,) = read(tmp_path)
    assert [bytes(f.raw) for f in found] == [good, good]
    assert reject.place.endswith(":2")
    assert "JSON" in reject.reason


DOCUMENT = json.dumps([alpha("a", label="价值")], ensure_ascii=False)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (DOCUMENT.encode("gbk"), "not UTF-8"),
        (DOCUMENT.encode("utf-16"), "not UTF-8"),
        (b'{"results": []}', "not a JSON array"),
        (b"null", "not a JSON array"),
        (b"[", "cut off"),
        (b"[1,", "cut off"),
        (b"[{}}", "cut off"),
        (b"[1]]", "cut off"),
        (b"[1, NaN, oops]", "cut off"),
        (b'[{"id": "a", "x": ' + b"[" * 9999 + b"]" * 9999 + b"}]", "cut off"),
    ],
)
def test_what_is_no_array_is_refused_by_name(tmp_path: Path, content: bytes, cause: str) -> None:
    path = put(tmp_path, "2024-11-27T09:00", content)
    with pytest.raises(BadFile, match=cause) as caught:
        read(tmp_path)
    assert caught.value.place == str(path)
    path.unlink()
    single = put_single(tmp_path, "2024-11-27", "a", content if content != b'{"results": []}' else b'{"id": "a"} {}')
    with pytest.raises(BadFile) as caught:
        read(tmp_path)
    assert caught.value.place == str(single), "which is no object either"


@given(end=st.integers(0, len(DOCUMENT.encode()) - 1))
def test_a_slice_cut_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, end: int) -> None:
    root = tmp_path_factory.mktemp("cut")
    put(root, "2024-11-27T09:00", DOCUMENT.encode()[:end])
    with pytest.raises(BadFile):
        read(root)


def test_single_files_are_known_by_their_content(tmp_path: Path) -> None:
    put_single(tmp_path, "2024-11-27", "xVWpJpp", json.dumps(alpha("another-id-of-any-length"), indent=4).encode())
    put_single(tmp_path, "2024-11-28", "undated", {"id": "u", "dateCreated": None})
    put_single(tmp_path, "2024-11-29", "none", {"name": "no id"})
    found, (reject,) = read(tmp_path)
    assert [(f.id, f.day.day) for f in found] == [("another-id-of-any-length", 27), ("u", 28)]
    assert (reject.reason, reject.place[-7:]) == ("no id", ".json:1")


def test_a_slice_over_a_month_border_is_read_for_the_days_of_the_month_asked(tmp_path: Path) -> None:
    put(
        tmp_path,
        "2024-10-31T00:00",
        [alpha("o", "2024-10-31T19:59:59-04:00"), alpha("n", "2024-10-31T20:00:00-04:00"), {"id": "u"}, {"no": "id"}],
        hours=48,
    )
    assert [[f.id for f in read(tmp_path, month)[0]] for month in ("2024-10", "2024-11")] == [["o", "u"], ["n"]]
    assert [len(read(tmp_path, month)[1]) for month in ("2024-10", "2024-11")] == [1, 0]
    assert months_on_disk(tmp_path, ACCOUNT, "regular") == {"2024-10", "2024-11"}


def test_an_alpha_in_a_file_of_another_month_is_on_record(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-30T23:00", [alpha("a", "2024-11-30T20:00:00-05:00")])
    put_single(tmp_path, "2024-11-01", "b", alpha("b", "2024-10-31T10:00:00-04:00"))
    found, rejects = read(tmp_path)
    assert not found
    assert [reject.reason.partition("Z ")[2] for reject in rejects] == [
        "lies outside the months of the file from 2015-01 on"
    ] * 2


def test_what_a_slice_has_from_before_the_first_month_is_rejected(tmp_path: Path) -> None:
    elements = [alpha("a", "2014-12-31T23:30:00Z"), {"id": None}, alpha("b", None), alpha("c", "2015-01-01T01:30:00Z")]
    put(tmp_path, "2014-12-31T23:00", elements, hours=4)
    found, rejects = read(tmp_path, "2015-01")
    assert [(one.id, one.day) for one in found] == [(name, dt.date(2015, 1, 1)) for name in ("b", "c")]
    assert [(one.place[-2:], one.reason) for one in rejects] == [
        (":1", "dateCreated 2014-12-31T23:30:00Z lies outside the months of the file from 2015-01 on"),
        (":2", "no id"),
    ]


def test_only_finished_json_files_of_the_month_are_read(tmp_path: Path) -> None:
    path = put(tmp_path, "2024-11-27T09:00", [alpha("a")])
    put(tmp_path, "2024-12-01T00:00", b"broken, but of another month")
    put(tmp_path, "2024-10-31T23:00", b"broken, but of another month")
    for name in (f".{path.name}", f"{path.name}.partial", "notes.txt"):
        path.with_name(name).write_text("broken")
    found, _ = read(tmp_path)
    assert [f.id for f in found] == ["a"]


def test_a_slice_without_a_window_in_its_name_is_told_of(tmp_path: Path) -> None:
    path = put(tmp_path, "2024-11-27T09:00", [alpha("a")])
    copy = path.with_name("copy.json")
    copy.write_bytes(path.read_bytes())
    assert {Path(one.found.path): "no window" in one.not_taken for one in listed(tmp_path)} == {copy: True, path: False}
    assert months_on_disk(tmp_path, ACCOUNT) == {MONTH}


NUMBERS = (
    *("0", "-0", "0.0", "-0.0", "1.0", "1e3", "1E+3", "2.0e3", "0.10", "1e999"),
    *("12345678901234567890123", "1.50e-7"),
)
SPACE = st.text(" \t\r\n", max_size=3)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5).map(lambda text: json.dumps(text, ensure_ascii=False))


def spaced(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(SPACE, parts, SPACE).map("".join)


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A list or an object; no lambda, as in `test_merge`."""
    pairs = st.lists(st.tuples(TEXTS, spaced(inner)).map(":".join), max_size=3)
    lists = st.lists(spaced(inner), max_size=3)
    return lists.map(",".join).map("[{}]".format) | pairs.map(",".join).map("{{{}}}".format)


SINGLE = st.sampled_from(("null", "true", "false", '"\\u00e9"', *NUMBERS))
VALUES = st.recursive(SINGLE | TEXTS, nested, max_leaves=8)


def tokens(text: str) -> Any:
    """A document in which every number is the text it was spelled as, and pairs keep their order."""
    options = {"parse_float": str, "parse_int": lambda digits: ("int", digits), "object_pairs_hook": tuple}
    return json.loads(text, **options)


@given(value=spaced(VALUES))
def test_compacting_changes_blanks_only(value: str) -> None:
    raw = f'{{ "id" : "a" , "x" :{value}}}'.encode()
    line = compact(raw)
    assert tokens(line.decode()) == tokens(raw.decode())
    assert b"\n" not in line
    assert compact(line) == line


def packed_slice(root: Path, name: str, data: bytes) -> Path:
    path = layout.slices_folder(root, ACCOUNT, "regular") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


SPAN_27 = "2024-11-27-09-00-00.000Z_to_2024-11-27-10-00-00.000Z"
SPAN_DEC = "2024-12-02-09-00-00.000Z_to_2024-12-02-10-00-00.000Z"


def test_slices_in_gzip_and_zip_are_packaged_like_plain_ones(tmp_path: Path) -> None:
    december = alpha("d", "2024-12-02T04:30:00-05:00")
    packed_slice(tmp_path, f"lk_{SPAN_27}_all_regular_alphas.json.gz", gzip.compress(json.dumps([alpha("a")]).encode()))
    members = {
        f"x/lk_{SPAN_27}_a.json": json.dumps([alpha("b")]).encode(),
        f"lk_{SPAN_DEC}_a.json.gz": gzip.compress(json.dumps([december]).encode()),
        "README.md": b"about",
    }
    packed_slice(tmp_path, "delivery.zip", zipped(members))
    packed_slice(tmp_path, f"lk_{SPAN_27}_all.zip", zipped({"1.json": json.dumps([alpha("c"), 7]).encode()}))
    found = [one for one in listed(tmp_path) if not one.not_taken]
    assert Counter(month for one in found for month in one.months) == {"2024-11": 3, "2024-12": 1}
    report = pack(tmp_path)
    assert (report.failed, report.rejected) == ({}, 1)
    assert names(tmp_path) == {"2024-11-27.ndjson": ["a", "b", "c"]}
    pack(tmp_path, "2024-12")
    assert names(tmp_path, "2024-12") == {"2024-12-02.ndjson": ["d"]}


def test_single_alphas_in_gzip_and_zip_are_packaged(tmp_path: Path) -> None:
    folder = layout.changed_folder(tmp_path, ACCOUNT, "regular", MONTH)
    folder.mkdir(parents=True)
    (folder / "a.json.gz").write_bytes(gzip.compress(json.dumps(alpha("a")).encode()))
    (folder / "more.zip").write_bytes(zipped({"b.json": json.dumps(alpha("b")).encode()}))
    assert pack(tmp_path).failed == {}
    assert names(tmp_path) == {"2024-11-27.ndjson": ["a", "b"]}


@pytest.mark.parametrize("suffix", ["json.gz", "zip"])
def test_damaged_packed_slice_fails_by_name_and_costs_no_other(tmp_path: Path, suffix: str) -> None:
    put(tmp_path, "2024-11-27T08:00", [alpha("a", "2024-11-27T03:30:00-05:00")])
    body = json.dumps([alpha(f"x{i}") for i in range(200)]).encode()
    whole = gzip.compress(body) if suffix == "json.gz" else zipped({"1.json": body})
    path = packed_slice(tmp_path, f"lk_{SPAN_27}_all.{suffix}", whole[: len(whole) // 2])
    report = pack(tmp_path)
    assert list(report.failed) == [str(path)]
    assert path.name in report.failed[str(path)]
    assert names(tmp_path) == {"2024-11-27.ndjson": ["a"]}
    assert pack(tmp_path, "2024-12").failed == {}
