"""The job over accounts and months of alphas that are no rectangle: packages and imports them in one run.

It does what the steps of the assets do, and evaluates their checks. Nothing is fetched.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from marketdata_assets.defs.alphas import accounts, report
from marketdata_assets.defs.alphas.assets import CHAIN, ImportConfig, Stores, load
from marketdata_assets.defs.partition_results import as_dagster_failure
from marketdata_assets.defs.selection import config_of
from marketdata_assets.errors import TerminalError
from marketdata_assets.partitions import ALPHA_MONTHS, Pair
from marketdata_assets.resources import AlphaFiles, Brain, Mongo, Workers

JOB, OP = "alphas_selected", "load_selected_alphas"
EXAMPLE = config_of(OP, {"account": ["2024-01", "2024-04"]})
"""What the launchpad shows."""


def pairs_of(config: Mapping[str, Any]) -> list[Pair]:
    """The accounts and months that the run config of this job names; none when it is of another."""
    months = config.get("ops", {}).get(OP, {}).get("config", {}).get("months", {})
    return [(account, month) for account, own in months.items() for month in own]


class SelectedConfig(ImportConfig):
    """Which months of which accounts, and how they are imported."""

    months: dict[str, list[str]]
    """By account its months, such as 2024-01."""


@dg.op(name=OP, pool="mongo", out=dg.Out(dg.Nothing))
def load_selected_alphas(
    context: dg.OpExecutionContext,
    config: SelectedConfig,
    mongo: Mongo,
    brain: Brain,
    alphas_dir: AlphaFiles,
    workers: Workers,
) -> None:
    """Package and import some months of some accounts, and check them."""
    with as_dagster_failure():
        pairs = _pairs(context, config)
        names = CHAIN[1:]
        ended = load(context, names, pairs, dict.fromkeys(names, config), Stores(mongo, brain, alphas_dir, workers))
    report.finish_selected(context, ended)


def _pairs(context: dg.OpExecutionContext, config: SelectedConfig) -> list[Pair]:
    """The selected pairs; their accounts become partitions, as the files of any account do."""
    keys = ALPHA_MONTHS.get_partition_keys()
    if wrong := [month for months in config.months.values() for month in months if month not in keys]:
        raise TerminalError(f"months: {wrong[0]!r} is no month from {keys[0]} to {keys[-1]}; write 2024-01")
    known = accounts.known(context.instance)
    if unknown := [account for account in config.months if account not in known]:
        raise TerminalError(f"months: {unknown[0]!r} is no account; there are {', '.join(known) or 'none'}")
    pairs = sorted({(account, month) for account, months in config.months.items() for month in months})
    if not pairs:
        raise TerminalError("months: there are none; write some of an account, such as 2024-01")
    return pairs


@dg.job(name=JOB, config=EXAMPLE, description="Package and import months of accounts that are no rectangle.")
def selected_job() -> None:
    load_selected_alphas()
