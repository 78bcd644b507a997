"""The states of raw files and packages, month by month, of an account's folder."""

import datetime as dt
import os
from pathlib import Path

import pytest
from archives import ACCOUNT, alpha, put, put_single, window

from marketdata_assets.alphas import slices, status
from marketdata_assets.alphas.packaging import package_months
from marketdata_assets.alphas.windows import Window, month_window
from marketdata_assets.fanout import Fanout

NOW = dt.datetime(2024, 11, 5, 12, 30, tzinfo=dt.UTC)
OCTOBER = month_window("2024-10")


def states(root: Path, asset: str, now: dt.datetime = NOW) -> dict[str, str]:
    found = {(one.asset, one.account): dict(one.states) for one in status.on_disk(root, now)}
    return found.get((asset, ACCOUNT), {})


def land(root: Path, whole: Window, *names: str) -> Path:
    return slices.write(root, ACCOUNT, "regular", whole, [f'{{"id": "{name}"}}'.encode() for name in names])


def test_no_folder_and_no_files_are_no_rows(tmp_path: Path) -> None:
    assert status.on_disk(tmp_path / "none", NOW) == []
    (tmp_path / ACCOUNT / "primeval_data").mkdir(parents=True)
    assert status.on_disk(tmp_path, NOW) == []


def test_month_is_missing_until_its_last_hour_is_there(tmp_path: Path) -> None:
    first, second = Window(OCTOBER.start, OCTOBER.end - dt.timedelta(hours=1)), window("2024-10-31T23:00")
    land(tmp_path, first, "a")
    assert states(tmp_path, "alpha_files") == {"2024-10": "missing"}
    late = land(tmp_path, second)
    assert states(tmp_path, "alpha_files") == {"2024-10": "ok"}
    os.utime(late, (second.end.timestamp() - 1,) * 2)
    assert states(tmp_path, "alpha_files") == {"2024-10": "missing"}, "read before its hour was over"


def test_of_the_running_month_only_holes_before_the_newest_slice_count(tmp_path: Path) -> None:
    land(tmp_path, window("2024-11-01T00:00", 24), "a")
    land(tmp_path, window("2024-11-02T00:00", 24), "b")
    assert states(tmp_path, "alpha_files") == {"2024-11": "ok"}
    land(tmp_path, window("2024-11-03T01:00", 1))
    assert states(tmp_path, "alpha_files") == {"2024-11": "missing"}
    assert states(tmp_path, "alpha_files", NOW + dt.timedelta(days=60)) == {"2024-11": "missing"}


def test_month_without_alphas_is_empty_and_a_slice_counts_for_both_its_months(tmp_path: Path) -> None:
    land(tmp_path, Window(OCTOBER.start, NOW.replace(hour=0, minute=0)))
    assert states(tmp_path, "alpha_files") == {"2024-10": "empty", "2024-11": "empty"}


@pytest.mark.parametrize("with_slices", [False, True])
def test_old_single_files_have_no_windows_and_slices_beside_them_do(tmp_path: Path, with_slices: bool) -> None:
    put_single(tmp_path, "2024-10-07", "one", alpha("one", "2024-10-07T09:30:00Z"))
    if with_slices:
        put(tmp_path, "2024-10-08T00:00", [])
    assert states(tmp_path, "alpha_files") == {"2024-10": "missing" if with_slices else "ok"}


def test_the_worse_kind_is_the_months_state(tmp_path: Path) -> None:
    land(tmp_path, OCTOBER, "a")
    put(tmp_path, "2024-10-08T00:00", [], kind="super")
    assert states(tmp_path, "alpha_files") == {"2024-10": "missing"}


def test_packages_go_from_missing_to_ok_empty_and_stale(tmp_path: Path) -> None:
    put(tmp_path, "2024-09-02", [alpha("a", "2024-09-02T00:30:00Z")])
    put(tmp_path, "2024-10-02", [])
    assert states(tmp_path, "alpha_packages") == {"2024-09": "missing", "2024-10": "missing"}
    package_months(tmp_path, [(ACCOUNT, "2024-09"), (ACCOUNT, "2024-10")], Fanout(1))
    assert states(tmp_path, "alpha_packages") == {"2024-09": "ok", "2024-10": "empty"}
    put(tmp_path, "2024-10-03", [alpha("b", "2024-10-03T00:30:00Z")])
    assert states(tmp_path, "alpha_packages") == {"2024-09": "ok", "2024-10": "stale"}


def test_packages_stand_without_raw_files_and_are_counted(tmp_path: Path) -> None:
    raw = put(tmp_path, "2024-09-02", [alpha("a", "2024-09-02T00:30:00Z")])
    package_months(tmp_path, [(ACCOUNT, "2024-09")], Fanout(1))
    raw.unlink()
    [packages] = status.on_disk(tmp_path, NOW)
    assert (packages.asset, dict(packages.states), packages.files) == ("alpha_packages", {"2024-09": "ok"}, 1)
