"""What `overview` says is wrong with assets, and the command for it."""

import datetime as dt

import pytest

from marketdata_assets.alphas import catalogues, record_sets
from marketdata_assets.overview import asset_row, problems


@pytest.mark.parametrize(
    ("domain", "asset", "command"),
    [
        *(("alphas", record_sets.asset_name(name), "alphas records") for name in record_sets.DAILY),
        ("alphas", record_sets.asset_name("submission_check"), "alphas records --set submission_check"),
        *(("alphas", catalogues.asset_name(name), "alphas catalogue") for name in catalogues.NAMES),
        ("alphas", "alpha_files", "alphas fetch"),
        ("alphas", "alpha_packages", "ingest alphas"),
        ("alphas", "regular_alphas", "ingest alphas"),
        ("bars", "stock_1min_qfq", "ingest bars"),
        ("bars", "stock_monthly_kline", "kline refresh"),
        ("exchanges", "exchange_ohlcv_1m", "ingest days"),
    ],
)
@pytest.mark.parametrize("state", ["stale", "missing"])
def test_the_command_of_a_problem_loads_its_asset(domain: str, asset: str, command: str, state: str) -> None:
    [found] = problems([asset_row(domain, asset, {state: 2}, dt.date(2026, 1, 2))])
    assert (found.asset, found.state, found.count, found.command) == (asset, state, 2, command)
