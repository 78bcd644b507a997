"""A fresh clone, installed with pip and with uv: Dagster's own commands load the definitions, and leave no new file."""

import subprocess
import sys
from pathlib import Path

import pytest

from marketdata_assets.local.process import free_port
from tests.deploy.test_code_server import kill_all, until
from tests.test_plain_dagster import assets, git, variables

PROJECT = Path(__file__).parents[2]
VALIDATE = ("definitions", "validate", "-w", "workspace.yaml")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, in an environment of its own."""
    folder = tmp_path_factory.mktemp("uv")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    run(folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "uv", cwd=folder)
    return folder / "bin" / "uv"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git("clone", "-q", str(PROJECT), "clone", cwd=tmp_path)
    return tmp_path / "clone"


def run(*command: str | Path, cwd: Path) -> str:
    words = [str(word) for word in command]
    ended = subprocess.run(words, cwd=cwd, env=variables(), capture_output=True, text=True, timeout=1800)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said[-3000:]
    return said


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_dagster_dev_serves_an_installed_clone(installer: str, clone: Path, uv: Path) -> None:
    programs = clone / ".venv" / "bin"
    if installer == "uv":
        run(uv, "venv", "--python", sys.executable, cwd=clone)
        run(uv, "pip", "install", "--editable", ".[local]", cwd=clone)
    else:
        run(sys.executable, "-m", "venv", ".venv", cwd=clone)
        run(programs / "pip", "install", "--quiet", "--editable", ".[local]", cwd=clone)
    assert "All code locations passed validation" in run(programs / "dagster", *VALIDATE, cwd=clone)
    port = free_port()
    with (clone.parent / "dev.log").open("wb") as log:
        dev = subprocess.Popen(
            [str(programs / "dagster"), "dev", "--port", str(port)],
            cwd=clone,
            env=variables(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: dev.poll() is not None or len(assets(port)) > 40)
        assert dev.poll() is None, (clone.parent / "dev.log").read_text()
    finally:
        kill_all(dev)
    assert git("status", "--porcelain", cwd=clone) == ""


def test_uv_run_needs_no_environment_before(clone: Path, uv: Path) -> None:
    assert "All code locations passed validation" in run(uv, "run", "--extra", "local", "dagster", *VALIDATE, cwd=clone)
    assert "All definitions loaded successfully" in run(uv, "run", "--extra", "local", "dg", "check", "defs", cwd=clone)
    assert git("status", "--porcelain", cwd=clone) == ""
