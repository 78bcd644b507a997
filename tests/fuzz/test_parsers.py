"""Some inputs for every parser of a file and of an answer; `make fuzz` tries millions, in processes of their own."""

import os
from pathlib import Path

import pytest

from bench.fuzzing import fuzz
from marketdata_assets.exchanges import venues
from tests.fuzz.__main__ import run
from tests.fuzz.parsers import every

SEED = int(os.environ.get("FUZZ_SEED") or 20260101)
ROUNDS = 10
OTHERS = venues.names()
"""Those that `tests/exchanges/test_fuzz.py` tries."""


def test_whatever_is_read_only_declared_errors_come_out(tmp_path: Path) -> None:
    found = [one for one in every(None, tmp_path) if not one.name.startswith(OTHERS)]
    assert len({one.name for one in found}) == len(found) > 50
    tried = fuzz(found, SEED, lambda inputs: inputs < ROUNDS * len(found))
    assert [f"{name}: {raw[:200]!r}\n{story}" for name, raw, story in tried.failures] == []


def test_a_process_that_ends_is_a_failure_with_its_input(tmp_path: Path) -> None:
    found = [*run(["no such target", "cursor"], SEED, 0.1, tmp_path)]
    assert [one.name for one in found] == ["no such target", "cursor"]
    assert "the process ended with 1" in found[0].failures[0]
    assert found[1].inputs > 0
    assert not found[1].failures


@pytest.mark.slow
def test_every_parser_for_some_seconds(tmp_path: Path) -> None:
    names = [one.name for one in every(None, tmp_path)]
    tried = [*run(names, SEED, 1.0, tmp_path / "kept")]
    assert [one.name for one in tried] == names
    assert [one for one in tried if one.failures] == []
