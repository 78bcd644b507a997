"""Tests that are started from a folder, a home and an environment full of settings see none of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from marketdata_assets.settings import CollectorSettings, Settings
from tests.conftest import part_of
from tests.isolation import OTHERS, variables

PROJECT = Path(__file__).parents[1]

PROBE = """
import os, subprocess, sys
from pathlib import Path
import pytest
from marketdata_assets.settings import CollectorSettings, Settings

AT_IMPORT = Settings(), CollectorSettings()
SEEN = "import os; from pathlib import Path; print(os.listdir(), os.listdir(Path.home()), sorted(os.environ.items()))"

@pytest.fixture(scope="session", autouse=True)
def first():
    assert "HOSTILE" not in repr(sorted(os.environ.items())) + str(Path.cwd())

def folders(settings):
    names = [name for name in dir(settings) if name.endswith(("_folder", "_file")) or name in ("root", "home")]
    return [getattr(settings, name) for name in names if isinstance(getattr(settings, name), Path)]

def test_nothing_is_seen():
    child = subprocess.run([sys.executable, "-c", SEEN], capture_output=True, text=True, check=True)
    assert child.stdout.startswith("[] [] "), child.stdout
    assert "HOSTILE" not in child.stdout
    for settings in (AT_IMPORT[0], Settings()):
        found = folders(settings)
        assert len(found) > 10
        assert not [folder for folder in found if folder.is_file() or folder.is_dir() and os.listdir(folder)]
        assert "HOSTILE" not in repr([folder.absolute() for folder in found])
    for settings in (*AT_IMPORT, Settings(), CollectorSettings()):
        assert "HOSTILE" not in repr(settings)
    assert os.environ["MARKETDATA_TEST_KEPT"] == os.environ["MARKETDATA_FIXTURES"] == "kept"

def test_leaves_a_variable_and_another_folder(tmp_path):
    os.environ["MARKETDATA_WORKERS"] = "7"
    os.chdir(tmp_path)

def test_finds_neither(tmp_path):
    assert Settings().workers is None
    assert not os.listdir()

def test_writes_where_nothing_is_written():
    Path("left.csv").write_text("x")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What a person has: a clone in which the demo ran, with the checkout's own settings of the tests."""
    clone = tmp_path / "HOSTILE" / "clone"
    (clone / "tests").mkdir(parents=True)
    for name in ("conftest.py", "databases.py", "guardian.py", "isolation.py"):
        shutil.copy(PROJECT / "tests" / name, clone / "tests" / name)
    (clone / "tests" / "test_probe.py").write_text(PROBE)
    (clone / "pytest.ini").write_text("[pytest]\naddopts = -q -p no:cacheprovider\nmarkers = servers\n")
    for folder in (".marketdata/bars", ".marketdata/reference", "flows/own"):
        (clone / folder).mkdir(parents=True)
        (clone / folder / "2024_1min.zip").write_text("HOSTILE")
    return clone


def hostile(clone: Path) -> dict[str, str]:
    """An environment in which every variable of ours has a value, and every value is bad."""
    named = {name: "HOSTILE" for settings in (Settings, CollectorSettings) for name in variables(settings)}
    others = {f"{prefix}HOSTILE": "HOSTILE" for prefix in OTHERS} | {"TUSHARE_TOKEN": "HOSTILE", "PGHOST": "HOSTILE"}
    kept = {"MARKETDATA_TEST_KEPT": "kept", "MARKETDATA_FIXTURES": "kept"}
    home = clone.parent / "home"
    (home / ".marketdata").mkdir(parents=True)
    (home / ".pgpass").write_text("*:*:*:*:HOSTILE")
    return {**os.environ, **named, **others, **kept, "HOME": str(home), "PYTHONPATH": str(PROJECT)}


@pytest.mark.parametrize("processes", [(), pytest.param(("-n", "1"), marks=pytest.mark.slow)])
def test_nothing_of_the_person_who_runs_the_tests_is_seen(project: Path, processes: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "pytest", *processes, "tests/test_probe.py"]
    ran = subprocess.run(command, cwd=project, env=hostile(project), capture_output=True, text=True)
    assert "4 passed, 1 error" in ran.stdout, ran.stdout + ran.stderr
    assert "the test wrote left.csv into the working folder instead of into its own" in ran.stdout


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_the_parts_of_the_slow_tests_are_all_of_them_each_once(parts: int) -> None:
    files = [Path(f"test_{number}.py") for number in range(20)]
    found = [file for number in range(1, parts + 1) for file in part_of(files, f"{number}/{parts}")]
    assert sorted(found) == sorted(files)


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "a/b", "-1/2"])
def test_what_is_no_part_of_the_slow_tests_is_an_error(part: str) -> None:
    with pytest.raises(pytest.UsageError, match="write 1/2"):
        part_of([], part)
