"""Checks of the ticks domain, run in the step that loads, on the months and symbols of the run.

The queries are in `marketdata_assets.ticks.checks`. They run even when some symbols failed: the others are loaded.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from marketdata_assets.defs.metadata import check_evaluation, check_result
from marketdata_assets.ticks.reports import Unit

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DESCRIPTIONS = {
    ("tick_data", "duplicates"): "No symbol has two bars of one minute.",
    ("tick_data", "ohlc_order"): "High is the highest and low the lowest of the four prices.",
    ("tick_data", "price_bounds"): "Prices are inside the bounds of the providers file; a bar beyond them is kept.",
    ("tick_data", "volume_bounds"): "Volumes are inside the bounds of the providers file; a bar beyond them is kept.",
    ("tick_data", "units_agree"): "Turnover / volume of a day is a price of the day; else it has no factors.",
    ("tick_data", "prices_in_limits"): "Prices are inside the price limits of the day, where there are any.",
    (
        "tick_data",
        "ticks_complete",
    ): "Every symbol has every minute of every day on which it was listed and not suspended; what is missing is named.",
    ("tick_data", "ledger_agrees"): "The ledger has as many rows of each symbol-month as the three tables.",
    ("factors", "factors_recomputed"): "Of a sample of symbols, the factors equal a recomputation from the bars.",
}
ADVICE = ("price_bounds", "volume_bounds")
"""What providers sent is kept as they sent it; these are for a person to review, and stop nothing."""

SPECS = [dg.AssetCheckSpec(name, asset=asset, description=text) for (asset, name), text in DESCRIPTIONS.items()]


def answers(
    client: "Client", wanted: Collection[dg.AssetCheckKey], units: Sequence[Unit]
) -> Iterator[dg.AssetCheckResult]:
    """Run the checks that are `wanted`; on the newest loaded month when there are no `units`."""
    from marketdata_assets.ticks import checks as questions

    if not wanted:
        return
    question = questions.Question.of(client, units) if units else questions.newest(client)
    for asset, name in DESCRIPTIONS:
        if dg.AssetCheckKey(dg.AssetKey(asset), name) in wanted:
            yield check_result(asset, name, getattr(questions, name)(question), advice=name in ADVICE)


def evaluations(client: "Client", tables: Collection[str], units: Sequence[Unit]) -> list[dg.AssetCheckEvaluation]:
    """The same for a job without assets: the checks of `tables`, to be logged."""
    wanted = {dg.AssetCheckKey(dg.AssetKey(asset), name) for asset, name in DESCRIPTIONS if asset in tables}
    return [check_evaluation(answer) for answer in answers(client, wanted, units)]
