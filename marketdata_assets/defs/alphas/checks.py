"""Checks of the alphas domain, on the months and accounts of the run; those of a kind share one step and one client.

The queries are in `marketdata_assets.alphas.checks`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import msgspec

from marketdata_assets.alphas import catalogues
from marketdata_assets.alphas.filters import parse
from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.record_sets import RECORD_SETS, RecordSet, asset_name
from marketdata_assets.defs.checks import results, specs
from marketdata_assets.defs.selection import step_config
from marketdata_assets.partitions import BRAIN_ACCOUNTS, Pair, alpha_pairs, dynamic_keys
from marketdata_assets.resources import AlphaFiles, Brain, Mongo

if TYPE_CHECKING:
    from marketdata_assets.stores.mongo import Databases


def _checks(about: Kind | RecordSet) -> dg.AssetChecksDefinition:
    asset = asset_of(about)

    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs(asset), can_subset=True, pool="mongo")
    def alpha_checks(
        context: dg.AssetCheckExecutionContext, mongo: Mongo, alphas_dir: AlphaFiles, brain: Brain
    ) -> Iterator[dg.AssetCheckResult]:
        from marketdata_assets.stores import mongo_ledger

        with mongo.databases() as databases:
            pairs = alpha_pairs(context.run.tags, dynamic_keys(context.instance, BRAIN_ACCOUNTS))
            if not pairs:  # a check that is run alone
                entries = mongo_ledger.entries(databases[asset], asset)
                pairs = sorted({(entry.source, entry.unit[:7]) for entry in entries})
            requested = step_config(context.run.run_config, asset).get("filters")
            selected = context.selected_asset_check_keys
            yield from answers(databases, alphas_dir.path, about, pairs, brain, selected, requested)

    return alpha_checks


def asset_of(about: Kind | RecordSet) -> str:
    """The asset of a kind of alphas or of a record set, and the name of its database."""
    return f"{about}_alphas" if about == "regular" or about == "super" else asset_name(about)


def answers(
    databases: "Databases",
    folder: Path,
    about: Kind | RecordSet,
    pairs: Sequence[Pair],
    brain: Brain,
    wanted: Collection[dg.AssetCheckKey] | None = None,
    requested: Mapping[str, Any] | None = None,
) -> Iterator[dg.AssetCheckResult]:
    """The answers of the `wanted` checks about accounts and months, or of all.

    Record sets are those of the alphas that `requested` chooses, the filters of the run, or else the setting.
    """
    from marketdata_assets.alphas import checks

    facts: dict[str, int | str] = {"partitions": len(pairs)}
    scope: checks.Scope | checks.RecordScope
    if about == "regular" or about == "super":
        scope = checks.Scope(databases[asset_of(about)], folder, about, pairs, brain.fields())
    else:
        filters = parse(requested) if requested else brain.filters()
        facts["filters"] = msgspec.json.encode(filters).decode()
        scope = checks.RecordScope(databases, about, pairs, filters)
    yield from results([asset_of(about)], wanted, lambda _, name: replace(getattr(checks, name)(scope), facts=facts))


def _catalogue_checks(name: catalogues.Name) -> dg.AssetChecksDefinition:
    asset = catalogues.asset_name(name)

    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs(asset), pool="mongo")
    def catalogue_checks(mongo: Mongo) -> Iterator[dg.AssetCheckResult]:
        from marketdata_assets.alphas import checks

        with mongo.databases() as databases:
            yield from results([asset], None, lambda _, check: getattr(checks, check)(databases, name))

    return catalogue_checks


all_checks = [*map(_checks, (*KINDS, *RECORD_SETS)), *map(_catalogue_checks, catalogues.NAMES)]
