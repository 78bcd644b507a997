"""What lies in the alphas folder, and what has changed since a look."""

import json
import os
from pathlib import Path

from archives import alpha, pack, put, put_single

from marketdata_assets.alphas import watch
from marketdata_assets.partitions import ALPHA_MONTHS

MONTHS = ALPHA_MONTHS.get_partition_keys()
NOW = 2_000_000_000


def look(root: Path, cursor: str | None = None, months: list[str] = MONTHS) -> watch.Look:  # type: ignore[assignment]
    return watch.look(root, cursor, NOW * 10**9, 30.0, months)


def test_every_layout_counts_for_its_months(tmp_path: Path) -> None:
    assert look(tmp_path).pairs == ()
    put(tmp_path, "2024-11-27", [], mtime=NOW - 100)
    put(tmp_path, "2024-12-31", [], hours=48, mtime=NOW - 100)
    put_single(tmp_path, "2024-09-03", "abc", alpha("abc"), mtime=NOW - 100)
    package = tmp_path / "other" / "packages" / "super" / "2024-08" / "2024-08-02.ndjson"
    package.parent.mkdir(parents=True)
    package.write_bytes(b"{}\n")
    os.utime(package, (NOW - 100,) * 2)
    assert watch.accounts_on_disk(tmp_path) == ["lk", "other"]
    assert look(tmp_path).pairs == (
        ("lk", "2024-09"),
        ("lk", "2024-11"),
        ("lk", "2024-12"),
        ("lk", "2025-01"),
        ("other", "2024-08"),
    )


def test_what_changed_is_given_again_and_only_that(tmp_path: Path) -> None:
    for day in ("2024-10-01", "2024-11-01"):
        put(tmp_path, day, [], mtime=NOW - 100)
    first = look(tmp_path)
    assert look(tmp_path, first.cursor).pairs == ()
    path = put(tmp_path, "2024-11-01", [alpha("abc")], mtime=NOW - 100)
    second = look(tmp_path, first.cursor)
    assert second.pairs == (("lk", "2024-11"),)
    os.utime(path, (NOW - 50,) * 2)
    assert look(tmp_path, second.cursor).pairs == (("lk", "2024-11"),)


def test_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path = put(tmp_path, "2024-11-01", [], mtime=NOW - 5)
    seen = look(tmp_path)
    assert (seen.pairs, seen.waiting) == ((), (("lk", "2024-11"),))
    os.utime(path, (NOW - 31,) * 2)
    assert look(tmp_path, seen.cursor).pairs == (("lk", "2024-11"),)


def test_many_months_are_spread_over_looks(tmp_path: Path) -> None:
    for month in MONTHS[:30]:
        put(tmp_path, f"{month}-01", [], mtime=NOW - 100)
    first = look(tmp_path)
    second = look(tmp_path, first.cursor)
    third = look(tmp_path, second.cursor)
    assert [len(one.pairs) for one in (first, second, third)] == [24, 6, 0]
    assert {month for _, month in first.pairs + second.pairs} == set(MONTHS[:30])


def test_month_that_is_no_partition_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-01", [], mtime=NOW - 100)
    seen = look(tmp_path, None, ["2024-10"])
    assert (seen.pairs, seen.waiting) == ((), ())
    assert json.loads(seen.cursor)["lk"]["2024-11"]


def test_packaging_is_seen_as_a_change_of_its_month(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-27", [alpha("abc")], mtime=NOW - 100)
    cursor = look(tmp_path).cursor
    pack(tmp_path)
    assert look(tmp_path, cursor).pairs == (("lk", "2024-11"),)


def test_folder_of_ten_thousand_files_is_scanned_at_once(tmp_path: Path) -> None:
    folder = put(tmp_path, "2024-11-01", [], mtime=NOW - 100).parent
    for number in range(10_000):
        year, rest = divmod(number, 8000)
        month, rest = divmod(rest, 12)
        stamp = f"{2020 + year}-{rest + 1:02d}-{month % 28 + 1:02d}-00-{month // 28:02d}-00.000Z"
        (folder / f"lk_{stamp}_to_{stamp.replace('-00.000Z', '-59.000Z')}_all_regular_alphas.json").touch()
    seen = look(tmp_path)
    assert len(seen.pairs) == 24 or seen.waiting
    assert len(seen.cursor) < 5000
