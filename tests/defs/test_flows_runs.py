"""Runs of flows: the shipped ones on the vendor's format, partitions, failures, and files that are loaded once."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest

from marketdata_assets.defs.run_files import of_a_command
from marketdata_assets.partitions import range_tags
from marketdata_demo import sample_flows
from tests.defs.bar_runs import failures, materializations, recorded_verdicts, verdicts
from tests.defs.flow_runs import PRICES, FlowsEnv

FRIDAY = dt.date(2026, 11, 20)
NOVEMBER = range_tags("2026-11", "2026-11")
PASSED = {"keys_unique": True, "every_row_accounted": True, "no_drift": True, "no_new_columns": True}


def told(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    """What the step's output says of the whole run."""
    [found] = [
        event.step_output_data.metadata
        for event in result.all_events
        if event.is_successful_output and "files_loaded" in event.step_output_data.metadata
    ]
    return {name: value.value for name, value in found.items()}


def vendor_file(fixtures: Path) -> Path:
    found = sorted((fixtures / "ashare_csv" / "daily").glob("*.csv"))
    if not found:
        pytest.skip(f"no recorded daily file in {fixtures}")
    return found[0]


def test_recorded_vendor_file_lands_row_by_row(fixtures: Path, flows_env: FlowsEnv) -> None:
    recorded = vendor_file(fixtures).read_bytes()
    flows_env.deliver("bj920000.csv", recorded)
    run = flows_env.run("stock_daily", NOVEMBER, checks=True)
    assert run.success
    assert verdicts(run) == PASSED
    _, header, *lines = recorded.decode("gb18030").splitlines()
    names = header.split(",")
    cells = [dict(zip(names, line.split(","), strict=True)) for line in lines]
    rows = flows_env.rows(
        """SELECT code, name, trade_date, open, high, low, close, pre_close, volume, amount, pct_change, turnover_rate,
                  avg_price, trading_days, suspicious FROM stock_daily ORDER BY trade_date"""
    )
    assert len(rows) == len(cells) == 100
    for number, (row, cell) in enumerate(zip(rows, cells, strict=True), 1):
        close, before = Decimal(cell["收盘价"]), Decimal(cell["前收盘价"])
        amount, volume = Decimal(cell["成交额"]), Decimal(cell["成交量"])
        assert row[:3] == (cell["股票代码"], cell["股票名称"], dt.date.fromisoformat(cell["交易日期"]))
        prices = ("开盘价", "最高价", "最低价", "收盘价", "前收盘价", "成交量", "成交额")
        assert list(row[3:10]) == [Decimal(cell[name]) for name in prices]
        assert abs(row[10] - (close / before - 1)) < Decimal("1e-8")
        assert abs(row[11] - amount / Decimal(cell["流通市值"])) < Decimal("1e-8")
        assert abs(row[12] - amount / volume) <= Decimal("0.00005")
        assert row[13] == number
        assert row[14] is (number > 1 and abs(close / before - 1) > Decimal("0.32"))
    assert flows_env.rows("SELECT to_char(min(trade_date), 'YYYY-MM') FROM stock_daily") == [("2021-11",)]
    assert {"2021-11", "2022-04"} <= flows_env.instance.get_materialized_partitions(dg.AssetKey("stock_daily"))


def test_indicators_of_the_recorded_file_equal_a_recomputation(fixtures: Path, flows_env: FlowsEnv) -> None:
    flows_env.deliver("bj920000.csv", vendor_file(fixtures).read_bytes())
    assert flows_env.run("stock_daily", NOVEMBER).success
    assert flows_env.run("stock_daily_indicators", NOVEMBER).success
    wrong = flows_env.rows(
        """WITH right_ones AS (
               SELECT code, trade_date, avg(close) OVER five AS ma5, avg(close) OVER sixty AS ma60,
                      stddev_samp(pct_change) OVER twenty AS volatility_20, count(*) OVER (ORDER BY trade_date) AS n
               FROM stock_daily
               WINDOW five AS (ORDER BY trade_date ROWS 4 PRECEDING), sixty AS (ORDER BY trade_date ROWS 59 PRECEDING),
                      twenty AS (ORDER BY trade_date ROWS 19 PRECEDING))
           SELECT * FROM right_ones JOIN stock_daily_indicators AS found USING (code, trade_date)
           WHERE (n < 5) <> (found.ma5 IS NULL) OR (n < 60) <> (found.ma60 IS NULL)
              OR (n < 20) <> (found.volatility_20 IS NULL)
              OR abs(found.ma5 - right_ones.ma5) > 0.0001 OR abs(found.ma60 - right_ones.ma60) > 0.0001
              OR abs(found.volatility_20 - right_ones.volatility_20) > 0.0000001"""
    )
    assert wrong == []
    assert flows_env.rows("SELECT count(*), count(ma60) FROM stock_daily_indicators") == [(100, 41)]


