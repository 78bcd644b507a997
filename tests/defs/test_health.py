"""The page of `start_here`: what is loaded in every domain, what has failed, and which server does not answer."""

from pathlib import Path

import pytest

from marketdata_assets import domains, overview
from marketdata_assets.defs.repair.health import CHECK
from tests.cli.commands import marketdata
from tests.defs.bar_runs import BarsEnv, deliver, execute


def problems(bars_env: BarsEnv) -> tuple[bool, str, dict[str, str]]:
    """Whether the check passed, the problems as a table, and the tables of the domains."""
    ended = execute(bars_env.instance, "health", {}, checks=True)
    assert ended.success
    (event,) = ended.get_asset_materialization_events()
    (check,) = ended.get_asset_check_evaluations()
    assert check.check_name == CHECK
    metadata = {name: str(value.value) for name, value in event.materialization.metadata.items()}
    return bool(check.passed), metadata.pop("problems"), metadata


def test_what_is_loaded_and_what_has_failed_is_on_one_page(bars_env: BarsEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_DOMAINS", "bars")
    deliver(bars_env.folder, 2023, [1, 2])
    assert bars_env.run("2023-01", "2023-02").success
    passed, found, tables = problems(bars_env)
    assert passed
    assert "failed" not in found
    assert [*tables] == ["bars"]
    assert "| stock_1min_qfq | 2 |" in tables["bars"]
    (bars_env.folder / "2022_1min.zip").write_bytes(b"no zip")
    assert not bars_env.run("2022-01", "2022-12").success
    passed, found, _ = problems(bars_env)
    assert not passed
    assert "| minute_bar_files | failed | " in found


def test_a_server_that_does_not_answer_is_a_problem_and_the_other_domains_are_shown(
    bars_env: BarsEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETDATA_DOMAINS", "bars,alphas")
    monkeypatch.setenv("MARKETDATA_MONGO_URI", "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200")
    passed, found, tables = problems(bars_env)
    assert not passed
    assert "| alphas | failed | " in found
    assert "127.0.0.1:9" in found
    assert [*tables] == ["bars"]


@pytest.mark.parametrize("domain", domains.OWN)
def test_the_command_for_a_problem_exists(domain: str, tmp_path: Path) -> None:
    row = {"group": domain, "asset": "any", "partitions": 9, **dict.fromkeys(overview.PROBLEMS, 1)}
    rows = [row, {**row, "named": []}] if domains.find(domain).files else [row]
    found = overview.problems(rows)
    assert {one.state for one in found} == {*overview.PROBLEMS}
    for command in {one.command for one in found}:
        ended = marketdata(tmp_path, *command.split(), "--help")
        assert ended.returncode == 0, f"{command}: {ended.stderr}"
