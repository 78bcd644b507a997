"""What the UI knows of every asset beside its own definition: tags to select by, its code, where its columns come from.

Applied once, to all definitions. Columns and their meaning are in `metadata`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

from marketdata_assets.defs.metadata import CADENCES, LINEAGE, column_lineage, csv_rows
from marketdata_assets.defs.repair.health import START

PACKAGE = Path(__file__).parents[1]
DOMAINS = dict.fromkeys(("alpha_records", "alpha_correlations", "alpha_catalogues"), "alphas")
"""Of groups that are not called as their domain."""
STORES = {
    "postgres": "postgres",
    "mongodb": "mongodb",
    "clickhouse": "clickhouse",
    "file": "files",
    "parquet": "files",
    "http": "api",
    "websocket": "stream",
}
"""By kind; the first that an asset has."""
CODE = "dagster/code_references"
TAG = re.compile(r"[A-Za-z0-9_.-]{1,63}")


def described(defs: dg.Definitions, code_url: str | None = None) -> dg.Definitions:
    """The same definitions, each asset with tags, links to its code and the lineage of its columns.

    Code links lead to files of this machine, and those of the package below `code_url` where that is given.
    """
    by_key = {spec.key: spec for spec in specs(defs)}
    code = _code(defs, code_url)

    def describe(spec: dg.AssetSpec) -> dg.AssetSpec:
        if spec.key == dg.AssetKey(START):
            return spec
        metadata: dict[str, Any] = {CODE: code[spec.key]} if spec.key in code else {}
        if spec.key.to_user_string() in _lineages():
            metadata |= column_lineage(_lineages()[spec.key.to_user_string()])
        spec = spec.merge_attributes(metadata=metadata, tags=_tags(spec, by_key))
        return spec.replace_attributes(metadata=dict(spec.metadata) | _told(spec))

    return defs.map_resolved_asset_specs(func=describe)


def specs(defs: dg.Definitions) -> Iterator[dg.AssetSpec]:
    """Those of all assets, external ones included."""
    for asset in defs.assets or ():
        if isinstance(asset, dg.AssetSpec):
            yield asset
        elif isinstance(asset, dg.AssetsDefinition):
            yield from asset.specs


def names(defs: dg.Definitions) -> set[str]:
    """Those of all assets."""
    return {spec.key.to_user_string() for spec in specs(defs)}


def _told(spec: dg.AssetSpec) -> dict[str, Any]:
    """The columns with their lineage in words, since the open-source UI shows no column lineage."""
    schema, lineage = spec.metadata.get("dagster/column_schema"), spec.metadata.get(LINEAGE)
    if schema is None or lineage is None:
        return {}
    deps = lineage.deps_by_column
    columns = [
        dg.TableColumn(one.name, one.type, f"{one.description or ''} {_origin(deps[one.name])}".strip())
        if one.name in deps
        else one
        for one in schema.columns
    ]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def _origin(deps: Sequence[dg.TableColumnDep]) -> str:
    return "← " + ", ".join(f"`{dep.asset_key.to_user_string()}.{dep.column_name}`" for dep in deps)


@cache
def _lineages() -> dict[str, dict[str, list[tuple[str, str]]]]:
    """Of the assets in `column_lineage.csv`; a flow knows its own."""
    found: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for row in csv_rows("column_lineage.csv"):
        columns = found.setdefault(row["table"], {})
        columns.setdefault(row["column"], []).append((row["upstream"], row["upstream_column"]))
    return found


def _tags(spec: dg.AssetSpec, specs: Mapping[dg.AssetKey, dg.AssetSpec]) -> dict[str, str]:
    store = next((store for kind, store in STORES.items() if kind in spec.kinds), "dagster")
    cadence = next((name for policy, name in CADENCES if policy == spec.freshness_policy), "on_change")
    tags = {"domain": DOMAINS.get(spec.group_name or "", spec.group_name or ""), "store": store}
    if spec.deps:
        tags["cadence"] = cadence
    roots = sorted(key.to_user_string().replace("/", ".") for key in _roots(spec, specs))
    return tags | {f"source/{name}": "" for name in roots if TAG.fullmatch(name)}


def _roots(spec: dg.AssetSpec, specs: Mapping[dg.AssetKey, dg.AssetSpec]) -> set[dg.AssetKey]:
    """What outside of the project the asset is loaded or computed from; itself if it is there."""
    found, seen, open_specs = set[dg.AssetKey](), {spec.key}, [spec]
    while open_specs:
        one = open_specs.pop()
        if not one.deps:
            found.add(one.key)
        above = [specs[dep.asset_key] for dep in one.deps if dep.asset_key in specs and dep.asset_key not in seen]
        seen |= {parent.key for parent in above}
        open_specs += above
    return found


def _code(defs: dg.Definitions, code_url: str | None) -> dict[dg.AssetKey, dg.CodeReferencesMetadataValue]:
    computed = [asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition)]
    found = {}
    for asset in dg.with_source_code_references(computed):
        assert isinstance(asset, dg.AssetsDefinition)
        for key, metadata in asset.metadata_by_key.items():
            if references := metadata.get(CODE):
                found[key] = dg.CodeReferencesMetadataValue(
                    code_references=[_link(one, code_url) for one in references.code_references]
                )
    return found


def _link(
    reference: dg.LocalFileCodeReference | dg.UrlCodeReference, code_url: str | None
) -> dg.LocalFileCodeReference | dg.UrlCodeReference:
    if code_url is None or isinstance(reference, dg.UrlCodeReference):
        return reference
    path = Path(reference.file_path)
    if not path.is_relative_to(PACKAGE):
        return reference
    place = path.relative_to(PACKAGE.parent).as_posix()
    return dg.UrlCodeReference(url=f"{code_url.rstrip('/')}/{place}#L{reference.line_number}", label=place)
