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
from marketdata_assets.defs.metadata import check_result
from marketdata_assets.partitions import BRAIN_ACCOUNTS, Pair, alpha_pairs
from marketdata_assets.resources import AlphaFiles, Brain, Mongo

if TYPE_CHECKING:
    from marketdata_assets.alphas.import_modes import FieldModes
    from marketdata_assets.stores.mongo import Databases

DESCRIPTIONS = {
    "every_id_landed": "A month has at least as many documents as its packages have ids that were not rejected.",
    "unique_ids": "No id occurs twice.",
    "unique_check_names": "No alpha has two checks of one name.",
    "required_fields": "Every alpha has id, type, dateCreated and settings.",
    "repeat_changes_nothing": "Importing the packages again would write nothing.",
}
ADVICE = ("required_fields",)  # alphas are kept as the API delivers them; a missing field is a warning, not an error


def _checks(kind: Kind) -> dg.AssetChecksDefinition:
    asset = dg.AssetKey(f"{kind}_alphas")
    specs = [dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in DESCRIPTIONS.items()]

    @dg.multi_asset_check(name=f"{kind}_alphas_checks", specs=specs, can_subset=True, pool="mongo")
    def alpha_checks(
        context: dg.AssetCheckExecutionContext, mongo: Mongo, alphas_dir: AlphaFiles, brain: Brain
    ) -> Iterator[dg.AssetCheckResult]:
        from marketdata_assets.alphas.importer import database_name
        from marketdata_assets.stores import mongo_ledger

        wanted = {key.name for key in context.selected_asset_check_keys}
        with mongo.databases() as databases:
            database = databases[database_name(kind)]
            accounts = context.instance.get_dynamic_partitions(str(BRAIN_ACCOUNTS.name))
            pairs = alpha_pairs(context.run.tags, accounts)
            if not pairs:  # a check that is run alone
                known = mongo_ledger.entries(database, database_name(kind))
                pairs = sorted({(entry.source, entry.unit[:7]) for entry in known})
            yield from answers(databases, alphas_dir.path, kind, pairs, brain.fields(), wanted)

    return alpha_checks


def answers(
    databases: "Databases",
    folder: Path,
    kind: Kind,
    pairs: Sequence[Pair],
    fields: "Mapping[str, FieldModes]",
    wanted: Collection[str],
) -> Iterator[dg.AssetCheckResult]:
    """The answers of the `wanted` checks about accounts and months."""
    from marketdata_assets.alphas import checks
    from marketdata_assets.alphas.importer import database_name

    scope = checks.Scope(databases[database_name(kind)], folder, kind, pairs, fields)
    for name in DESCRIPTIONS:
        if name in wanted:
            finding = replace(getattr(checks, name)(scope), facts={"partitions": len(pairs)})
            yield check_result(f"{kind}_alphas", name, finding, advice=name in ADVICE)


RECORD_CHECKS = {
    "records_complete": "Every alpha that matches the filters has a record set of its current version.",
    "records_valid": "Columns are equally long, times ascend, and correlations are between -1 and 1.",
}


def _record_checks(record_set: RecordSet) -> dg.AssetChecksDefinition:
    name = asset_name(record_set)
    specs = [dg.AssetCheckSpec(check, asset=name, description=text) for check, text in RECORD_CHECKS.items()]

    @dg.multi_asset_check(name=f"{name}_checks", specs=specs, can_subset=True, pool="mongo")
    def record_checks(
        context: dg.AssetCheckExecutionContext, mongo: Mongo, brain: Brain
    ) -> Iterator[dg.AssetCheckResult]:
        from marketdata_assets.alphas import checks
        from marketdata_assets.stores import mongo_ledger

        selected = {key.name for key in context.selected_asset_check_keys}
        with mongo.databases() as databases:
            accounts = context.instance.get_dynamic_partitions(str(BRAIN_ACCOUNTS.name))
            pairs = alpha_pairs(context.run.tags, accounts)
            if not pairs:  # a check that is run alone
                pairs = sorted({(one.source, one.unit) for one in mongo_ledger.entries(databases[name], name)})
            scope = checks.RecordScope(databases, record_set, pairs, brain.filters())
            for check in RECORD_CHECKS:
                if check in selected:
                    finding = getattr(checks, check)(scope)
                    yield check_result(name, check, replace(finding, facts={"partitions": len(pairs)}))

    return record_checks


@dg.definitions
def defs() -> dg.Definitions:
    checks = [_checks(kind) for kind in KINDS] + [_record_checks(record_set) for record_set in RECORD_SETS]
    return dg.Definitions(asset_checks=checks)
