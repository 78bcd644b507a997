"""What `make audit` makes of pip-audit's report; the program is stood in for, since advisories need the network."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[1]
AUDIT = PROJECT / ".ci" / "audit.py"
SOUND = {"name": "sound", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI and could not be audited: unknown (1.0)"}
BROKEN = {"name": "broken", "version": "1.0", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["1.1"], "aliases": []}]}


def audited(folder: Path, **told: str) -> subprocess.CompletedProcess[str]:
    """What is made of these reports, one for each lock."""
    program = folder / "pip-audit"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint({told!r}[sys.argv[2]])\n")
    program.chmod(0o755)
    return subprocess.run([sys.executable, AUDIT, program, *told], capture_output=True, text=True)


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([SOUND], 0, "one: 1 packages audited, 0 with known vulnerabilities"),
        ([SOUND, BROKEN], 1, "broken 1.0: PYSEC-2026-1, fixed in 1.1; run: make lock"),
        ([UNKNOWN, BROKEN], 1, "broken 1.0: PYSEC-2026-1"),
        ([SOUND, UNKNOWN], 3, "NOT AUDITED: one: 1 of 2 packages are unknown to the service: ['unknown']"),
        ([], 3, "NOT AUDITED: one"),
    ],
)
def test_what_is_known_to_be_vulnerable_fails(
    tmp_path: Path, packages: list[dict[str, Any]], code: int, said: str
) -> None:
    ended = audited(tmp_path, one=report(*packages))
    assert (ended.returncode, ended.stderr) == (code, "")
    assert said in ended.stdout


def test_a_lock_that_could_not_be_audited_fails(tmp_path: Path) -> None:
    ended = audited(tmp_path, one="")
    assert (ended.returncode, ended.stderr) == (3, "")
    assert "NOT AUDITED: one" in ended.stdout
    absent = subprocess.run([sys.executable, AUDIT, tmp_path / "no", "lock"], capture_output=True, text=True)
    assert absent.returncode == 3
    assert "NOT AUDITED: lock" in absent.stdout


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (report(SOUND), report(SOUND), 0),
        (report(SOUND), report(BROKEN), 1),
        (report(BROKEN), report(SOUND), 1),
        (report(SOUND), "", 3),
        ("", report(SOUND), 3),
        (report(BROKEN), "", 1),
    ],
)
def test_every_lock_is_audited(tmp_path: Path, first: str, second: str, code: int) -> None:
    ended = audited(tmp_path, one=first, other=second)
    assert ended.returncode == code
    assert "one: " in ended.stdout
    assert "other: " in ended.stdout


def test_make_audits_every_lock_of_the_project() -> None:
    locks = {str(path.relative_to(PROJECT)) for path in [*PROJECT.glob("*.lock"), *PROJECT.glob("docker/*.lock")]}
    (call,) = [line for line in (PROJECT / "Makefile").read_text().splitlines() if "audit.py" in line]
    assert len(locks) == 4
    assert locks == {word for word in call.split() if word.endswith(".lock")}
