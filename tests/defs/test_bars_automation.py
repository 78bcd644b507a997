"""The K-line behind the bars: each month whose bars were loaded is asked for once, however old it is."""

from collections.abc import Iterator

import dagster as dg
from bar_runs import BARS, KLINE, Warehouse, definitions, deliver


def evaluations(warehouse: Warehouse) -> Iterator[set[str]]:
    """One tick of the automation after another: the months of the K-line that each asks for."""
    cursor = None
    while True:
        result = dg.evaluate_automation_conditions(defs=definitions(), instance=warehouse.instance, cursor=cursor)
        cursor = result.cursor
        assert result.get_num_requested(BARS) == 0
        yield {str(key) for key in result.get_requested_partitions(KLINE)}


def report(warehouse: Warehouse, asset: dg.AssetKey, *months: str) -> None:
    for month in months:
        warehouse.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=month))


def test_month_of_long_ago_is_asked_for_once(warehouse: Warehouse) -> None:
    asked = evaluations(warehouse)
    assert next(asked) == set()
    report(warehouse, BARS, "2014-03")
    assert [next(asked), next(asked), next(asked)] == [{"2014-03"}, set(), set()]
    report(warehouse, KLINE, "2014-03")
    assert next(asked) == set()


def test_bars_loaded_again_ask_again(warehouse: Warehouse) -> None:
    asked = evaluations(warehouse)
    next(asked)
    for _ in range(2):
        report(warehouse, BARS, "2014-03")
        assert next(asked) == {"2014-03"}
        report(warehouse, KLINE, "2014-03")
        assert next(asked) == set()


def test_every_month_that_a_redelivery_touched_is_asked_for(warehouse: Warehouse) -> None:
    deliver(warehouse.folder, 2014, [1, 2, 3])
    assert warehouse.run("2014-01", "2014-03").success
    asked = evaluations(warehouse)
    next(asked)
    deliver(warehouse.folder, 2014, [1, 2, 3], dividend=2.0, age_seconds=1800)
    assert warehouse.run("2014-02", job="bars").success
    assert next(asked) == {"2014-01", "2014-02", "2014-03"}
    assert next(asked) == set()


def test_run_that_refreshed_the_kline_itself_leaves_nothing_to_ask(warehouse: Warehouse) -> None:
    deliver(warehouse.folder, 2014, [3, 4])
    asked = evaluations(warehouse)
    next(asked)
    assert warehouse.run("2014-03", "2014-04").success
    assert [next(asked), next(asked)] == [set(), set()]


def test_months_that_failed_are_not_asked_for(warehouse: Warehouse) -> None:
    deliver(warehouse.folder, 2014, [12])
    bad = deliver(warehouse.folder, 2015, [1])
    bad.write_bytes(bad.read_bytes()[:-40])
    asked = evaluations(warehouse)
    next(asked)
    assert not warehouse.run("2014-12", "2015-01", job="bars").success
    assert [next(asked), next(asked)] == [{"2014-12"}, set()]


def test_current_month_is_asked_for_like_any_other(warehouse: Warehouse) -> None:
    from marketdata_assets.partitions import BAR_MONTHS

    current = BAR_MONTHS.get_partition_keys()[-1]
    asked = evaluations(warehouse)
    next(asked)
    report(warehouse, BARS, current)
    assert [next(asked), next(asked)] == [{current}, set()]
