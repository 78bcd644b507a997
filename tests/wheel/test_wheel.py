"""The wheel is enough: installed with the extra `local` into an empty environment, it runs the demo in an empty folder.

The installation downloads the locked versions (about 400 MB, from pip's cache when it has them): `make test-wheel`.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]


def run(*command: str | Path, cwd: Path, timeout: float = 1800) -> str:
    """Standard output of a command that must succeed, without this environment's variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MARKETDATA_", "DAGSTER_", "PG"))}
    ended = subprocess.run([str(word) for word in command], cwd=cwd, env=kept, capture_output=True, timeout=timeout)
    assert ended.returncode == 0, (ended.stdout + ended.stderr).decode()[-3000:]
    return ended.stdout.decode()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files that git knows, so that nothing left over in the work tree is in it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    run("git", "clone", "-q", PROJECT, source, cwd=target)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", target, source, cwd=target)
    (file,) = target.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel, its extra `local`, and the locked versions."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    lock = (PROJECT / "requirements.lock").read_text()
    pins = folder / "constraints.txt"
    found = re.findall(r"^([a-z][\w.\-]*)(?:\[.*?\])?(==\S+)", lock, re.MULTILINE)
    pins.write_text("".join(f"{name}{version}\n" for name, version in found))
    install = (folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*install, "--constraint", pins, f"{wheel}[local]", cwd=folder)
    return folder / "bin"


def test_wheel_has_code_and_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "marketdata_assets", "marketdata_demo"], cwd=PROJECT, capture_output=True, check=True
    )
    assert names >= set(tracked.stdout.decode().split())
    assert {"marketdata_assets/dagster.yaml", "marketdata_assets/workspace.yaml", "marketdata_assets/py.typed"} <= names
    for name in ("dagster.yaml", "workspace.yaml"):
        assert zipfile.ZipFile(wheel).read(f"marketdata_assets/{name}") == (PROJECT / name).read_bytes()
    assert f"marketdata_assets-{VERSION}.dist-info/licenses/LICENSE" in names
    assert not {name for name in names if name.startswith(("tests/", "bench/", "docs/"))}


def test_version(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "marketdata", "--version", cwd=tmp_path) == f"marketdata {VERSION}\n"


def test_demo_runs_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    summary = json.loads(run(installed / "marketdata", "demo", "--no-ui", "--json", cwd=tmp_path))
    assert summary["success"]
    assert summary["bars"]["rows"] > 0
    parts = [summary[name] for name in ("alphas", "ticks", "exchanges")] + list(summary["flows"].values())
    assert all(part["success"] for part in parts)
    assert [path.name for path in tmp_path.iterdir()] == [".marketdata"]
