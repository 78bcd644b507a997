"""What each handler of `steps` does to a frame. One function for each config class, registered in `HANDLERS`."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

import polars as pl

from marketdata_assets.flows import steps
from marketdata_assets.flows.handlers import columns, groups, rows
from marketdata_assets.flows.handlers.call import call
from marketdata_assets.flows.handlers.given import Given

Handler = Callable[[Any, pl.DataFrame, Given], pl.DataFrame | Awaitable[pl.DataFrame]]

HANDLERS: Mapping[type[steps.HandlerConfig], Handler] = MappingProxyType(
    {
        steps.Rename: columns.rename,
        steps.Select: columns.select,
        steps.Parse: columns.parse,
        steps.Derive: columns.derive,
        steps.DropInvalid: rows.drop_invalid,
        steps.Flag: rows.flag,
        steps.Sort: rows.sort,
        steps.RunningCount: groups.running_count,
        steps.MovingAverage: groups.moving_average,
        steps.Volatility: groups.volatility,
        steps.Ema: groups.ema,
        steps.Rsi: groups.rsi,
        steps.Macd: groups.macd,
        steps.Call: call,
    }
)
