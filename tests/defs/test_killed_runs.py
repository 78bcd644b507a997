"""What a run has loaded when it is killed is materialized, in every domain of files, windows or days."""

import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
import pytest

from marketdata_assets.defs.bars.assets import JOB, OP
from marketdata_assets.defs.exchanges.days import HISTORY, HISTORY_JOB
from marketdata_assets.defs.selection import config_of
from marketdata_assets.defs.ticks import run_config as ticks
from marketdata_assets.partitions import BRAIN_ACCOUNTS, range_tags, tick_unit
from marketdata_demo.venues.binance_venue import BinanceServer
from marketdata_demo.venues.live_market import Happened
from tests.defs.alpha_runs import FILES, MONTHS, PACKAGES, REGULAR, AlphasEnv, keys
from tests.defs.bar_runs import BARS, BarsEnv, deliver
from tests.defs.exchange_runs import ExchangesEnv
from tests.defs.flow_runs import PRICES, FlowsEnv
from tests.defs.test_exchanges_history import FIRST, LAST, NOON
from tests.defs.tick_runs import BARS as TICK_BARS
from tests.defs.tick_runs import EARLIER, MONTH, SYMBOLS, TicksEnv, drop, minutes, sessions, units
from tests.forks import server

Killed = Callable[..., set[str]]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    with server("tests.defs.killed_run") as call:

        def killed(
            job: str,
            asset: dg.AssetKey,
            *,
            config: Mapping[str, Any] | None = None,
            tags: Mapping[str, Any] | None = None,
            assets: Iterable[str] = (),
            dynamic: Mapping[str, list[str]] | None = None,
        ) -> set[str]:
            """The partitions of `asset` that are materialized after a run was killed in the middle."""
            storage = str(tmp_path_factory.mktemp("storage"))
            run = {
                "job": job,
                "config": config or {},
                "tags": tags or {},
                "assets": [*assets],
                "dynamic": dynamic or {},
            }
            ended = call("tests.defs.killed_run", "run", variables=dict(os.environ), storage=storage, **run)
            assert ended.code == -signal.SIGKILL, ended.said
            with dg.DagsterInstance.local_temp(storage) as instance:
                return set(instance.get_materialized_partitions(asset))

        yield killed


@pytest.mark.parametrize("selected", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_killed_load_of_bars_keeps_the_months_of_its_first_file(
    bars_env: BarsEnv, killed: Killed, selected: bool
) -> None:
    for year in (2014, 2015):
        deliver(bars_env.folder, year, [3])
    months = ["2014-03", "2015-03"]
    ranged = {"job": "bars", "tags": range_tags(*months)}
    scattered = {"job": JOB, "config": config_of(OP, months)}
    marked = killed(asset=BARS, **(scattered if selected else ranged))
    there = {month for (month,) in bars_env.rows("SELECT DISTINCT to_char(time, 'YYYY-MM') FROM stock_1min_qfq")}
    assert marked & set(months) == {"2014-03"} <= there


@pytest.mark.slow
@pytest.mark.parametrize(
    "asset", [FILES, pytest.param(PACKAGES, marks=pytest.mark.slow), pytest.param(REGULAR, marks=pytest.mark.slow)]
)
def test_killed_step_of_alphas_keeps_what_is_complete(
    alphas_env: AlphasEnv, killed: Killed, asset: dg.AssetKey
) -> None:
    alphas_env.ready("lk")
    before = {FILES: [], PACKAGES: [FILES], REGULAR: [FILES, PACKAGES]}[asset]
    ends = f"lk|{MONTHS[0]}", f"lk|{MONTHS[-1]}"
    if before:
        assert alphas_env.run(*ends, assets=before).success
    accounts = {str(BRAIN_ACCOUNTS.name): ["lk"]}
    marked = killed("alphas", asset, tags=range_tags(*ends), assets=[asset.to_user_string()], dynamic=accounts)
    assert len(marked) == 1
    assert marked < keys(["lk"])
    if asset == REGULAR:
        months = {f"{document['dateCreated']:%Y-%m}" for document in alphas_env.client["regular_alphas"]["lk"].find({})}
        assert {key.partition("|")[2] for key in marked} <= months


@pytest.mark.slow
def test_killed_run_of_a_flow_keeps_its_first_file(flows_env: FlowsEnv, killed: Killed) -> None:
    flows_env.declare("filed", PRICES + "  partitions: file\n")
    names = ["a.csv", "b.csv"]
    for name in names:
        flows_env.deliver(name, f"symbol,day,close\n{name[0]},2024-01-02,1.5\n", "prices")
    files = {"filed_files": names}
    marked = killed("flow_filed", dg.AssetKey("filed"), tags=range_tags(*names), dynamic=files)
    assert len(marked) == 1
    loaded = {f"{symbol}.csv" for (symbol,) in flows_env.rows("SELECT symbol FROM prices")}
    assert marked <= loaded


@pytest.mark.slow
def test_killed_load_of_a_history_keeps_the_days_that_are_complete(exchanges_env: ExchangesEnv, killed: Killed) -> None:
    about = {
        "exchange": "binance",
        "instruments": ["ABC-USDT"],
        "market_type": "linear",
        "source": "rest",
        "types": ["trade"],
    }
    with BinanceServer() as server:
        server.trades = [Happened(NOON + number * 1000, number) for number in range(1, 31)]
        exchanges_env.patch.setenv("MARKETDATA_EXCHANGE_HOSTS", json.dumps({"binance": server.url}))
        ops = {"ops": {HISTORY: {"config": about}}}
        marked = killed(HISTORY_JOB, dg.AssetKey(HISTORY), config=ops, tags=range_tags(FIRST, LAST))
    assert marked == {FIRST}
    assert exchanges_env.counts()["exchange_trades"] == 30


@pytest.mark.slow
def test_killed_load_of_ticks_keeps_its_first_month(ticks_env: TicksEnv, killed: Killed) -> None:
    for month in (MONTH, EARLIER):
        rows = [bar for symbol in SYMBOLS for bar in minutes(symbol, sessions(month)[0])]
        drop(ticks_env.folder, f"{month}.csv", rows)
    config = ticks.adhoc_config(dict.fromkeys((MONTH, EARLIER), SYMBOLS), ["tick_data"], providers=["files"])
    marked = {tick_unit(key) for key in killed(ticks.JOB, TICK_BARS, config=config)}
    assert len({unit.month for unit in marked}) == 1, "one month was loaded, the run died in the other"
    assert marked == units(SYMBOLS, {unit.month for unit in marked}) <= ticks_env.counts().keys()
