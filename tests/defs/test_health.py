"""The page of `start_here`: what is loaded in every domain, what has failed, and which server does not answer."""

import pytest
from bar_runs import Warehouse, deliver, execute

from marketdata_assets.defs.repair.health import CHECK


def problems(warehouse: Warehouse) -> tuple[bool, str, dict[str, str]]:
    """Whether the check passed, the problems as a table, and the tables of the domains."""
    ended = execute(warehouse.instance, "health", {})
    assert ended.success
    (event,) = ended.get_asset_materialization_events()
    (check,) = ended.get_asset_check_evaluations()
    assert check.check_name == CHECK
    metadata = {name: str(value.value) for name, value in event.materialization.metadata.items()}
    return bool(check.passed), metadata.pop("problems"), metadata


def test_what_is_loaded_and_what_has_failed_is_on_one_page(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETDATA_DOMAINS", "bars")
    deliver(warehouse.folder, 2023, [1, 2])
    assert warehouse.run("2023-01", "2023-02").success
    passed, found, tables = problems(warehouse)
    assert passed
    assert "failed" not in found
    assert [*tables] == ["bars"]
    assert "| stock_1min_qfq | 2 |" in tables["bars"]
    (warehouse.folder / "2022_1min.zip").write_bytes(b"no zip")
    assert not warehouse.run("2022-01", "2022-12").success
    passed, found, _ = problems(warehouse)
    assert not passed
    assert "| minute_bar_files | failed | " in found


def test_a_server_that_does_not_answer_is_a_problem_and_the_other_domains_are_shown(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETDATA_DOMAINS", "bars,alphas")
    monkeypatch.setenv("MARKETDATA_MONGO_URI", "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200")
    passed, found, tables = problems(warehouse)
    assert not passed
    assert "| alphas | failed | " in found
    assert "127.0.0.1:9" in found
    assert [*tables] == ["bars"]
