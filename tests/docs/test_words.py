"""The word list of `make lint`: it finds dialect words in prose, and in nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks_of_pages import PROJECT


def check(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROJECT / ".ci" / "words.py", *files]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.md", "A plain line.\n\nThe rows landed in the table.\n"),
        ("module.py", 'COUNT = 1\n\nTEXT = "the rows landed"\n'),
        ("module.py", "COUNT = 1\n\nOTHER = 2  # after the rows landed\n"),
        ("query.sql", "SELECT 1\n\n-- the rows that landed\n"),
    ],
)
def test_a_dialect_word_is_reported_with_place_and_plain_term(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    result = check(file)
    assert result.returncode == 1
    assert f'{file}:3: "landed": write "loaded, committed, written"' in result.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.md", "The outcome `landed` of an old version.\n"),
        ("module.py", "landed = told = 1\n"),
        ("page.md", "The connection was refused; `lk` stands for an account.\n"),
        ("page.md", "The rows landed. <!-- words: ok -->\n"),
    ],
)
def test_code_identifiers_and_waived_lines_pass(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert check(file).returncode == 0


def test_the_documentation_has_no_dialect_words() -> None:
    result = check()
    assert result.returncode == 0, result.stdout
