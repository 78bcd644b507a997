"""What `make audit` makes of pip-audit's report; the program is stood in for, since advisories need the network."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[1] / ".ci" / "audit.py"
SOUND = {"name": "sound", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI and could not be audited: unknown (1.0)"}
BROKEN = {"name": "broken", "version": "1.0", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["1.1"], "aliases": []}]}


def audited(folder: Path, told: str) -> subprocess.CompletedProcess[str]:
    program = folder / "pip-audit"
    program.write_text(f"#!{sys.executable}\nprint({told!r})\n")
    program.chmod(0o755)
    return subprocess.run([sys.executable, AUDIT, program, "requirements.lock"], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([SOUND], 0, "1 packages audited, 0 with known vulnerabilities"),
        ([SOUND, BROKEN], 1, "broken 1.0: PYSEC-2026-1, fixed in 1.1; run: make lock"),
        ([SOUND, UNKNOWN], 0, "NOT AUDITED: 1 of 2 packages are unknown"),
    ],
)
def test_what_is_known_to_be_vulnerable_fails(
    tmp_path: Path, packages: list[dict[str, Any]], code: int, said: str
) -> None:
    ended = audited(tmp_path, json.dumps({"dependencies": packages, "fixes": []}))
    assert (ended.returncode, ended.stderr) == (code, "")
    assert said in ended.stdout


def test_without_an_answer_it_reports_that_nothing_was_audited(tmp_path: Path) -> None:
    ended = audited(tmp_path, "")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "NOT AUDITED" in ended.stdout
    absent = subprocess.run([sys.executable, AUDIT, tmp_path / "no", "lock"], capture_output=True, text=True)
    assert "NOT AUDITED" in absent.stdout
