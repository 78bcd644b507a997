"""Raw slices: whole or absent, finished by their name and date, superseded only by what holds all they hold."""

import datetime as dt
import gzip
import itertools
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.alphas import layout, slices
from marketdata_assets.alphas.layout import SECOND, Window, month_window, slices_folder

NOVEMBER = month_window("2024-11")
LATE = 2**62  # ns; later than any file of a test


def hours(first: float, last: float) -> Window:
    return Window(NOVEMBER.start + dt.timedelta(hours=first), NOVEMBER.start + dt.timedelta(hours=last))


def land(root: Path, window: Window, *ids: str) -> Path:
    return slices.write(root, "lk", "regular", window, [f'{{"id": "{name}"}}'.encode() for name in ids])


def listed(root: Path, month: str = "2024-11") -> list[slices.Slice]:
    return slices.of_month(root, "lk", "regular", month)


def test_slice_holds_the_raw_bytes_under_the_old_tools_name(tmp_path: Path) -> None:
    raw = [b'{"id" :"a", "n": 1.50}', '{"id":"b","t":"\\u00e9é"}'.encode()]
    path = slices.write(tmp_path, "lk", "super", hours(9, 10), raw)
    name = "lk_2024-11-01-09-00-00.000Z_to_2024-11-01-10-00-00.000Z_all_super_alphas.json"
    assert path == tmp_path / "lk/primeval_data/all_super_alphas" / name
    assert path.read_bytes() == b"[" + raw[0] + b",\n" + raw[1] + b"]"
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_listing_takes_what_touches_the_month_and_nothing_half_written(tmp_path: Path) -> None:
    land(tmp_path, Window(NOVEMBER.start - SECOND, NOVEMBER.start + SECOND))
    land(tmp_path, hours(-2, 0))
    path = land(tmp_path, hours(5, 6))
    path.with_name(f".{path.name}.7.partial").write_text("[")
    path.with_name("notes.json").write_text("[]")
    assert [piece.window.start.hour for piece in listed(tmp_path)] == [23, 5]
    assert next(piece.window for piece in listed(tmp_path, "2024-10")) == hours(-2, 0)
    assert listed(tmp_path / "none") == []


def test_hour_read_before_it_was_over_is_not_finished(tmp_path: Path) -> None:
    land(tmp_path, hours(0, 2))
    early = land(tmp_path, hours(2, 3))
    os.utime(early, (hours(2, 3).end.timestamp() - 60,) * 2)
    assert slices.missing(hours(0, 4), listed(tmp_path)) == [hours(2, 4)]


def test_superseded_slice_goes_once_all_of_it_is_covered(tmp_path: Path) -> None:
    old = [land(tmp_path, hours(h, h + 1), f"a{h}") for h in range(3)]
    whole = land(tmp_path, hours(0, 2), "a0", "a1")
    removed = slices.supersede(listed(tmp_path), [hours(0, 2)], {"a0", "a1"}.__contains__, LATE)
    assert sorted(removed) == sorted(old[:2])
    assert {piece.path for piece in listed(tmp_path)} == {whole, old[2]}


@pytest.mark.parametrize(("ids", "age_s"), [(("a", "gone"), None), (("a",), 1)])
def test_what_the_api_no_longer_lists_and_what_another_process_wrote_since_is_kept(
    tmp_path: Path, ids: tuple[str, ...], age_s: int | None
) -> None:
    began = LATE if age_s is None else time.time_ns() - age_s * 10**9
    old = land(tmp_path, hours(0, 1), *ids)
    assert slices.supersede(listed(tmp_path), [hours(0, 2)], {"a"}.__contains__, began) == []
    assert old.exists()


def test_unreadable_slice_steps_aside(tmp_path: Path) -> None:
    for number, content in enumerate((b"[{", b'{"id": "a"}', b"")):
        land(tmp_path, hours(number, number + 1)).write_bytes(content)
    slices.supersede(listed(tmp_path), [hours(0, 3)], {"a"}.__contains__, LATE)
    assert listed(tmp_path) == []
    assert len(list(slices_folder(tmp_path, "lk", "regular").glob("*.json.bad"))) == 3


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf[{"id": "gone"}]',
        b'[{"id": "gone"}, {"id": "a", "x": NaN}]',
        b'[{"id": "a"}, {"id": null}]',
        b'[{"id": "a"}, 7]',
    ],
)
def test_slice_that_packaging_reads_is_kept_for_what_only_it_has(tmp_path: Path, content: bytes) -> None:
    old = land(tmp_path, hours(0, 1))
    old.write_bytes(content)
    assert slices.supersede(listed(tmp_path), [hours(0, 3)], {"a"}.__contains__, LATE) == []
    assert [piece.path for piece in listed(tmp_path)] == [old]


def test_slice_with_a_byte_order_mark_is_superseded(tmp_path: Path) -> None:
    old = land(tmp_path, hours(0, 1))
    old.write_bytes(b'\xef\xbb\xbf[{"id": "a"}]')
    assert slices.supersede(listed(tmp_path), [hours(0, 3)], {"a"}.__contains__, LATE) == [old]
    assert not old.exists()


def test_sweep_removes_old_remains_only(tmp_path: Path) -> None:
    path = land(tmp_path, hours(0, 1))
    old, fresh = (path.with_name(f".{path.name}.{pid}.partial") for pid in (1, 2))
    for one in (old, fresh):
        one.write_text("[")
    os.utime(old, (time.time() - 7200,) * 2)
    slices.sweep(tmp_path, "lk", ["regular", "super"])
    assert (old.exists(), fresh.exists(), path.exists()) == (False, True, True)
    assert json.loads(path.read_bytes()) == []


SPANS = st.lists(st.tuples(st.integers(-5, 40), st.integers(1, 20)), max_size=8)


@given(SPANS, st.integers(1, 40))
def test_gaps_and_slices_make_the_window_whole_and_do_not_overlap(spans: list[tuple[int, int]], length: int) -> None:
    window = hours(0, length)
    windows = [hours(start, start + size) for start, size in spans]
    gaps = slices.uncovered(window, windows)
    for hour in range(length):
        piece = hours(hour, hour + 1)
        inside = [gap for gap in gaps if gap.overlaps(piece)]
        assert len(inside) == (not any(one.overlaps(piece) for one in windows))
    assert all(one.end < two.start for one, two in itertools.pairwise(gaps))


def test_delivered_gzip_covers_its_window_and_is_never_removed(tmp_path: Path) -> None:
    start = layout.month_window("2024-11").start
    hour = Window(start, start + 3600 * SECOND)
    plain = layout.slice_path(tmp_path, "lk", "regular", hour)
    packed = plain.with_name(f"{plain.name}.gz")
    packed.parent.mkdir(parents=True)
    packed.write_bytes(gzip.compress(b'[{"id": "a"}]'))
    found = slices.of_month(tmp_path, "lk", "regular", "2024-11")
    assert [piece.path for piece in found] == [packed]
    assert slices.missing(hour, found) == []
    later = layout.Window(hour.start, hour.end + layout.DAY)
    assert slices.supersede(found, [later], lambda _: True, time.time_ns() + 10**12) == []
    assert sorted(packed.parent.iterdir()) == [packed]