def test_many_files_land_and_cost_nothing_the_second_time(flows_env: FlowsEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo has a thousand of them."""
    monkeypatch.setenv("MARKETDATA_WORKERS", "2")
    sample_flows.write(flows_env.data / "stock_daily", 60, FRIDAY, days=12)
    run = flows_env.run("stock_daily", NOVEMBER, checks=True)
    assert run.success, failures(run)
    assert verdicts(run) == PASSED
    assert (told(run)["files_loaded"], told(run)["rows"]) == (60, 720)
    assert flows_env.rows("SELECT count(*), count(DISTINCT code), max(trading_days) FROM stock_daily") == [
        (720, 60, 12)
    ]
    assert flows_env.rows("SELECT status, count(*) FROM etl_metadata GROUP BY status") == [("completed", 60)]
    assert flows_env.rows("SELECT count(*) > 0 FROM stock_daily WHERE suspicious") == [(True,)]
    again = flows_env.run("stock_daily", NOVEMBER)
    assert (told(again)["files_loaded"], told(again)["files_unchanged"], told(again)["rows"]) == (0, 60, 0)


def test_bad_file_fails_the_run_by_name_and_the_others_land(flows_env: FlowsEnv) -> None:
    sample_flows.write(flows_env.data / "stock_daily", 3, FRIDAY, days=12)
    flows_env.deliver("sz000999.csv", "not,the,header\n1,2,3\n")
    run = flows_env.run("stock_daily", NOVEMBER, checks=True)
    assert not run.success
    assert recorded_verdicts(flows_env.instance, run) == PASSED, "what is loaded is checked"
    said = failures(run)["stock_daily"]
    assert said.startswith("1 files failed, the others are loaded")
    assert "sz000999.csv" in said
    assert flows_env.rows("SELECT count(*) FROM stock_daily") == [(36,)]
    assert flows_env.instance.get_materialized_partitions(dg.AssetKey("stock_daily")) == {"2026-11"}


def test_refused_row_is_kept_with_its_line(flows_env: FlowsEnv) -> None:
    sample_flows.write(flows_env.data / "stock_daily", 1, FRIDAY)
    run = flows_env.run("stock_daily", NOVEMBER, checks=True)
    assert run.success
    assert verdicts(run) == PASSED
    [(unit, line, reason, raw)] = flows_env.rows("SELECT unit, line, reason, raw FROM marketdata_quarantine")
    assert (unit, line, reason) == ("sh600000.csv", 122, "breaks the rule 'prices above 0'")
    assert raw.startswith("sh600000,ST示例0000,2026-11-20,,")


def test_own_flow_is_an_asset_with_all_that_it_declares(flows_env: FlowsEnv) -> None:
    flows_env.declare("closes", PRICES + "  schedule: 0 18 * * *\n  sensor: true\n  owners: [me@example.com]\n")
    flows_env.deliver("a.csv", "symbol,day,close\nAAA,2024-01-02,1.5\n", "prices")
    repository = flows_env.repository()
    node = repository.asset_graph.get(dg.AssetKey("closes"))
    assert (node.group_name, node.owners) == ("flows", ["me@example.com"])
    assert [key.to_user_string() for key in node.parent_keys] == ["prices_files"]
    assert {"flows_closes_files"} <= {one.name for one in repository.sensor_defs}
    assert {"flows_closes_clock"} <= {one.name for one in repository.schedule_defs}
    run = flows_env.run("closes", checks=True)
    assert run.success
    assert verdicts(run) == PASSED
    assert flows_env.rows("SELECT symbol, day, close FROM prices") == [("AAA", dt.date(2024, 1, 2), 1.5)]


def rows_of_partitions(flows_env: FlowsEnv, run: dg.ExecuteInProcessResult) -> dict[str, int]:
    found = materializations(flows_env.instance, run, dg.AssetKey("closes"))
    return {partition: own["dagster/partition_row_count"] for partition, own in found.items()}


def test_months_have_partitions_from_the_one_that_is_declared(flows_env: FlowsEnv) -> None:
    flows_env.deliver("a.csv", "symbol,day,close\nAAA,1962-07-02,1.5\nAAA,1990-01-02,2\nAAA,2024-03-01,3\n", "prices")
    flows_env.declare("closes", PRICES + "  partitions: {month: day}\n")
    run = flows_env.run("closes", NOVEMBER)
    assert run.success
    assert told(run)["months_before_partitions"] == 1
    assert flows_env.rows("SELECT count(*) FROM prices") == [(3,)]
    assert flows_env.instance.get_materialized_partitions(dg.AssetKey("closes")) == {"1990-01", "2024-03"}
    assert rows_of_partitions(flows_env, run) == {"1990-01": 1, "2024-03": 1}
    flows_env.declare("closes", PRICES + "  partitions: {month: day, since: 1962-07}\n")
    again = flows_env.run("closes", NOVEMBER)
    assert again.success
    assert told(again)["files_unchanged"] == 1, "where partitions begin makes no row"
    assert (
        flows_env.repository().asset_graph.get(dg.AssetKey("closes")).partitions_def.get_first_partition_key()
        == "1962-07"
    )
    assert flows_env.run("closes", NOVEMBER, {"force": True}).success
    assert "1962-07" in flows_env.instance.get_materialized_partitions(dg.AssetKey("closes"))


def test_files_as_partitions_are_loaded_one_by_one(flows_env: FlowsEnv) -> None:
    flows_env.declare("closes", PRICES + "  partitions: file\n")
    for name in ("a.csv", "b.csv", "c.csv"):
        flows_env.deliver(name, f"symbol,day,close\n{name[0]},2024-01-02,1.5\n", "prices")
    flows_env.instance.add_dynamic_partitions("closes_files", ["a.csv", "b.csv", "gone.csv"])
    assert flows_env.run("closes", range_tags("a.csv", "a.csv")).success
    assert flows_env.rows("SELECT symbol FROM prices") == [("a",)]
    run = flows_env.run("closes", range_tags("a.csv", "gone.csv"))
    assert rows_of_partitions(flows_env, run) == {"a.csv": 1, "b.csv": 1}
    assert not run.success
    assert "gone.csv: no such file" in failures(run)["closes"]
    assert flows_env.rows("SELECT symbol FROM prices ORDER BY 1") == [("a",), ("b",)]
    assert flows_env.instance.get_materialized_partitions(dg.AssetKey("closes")) == {"a.csv", "b.csv"}


def test_files_of_another_folder_are_loaded_when_it_is_named(flows_env: FlowsEnv) -> None:
    flows_env.declare("closes")
    assert not flows_env.run("closes").success
    other = flows_env.deliver("a.csv", "symbol,day,close\nAAA,2024-01-02,1.5\n", "other").parent
    assert flows_env.run("closes", config={"data_dir": str(other)}).success
    assert flows_env.rows("SELECT count(*) FROM prices") == [(1,)]


def test_files_outside_of_the_folder_are_loaded_by_a_command_alone(flows_env: FlowsEnv, tmp_path: Path) -> None:
    flows_env.declare("closes")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.csv").write_text("symbol,day,close\nAAA,2024-01-02,1.5\n")
    roundabout = flows_env.data / ".." / elsewhere.name
    for folder in (elsewhere, roundabout, Path("/"), Path("elsewhere")):
        run = flows_env.run("closes", config={"data_dir": str(folder)})
        assert not run.success
        assert f"data_dir: {folder} is not below {flows_env.data}" in failures(run)["closes"]
        assert "MARKETDATA_FLOWS_DATA" in failures(run)["closes"]
    with of_a_command():
        assert flows_env.run("closes", config={"data_dir": str(elsewhere)}).success
    assert flows_env.rows("SELECT count(*) FROM prices") == [(1,)]


def test_broken_flow_takes_nothing_else_away_and_says_what_is_wrong(flows_env: FlowsEnv) -> None:
    file = flows_env.declare("closes", PRICES.replace("table:", "tabel:"))
    flows_env.declare("whole")
    nodes = flows_env.repository().asset_graph
    assert nodes.has(dg.AssetKey("whole"))
    said = nodes.get(dg.AssetKey("closes")).description or ""
    assert f"{file}:9: target.tabel: unknown key; did you mean 'table'?" in said


@pytest.mark.parametrize("name", ["dated", "class", "type", "中文", "a-b", "whole.1"])
@pytest.mark.parametrize(
    "text", ["a: 2024-02-30", PRICES.replace("folder: prices", 'folder: "a b/中文"'), "[" * 100_000]
)
def test_odd_names_of_folders_and_odd_files_take_nothing_else_away(flows_env: FlowsEnv, name: str, text: str) -> None:
    flows_env.declare(name, text)
    flows_env.declare("a.b", "a: !!int x")
    flows_env.declare("whole")
    nodes = flows_env.repository().asset_graph
    assert nodes.has(dg.AssetKey("whole"))
    assert nodes.has(dg.AssetKey("stock_1min_qfq"))


def test_flow_named_as_another_asset_is_refused_under_a_name_of_its_own(flows_env: FlowsEnv) -> None:
    file = flows_env.declare("stock_1min_qfq")
    nodes = flows_env.repository().asset_graph
    said = nodes.get(dg.AssetKey("stock_1min_qfq_broken")).description or ""
    assert f"{file}:3: name: 'stock_1min_qfq': an asset of this name exists already" in said
    assert nodes.get(dg.AssetKey("stock_1min_qfq")).group_name == "bars"
