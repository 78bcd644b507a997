"""Checks of the ticks domain, run in the step that loads, on the months and symbols of the run.

The queries are in `marketdata_assets.ticks.checks`. They run even when some symbols failed: the others are loaded.
"""

from collections.abc import Collection, Iterator, Sequence

import dagster as dg

from marketdata_assets.defs.checks import results, specs
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.reports import Unit

ASSETS = ("tick_data", "factors")
SPECS = specs(*ASSETS)


def answers(
    client: Client, wanted: Collection[dg.AssetCheckKey], units: Sequence[Unit]
) -> Iterator[dg.AssetCheckResult]:
    """Run the checks that are `wanted`; on the newest loaded month when there are no `units`."""
    from marketdata_assets.ticks import checks as questions

    if not wanted:
        return
    question = questions.Question.of(client, units) if units else questions.newest(client)
    yield from results(ASSETS, wanted, lambda _, name: getattr(questions, name)(question))
