"""Checks of the alphas domain, on the months and accounts of the run; those of a kind share one step and one client.

The queries are in `marketdata_assets.alphas.checks`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.record_sets import RECORD_SETS, RecordSet, asset_name
from marketdata_assets.defs.checks import results, specs
from marketdata_assets.partitions import BRAIN_ACCOUNTS, Pair, alpha_pairs
from marketdata_assets.resources import AlphaFiles, Brain, Mongo

if TYPE_CHECKING:
    from marketdata_assets.alphas.import_modes import FieldModes
    from marketdata_assets.stores.mongo import Databases


def _checks(kind: Kind) -> dg.AssetChecksDefinition:
    asset = f"{kind}_alphas"

    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs(asset), can_subset=True, pool="mongo")
    def alpha_checks(
        context: dg.AssetCheckExecutionContext, mongo: Mongo, alphas_dir: AlphaFiles, brain: Brain
    ) -> Iterator[dg.AssetCheckResult]:
        from marketdata_assets.alphas.importer import database_name
        from marketdata_assets.stores import mongo_ledger

        with mongo.databases() as databases:
            database = databases[database_name(kind)]
            accounts = context.instance.get_dynamic_partitions(str(BRAIN_ACCOUNTS.name))
            pairs = alpha_pairs(context.run.tags, accounts)
            if not pairs:  # a check that is run alone
                known = mongo_ledger.entries(database, database_name(kind))
                pairs = sorted({(entry.source, entry.unit[:7]) for entry in known})
            wanted = context.selected_asset_check_keys
            yield from answers(databases, alphas_dir.path, kind, pairs, brain.fields(), wanted)

    return alpha_checks


def answers(
    databases: "Databases",
    folder: Path,
    kind: Kind,
    pairs: Sequence[Pair],
    fields: "Mapping[str, FieldModes]",
    wanted: Collection[dg.AssetCheckKey] | None = None,
) -> Iterator[dg.AssetCheckResult]:
    """The answers of the `wanted` checks about accounts and months, or of all."""
    from marketdata_assets.alphas import checks
    from marketdata_assets.alphas.importer import database_name

    scope = checks.Scope(databases[database_name(kind)], folder, kind, pairs, fields)
    facts = {"partitions": len(pairs)}
    yield from results([f"{kind}_alphas"], wanted, lambda _, name: replace(getattr(checks, name)(scope), facts=facts))


def _record_checks(record_set: RecordSet) -> dg.AssetChecksDefinition:
    name = asset_name(record_set)

    @dg.multi_asset_check(name=f"{name}_checks", specs=specs(name), can_subset=True, pool="mongo")
    def record_checks(
        context: dg.AssetCheckExecutionContext, mongo: Mongo, brain: Brain
    ) -> Iterator[dg.AssetCheckResult]:
        from marketdata_assets.alphas import checks
        from marketdata_assets.stores import mongo_ledger

        with mongo.databases() as databases:
            accounts = context.instance.get_dynamic_partitions(str(BRAIN_ACCOUNTS.name))
            pairs = alpha_pairs(context.run.tags, accounts)
            if not pairs:  # a check that is run alone
                pairs = sorted({(one.source, one.unit) for one in mongo_ledger.entries(databases[name], name)})
            scope = checks.RecordScope(databases, record_set, pairs, brain.filters())
            facts = {"partitions": len(pairs)}
            yield from results(
                [name],
                context.selected_asset_check_keys,
                lambda _, check: replace(getattr(checks, check)(scope), facts=facts),
            )

    return record_checks


all_checks = [_checks(kind) for kind in KINDS] + [_record_checks(record_set) for record_set in RECORD_SETS]
