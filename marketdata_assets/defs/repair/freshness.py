"""How old what an asset was last given may be: a policy for each asset that has a rhythm of its own.

Assets that wait for files, which come when they come, have none. Exchanges close for up to eleven days in China.
"""

import datetime as dt
from collections.abc import Iterable

import dagster as dg

from marketdata_assets.defs.exchanges.report import TABLES

HOURLY = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(hours=26), warn_window=dt.timedelta(hours=3))
STREAMED = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(hours=6), warn_window=dt.timedelta(hours=1))
RARE = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=7), warn_window=dt.timedelta(days=2))
TRADING_DAYS = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=12), warn_window=dt.timedelta(days=4))
WEEKDAYS = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=5), warn_window=dt.timedelta(days=3, hours=12))

POLICIES = {
    **dict.fromkeys(("alpha_files", "alpha_packages", "regular_alphas", "super_alphas", "alpha_summary"), HOURLY),
    **dict.fromkeys(("tick_data", "factors", "suspensions", "adjust_factors", "price_limits"), TRADING_DAYS),
    **dict.fromkeys(("symbol_registry", "trading_calendar", "instruments"), WEEKDAYS),
    **dict.fromkeys(TABLES, STREAMED),
    "exchange_liquidations": RARE,
    **dict.fromkeys(("exchange_gaps", "exchange_ohlcv_1m"), HOURLY),
}


def applied(defs: dg.Definitions, scheduled_flows: Iterable[str]) -> dg.Definitions:
    """The same definitions, each asset with its policy; a flow has one when it runs by the clock."""
    wanted = POLICIES | dict.fromkeys(scheduled_flows, TRADING_DAYS)

    def fresh(spec: dg.AssetSpec) -> dg.AssetSpec:
        policy = wanted.get(spec.key.to_user_string())
        return spec.replace_attributes(freshness_policy=policy) if policy else spec

    return defs.map_resolved_asset_specs(func=fresh)
