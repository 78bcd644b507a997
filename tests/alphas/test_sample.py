"""The invented archive: the shape of real alphas, the same every time, and all of it packaged."""

import json
from pathlib import Path

import pytest

from marketdata_assets.alphas import file_index, packaging
from marketdata_assets.alphas.layout import KINDS, Kind, month_window
from marketdata_assets.alphas.raw_files import instant
from marketdata_demo import sample_alphas
from tests.alphas.archives import ACCOUNT, on_disk


@pytest.mark.parametrize("kind", KINDS)
def test_alphas_have_the_shape_of_real_ones_and_lie_in_their_month(fixtures: Path, kind: Kind) -> None:
    (path,) = (fixtures / f"brain/alpha_{kind}").glob("*.json")
    recorded, window = json.loads(path.read_text()), month_window("2024-11")
    found = list(sample_alphas.alphas(ACCOUNT, kind, "2024-11", 100))
    assert {frozenset(alpha) for alpha in found} == {frozenset(recorded)}
    assert all(alpha["settings"].keys() <= recorded["settings"].keys() for alpha in found)
    assert all(alpha["is"].keys() <= recorded["is"].keys() for alpha in found)
    sizes = [len(json.dumps(alpha)) for alpha in found]
    assert 3500 < sum(sizes) / len(sizes) < 4600
    moments = [moment for alpha in found if (moment := instant(alpha["dateCreated"]))]
    assert moments == sorted(moments)
    assert (len(moments), window.start <= moments[0], moments[-1] < window.end) == (100, True, True)
    assert all((instant(alpha["dateModified"]) or 0) > at for alpha, at in zip(found, moments, strict=True))  # type: ignore[operator]


def test_alphas_cover_what_real_ones_differ_in() -> None:
    found = list(sample_alphas.alphas(ACCOUNT, "regular", "2024-11", 200))
    assert {len(alpha["id"]) for alpha in found} == {7, 8}
    assert {alpha["dateCreated"][-6:] for alpha in found} == {"-04:00", "-05:00"}
    assert len({alpha["id"] for alpha in found}) == 200
    assert len({alpha["settings"]["region"] for alpha in found}) > 3
    for field in ("dateSubmitted", "name", "color", "grade", "os", "competitions", "themes", "pyramids"):
        assert {alpha[field] is None for alpha in found} == {True, False}, field
    assert {bool(alpha["tags"]) for alpha in found} == {True, False}
    assert {check["result"] for alpha in found for check in alpha["is"]["checks"]} >= {"PASS", "FAIL", "PENDING"}


def test_equal_arguments_give_equal_alphas() -> None:
    def made(account: str = ACCOUNT, seed: int = 7) -> list[sample_alphas.Document]:
        return list(sample_alphas.alphas(account, "regular", "2024-11", 5, seed))

    assert made() == made()
    assert made() != made(seed=8)
    assert not {a["id"] for a in made()} & {a["id"] for a in made("other")}


def test_an_archive_is_packaged_whole_and_written_once(tmp_path: Path) -> None:
    written = sample_alphas.write_archive(tmp_path, ACCOUNT)
    reports = [
        packaging.package(tmp_path, ACCOUNT, kind, month)
        for kind in KINDS
        for month in file_index.months_on_disk(tmp_path, ACCOUNT, kind)
    ]
    assert sum(report.documents for report in reports) == written.alphas == 144
    assert sum(report.duplicates for report in reports) == written.again > 0
    assert sum(report.rejected for report in reports) == written.rejects == 1
    assert not any(report.failed for report in reports)
    raw = {path: path.stat() for path in tmp_path.rglob("*.json")}
    assert len(raw) == written.files
    assert any(path.read_bytes() == b"[]" for path in raw)
    before = on_disk(tmp_path)
    assert sample_alphas.write_archive(tmp_path, ACCOUNT) == written
    assert {path: path.stat() for path in raw} == raw
    packaging.package(tmp_path, ACCOUNT, "regular", "2024-12")
    assert on_disk(tmp_path) == before
