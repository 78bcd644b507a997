"""The files that the shipped flows read. The flows themselves are in the folders beside this file."""

import dagster as dg

from marketdata_assets.defs.flows import build
from marketdata_assets.flows import discovery

stock_daily_files = dg.AssetSpec(
    "stock_daily_files",
    group_name="flows",
    kinds={"file", "csv"},
    owners=["team:market-data"],
    description="Daily prices of A-shares, one CSV per stock with its whole history, as the vendor delivers them into"
    " `stock_daily` below `MARKETDATA_FLOWS_DATA`: GBK, a notice in line 1, 38 columns.",
)


@dg.definitions
def defs() -> dg.Definitions:
    [schema] = [build.files_schema(one.flow) for one in discovery.shipped() if one.flow and one.name == "stock_daily"]
    return dg.Definitions(assets=[stock_daily_files.replace_attributes(metadata=schema)])
