"""The project's definitions, loaded again only when what they depend on has changed: to load them takes a second."""

import datetime as dt
import logging
from functools import lru_cache

import dagster as dg

from marketdata_assets import logs
from marketdata_assets.definitions import defs
from marketdata_assets.settings import Settings


def definitions() -> dg.Definitions:
    """Those of the settings, their flows and the hour."""
    found = Settings()
    own = sorted((path, path.read_bytes()) for path in found.flows_folder.rglob("*") if path.is_file())
    hour = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
    logs.configure(found.log_format, logging.INFO)
    names = (found.domain_names, found.ticks_months, found.exchange_days, found.code_url, found.flows_folder)
    return _loaded(*names, tuple(own), hour)


@lru_cache(8)
def _loaded(*_depending_on: object) -> dg.Definitions:
    return defs()
