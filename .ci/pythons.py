"""Run the tests that need no server on each Python that is installed: `python .ci/pythons.py UV [VERSION ...]`.

An environment for each is made in .venv from requirements-dev.lock. Continues after a failure, sums up at the end, and
writes the table of docs/reference/platforms.md.
"""

import datetime as dt
import os
import platform
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "reference" / "platforms.md"
MARKS = re.compile(r"(?<=<!-- pythons -->\n).*(?=<!-- end of pythons -->)", re.DOTALL)
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
ONLY = "not servers and not slow"


@dataclass(frozen=True)
class Found:
    """What happened on one Python; `failed` counts errors of the collection too."""

    python: str
    passed: int
    skipped: int
    failed: int


def interpreter(version: str) -> str | None:
    """The program of that version: on the PATH, or the newest one of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    newest = sorted(pyenv.glob(f"{version}.*"), key=lambda one: int(one.name.rsplit(".", 1)[1]), reverse=True)
    for program in (f"python{version}", *(str(one / "bin" / f"python{version}") for one in newest)):
        try:
            if subprocess.run([program, "-c", ""], capture_output=True, check=False).returncode == 0:
                return program
        except FileNotFoundError:
            continue
    return None


def environment(program: str, version: str, uv: str) -> Path:
    """The Python of an environment with all that the tests use; raises CalledProcessError."""
    folder = PROJECT / ".venv" / f"python{version}"
    python = folder / "bin" / "python"
    lock = ["--require-hashes", "--requirement", "requirements-dev.lock"]
    ours = ["--no-build-isolation", "--no-deps", "--editable", "."]
    calls = [[uv, "venv", "--quiet", "--allow-existing", "--python", program, str(folder)]]
    calls += [[uv, "pip", "install", "--quiet", "--python", str(python), *rest] for rest in (lock, ours)]
    for call in calls:
        subprocess.run(call, cwd=PROJECT, check=True)
    return python


def tested(python: Path) -> Found:
    """Run the tests and count them."""
    version = subprocess.run(
        [python, "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    report = python.parents[1] / "report.xml"
    report.unlink(missing_ok=True)
    options = ["-n", os.environ.get("WORKERS", "2"), "--dist", "loadfile", "-p", "no:cacheprovider"]
    call = [str(python), "-m", "pytest", "-m", ONLY, *options, f"--junitxml={report}"]
    subprocess.run(call, cwd=PROJECT, check=False)
    suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 (our own report)
    assert suite is not None
    count = {name: int(suite.attrib[name]) for name in ("tests", "skipped", "failures", "errors")}
    failed = count["failures"] + count["errors"]
    return Found(version, count["tests"] - count["skipped"] - failed, count["skipped"], failed)


def write(found: list[Found]) -> None:
    """Replace the rows of these Pythons in the page, and keep the others."""
    text = PAGE.read_text()
    table = MARKS.search(text)
    assert table is not None, f"{PAGE} has lost the marks of its table"
    day = dt.datetime.now(dt.UTC).strftime("%d %B %Y").lstrip("0")
    parts = [line.split(" | ") for line in table[0].splitlines()]
    rows = {cells[1]: " | ".join(cells) for cells in parts if len(cells) > 1 and cells[1][0].isdigit()}
    for one in found:
        cells = (platform.machine(), one.python, one.passed, one.skipped, one.failed, day)
        rows[one.python] = f"| {platform.system()} {' | '.join(map(str, cells))} |"
    head = ["| platform | Python | passed | skipped | failed | on |", "|---|---|---|---|---|---|"]
    numbers = {name: [*map(int, re.findall(r"\d+", name))] for name in rows}
    lines = [*head, *(rows[name] for name in sorted(rows, key=numbers.__getitem__))]
    PAGE.write_text(MARKS.sub(lambda _: "\n".join(lines) + "\n", text))


def main(uv: str, *versions: str) -> int:
    found, broken = [], []
    for version in versions or VERSIONS:
        program = interpreter(version)
        if program is None:
            print(f"Python {version} is not installed", flush=True)
            continue
        print(f"Python {version}: {program}", flush=True)
        try:
            found.append(tested(environment(program, version, uv)))
        except subprocess.CalledProcessError as error:
            broken.append(f"Python {version}: no environment, {' '.join(map(str, error.cmd[:4]))} failed")
    write(found)
    for one in found:
        print(f"Python {one.python}: {one.passed} passed, {one.skipped} skipped, {one.failed} failed")
    print("\n".join(broken))
    return 1 if broken or not found or any(one.failed or not one.passed for one in found) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
