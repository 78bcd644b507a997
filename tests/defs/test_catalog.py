"""What the UI knows of every asset: tags, code, lineage of columns, and the page to begin with."""

import re
from pathlib import Path
from urllib.parse import unquote

import dagster as dg
import pytest

from marketdata_assets import resources
from marketdata_assets.definitions import project_definitions
from marketdata_assets.defs import catalog
from marketdata_assets.defs.flows import build
from marketdata_assets.defs.repair.health import START
from marketdata_assets.flows import discovery
from tests.defs.bar_runs import repository
from tests.project_definitions import definitions

DERIVED = ("stock_1min_qfq", "stock_monthly_kline", "exchange_ohlcv_1m", "factors", "stock_daily", "reconciliation")
URL = "https://example.com/owner/name/blob/v1"


@pytest.fixture(scope="module")
def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions().resolve_all_asset_specs()}


def columns(spec: dg.AssetSpec) -> dict[str, str]:
    schema = spec.metadata.get("dagster/column_schema")
    return {column.name: column.description or "" for column in schema.columns} if schema else {}


def test_every_asset_has_the_tags_by_which_it_is_selected(specs: dict[str, dg.AssetSpec]) -> None:
    outside = {name for name, spec in specs.items() if not spec.deps}
    for name, spec in specs.items():
        if name == START:
            continue
        sources = {tag.removeprefix("source/") for tag in spec.tags if tag.startswith("source/")}
        assert spec.tags["domain"] in (spec.group_name, "alphas"), name
        assert spec.tags["store"] in {*catalog.STORES.values(), "dagster"}, name
        assert sources <= outside, name
        assert sources, name
        assert ("cadence" in spec.tags) == (name not in outside), name
    assert specs["stock_monthly_kline"].tags["store"] == "postgres"
    assert specs["exchange_trades"].tags["cadence"] == "streamed"
    assert "source/tick_files" in specs["factors"].tags
    assert "source/exchange_feed" not in specs["factors"].tags


def test_every_computed_asset_leads_to_its_code(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        if spec.deps:
            for reference in spec.metadata[catalog.CODE].code_references:
                lines = Path(reference.file_path).read_text("utf-8").splitlines()
                line = lines[reference.line_number - 1]
                assert re.match(r"\s*(@\w|type: |attributes:|def )", line), (name, reference)


def test_code_links_lead_to_the_repository_where_its_address_is_given() -> None:
    @dg.asset(group_name="flows")
    def own() -> None:
        """Not of the package."""

    ours = dg.Definitions.merge(project_definitions(), dg.Definitions([own], resources=resources.by_name()))
    described = catalog.described(ours, f"{URL}/")
    links = {spec.key.to_user_string(): spec.metadata.get(catalog.CODE) for spec in described.resolve_all_asset_specs()}
    [link] = links["stock_1min_qfq"].code_references  # type: ignore[union-attr]
    assert re.fullmatch(URL + r"/marketdata_assets/defs/bars/assets\.py#L\d+", link.url)
    [local] = links["own"].code_references  # type: ignore[union-attr]
    assert local.file_path == __file__


def test_lineage_of_columns_names_columns_that_there_are(specs: dict[str, dg.AssetSpec]) -> None:
    graph = repository().asset_graph
    for name, spec in specs.items():
        lineage = spec.metadata.get(catalog.LINEAGE)
        for column, deps in lineage.deps_by_column.items() if lineage else ():
            told = columns(spec)[column]
            for dep in deps:
                above = dep.asset_key.to_user_string()
                assert dep.column_name in columns(specs[above]), (name, column, dep)
                assert dep.asset_key in graph.get_ancestor_asset_keys(spec.key), (name, dep)
                assert f"`{above}.{dep.column_name}`" in told


@pytest.mark.parametrize("name", DERIVED)
def test_derived_tables_have_the_lineage_of_their_columns(specs: dict[str, dg.AssetSpec], name: str) -> None:
    without = columns(specs[name]).keys() - specs[name].metadata[catalog.LINEAGE].deps_by_column.keys()
    ours = {
        "factor",
        "provider",
        "created_at",
        "updated_at",
        "etl_unit",
        "field",
        "source",
        "other_source",
        "tolerance",
    }
    if name == "stock_daily":
        ours |= {"trading_days", "suspicious"}  # of handlers that are functions
    assert without <= ours


def test_a_derived_column_of_a_flow_comes_from_the_columns_that_its_expression_names() -> None:
    flow = next(one.flow for one in discovery.shipped() if one.name == "stock_daily")
    assert flow is not None
    files = build.files_key(flow)
    assert build.lineage(flow)["pct_change"] == [(files, "前收盘价"), (files, "收盘价")]
    assert build.lineage(flow)["open"] == [(files, "开盘价")]


def test_the_first_page_leads_to_every_group_and_to_selections_of_something(specs: dict[str, dg.AssetSpec]) -> None:
    links = re.findall(r"\]\((/[^)]*)\)", specs[START].description or "")
    groups = {found[1] for link in links if (found := re.fullmatch(r"/locations/\w+/asset-groups/(\w+)/lineage", link))}
    assert groups == {spec.group_name for spec in specs.values()} - {START}
    selections = [unquote(link.split("asset-selection=")[1]) for link in links if "asset-selection=" in link]
    assert len(selections) >= 5
    graph = repository().asset_graph
    for selection in selections:
        assert dg.AssetSelection.from_string(selection).resolve(graph), selection
