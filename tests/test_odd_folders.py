"""A folder with links in a circle, links to nothing and pipes: every scan ends, and takes files alone."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from marketdata_assets.bars.layout import scan
from marketdata_assets.exchanges.tables.captures import captures_in
from marketdata_assets.flows import definition
from marketdata_assets.flows.run import find_units
from marketdata_assets.loading.files import everything
from marketdata_assets.ticks import providers_file
from marketdata_assets.ticks.files import Files

FLOW = definition.parse(
    "loader: {folder: ., glob: '**/*.csv', columns: {a: a}}\n"
    "target: {table: t, columns: {a: text}, key: [a], mode: upsert}\n",
    "odd.yaml",
    "odd",
)


def ticks_in(folder: Path) -> list[Path]:
    section = providers_file.shipped().files
    assert section
    return [file.path for file in Files(folder, section).of_bars.files()]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sh600000_2024.csv", lambda folder: [one.path for one in scan(folder) if not one.problem]),
        ("x.csv", lambda folder: [unit.file.path for unit in find_units(FLOW, folder)]),
        ("x.csv", ticks_in),
        ("x.capture.zst", captures_in),
        ("x.json", lambda folder: [Path(one.path) for one in everything(folder) if not one.problem]),
    ],
    ids=["bars", "flows", "ticks", "captures", "alphas"],
)
def test_links_in_a_circle_links_to_nothing_and_pipes(
    tmp_path: Path, name: str, found: Callable[[Path], list[Path]]
) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "real").mkdir()
    (folder / "real" / "back").symlink_to(folder, target_is_directory=True)
    (folder / f"0_{name}").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / f"1_{name}")
    (elsewhere / name).write_bytes(b"a\n1\n")
    (folder / f"2_{name}").symlink_to(elsewhere / name)  # data may lie on another disk
    (folder / f"3_{name}").write_bytes(b"a\n1\n")
    assert sorted(found(folder)) == [folder / f"2_{name}", folder / f"3_{name}"]
