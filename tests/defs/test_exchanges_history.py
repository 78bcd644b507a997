"""Runs of the asset of histories: days of instruments that the run config names."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from marketdata_assets.defs.checks import specs
from marketdata_assets.defs.exchanges.days import HISTORY, HISTORY_JOB
from marketdata_assets.partitions import range_tags
from marketdata_demo.venues.binance_venue import BinanceServer
from marketdata_demo.venues.live_market import Happened
from tests.defs.bar_runs import execute, failures, recorded_verdicts
from tests.defs.exchange_runs import YESTERDAY, ExchangesEnv

FIRST, LAST = (str(YESTERDAY - dt.timedelta(days=days)) for days in (2, 1))
NOON = int(dt.datetime.combine(YESTERDAY - dt.timedelta(days=1), dt.time(12), dt.UTC).timestamp() * 1000)


@pytest.fixture
def venue(exchanges_env: ExchangesEnv) -> Iterator[BinanceServer]:
    with BinanceServer() as server:
        server.trades = [Happened(NOON + number * 1000, number) for number in range(1, 31)]
        exchanges_env.patch.setenv("MARKETDATA_EXCHANGE_HOSTS", json.dumps({"binance": server.url}))
        yield server


def load(exchanges_env: ExchangesEnv, **config: Any) -> dg.ExecuteInProcessResult:
    """Load candles and trades of two days."""
    about = {"exchange": "binance", "instruments": ["ABC-USDT"], "market_type": "linear", "source": "rest"}
    return execute(
        exchanges_env.instance, HISTORY_JOB, {"ops": {HISTORY: {"config": about | config}}}, range_tags(FIRST, LAST)
    )


def test_days_are_loaded_once_and_days_that_fail_are_named(exchanges_env: ExchangesEnv, venue: BinanceServer) -> None:
    exchanges_env.patch.setattr("marketdata_assets.http_client.RetryPolicy.pause", lambda *_: 0.0)
    venue.fail(500, 6, "aggTrades")
    failed = load(exchanges_env)
    assert not failed.success
    assert f"binance linear ABCUSDT trade {FIRST}" in failures(failed)[HISTORY]
    asset = dg.AssetKey(HISTORY)
    assert exchanges_env.materialized(asset) == {LAST}
    assert exchanges_env.counts()["exchange_klines"] == 2 * 1440
    checked = recorded_verdicts(exchanges_env.instance, failed)
    assert checked.keys() == {spec.name for spec in specs(HISTORY)}, "what is loaded is checked"
    again = load(exchanges_env)
    assert again.success, failures(again)
    assert exchanges_env.materialized(asset) == {FIRST, LAST}
    assert exchanges_env.counts()["exchange_trades"] == 30
    told = exchanges_env.metadata(asset, LAST)
    assert (told["dagster/partition_row_count"], told["unchanged"]) == (0, 2)


def test_wrong_config_is_refused(exchanges_env: ExchangesEnv, venue: BinanceServer) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "no venue has a history of 'ticker'": {"types": ["ticker"]},
        "lists no instrument 'XYZUSDT'": {"instruments": ["XYZUSDT"]},
        "binance": {"exchange": "binanec"},
        "has no market linaer": {"market_type": "linaer"},
        "source 'dump'": {"source": "dump"},
    }
    for message, config in wrong.items():
        refused = load(exchanges_env, **config)
        assert not refused.success
        assert message in failures(refused)[HISTORY]
    assert exchanges_env.counts()["exchange_klines"] == 0
