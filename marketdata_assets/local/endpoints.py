"""Where the four servers are: the environment first, then the stack that runs on the data folder.

Starting servers belongs to `stack`, and reading the environment to `settings`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from marketdata_assets.local import postgres, record
from marketdata_assets.local.errors import NoServer
from marketdata_assets.stores import clickhouse_address

if TYPE_CHECKING:
    from pathlib import Path

    from marketdata_assets.budget import BudgetPlace
    from marketdata_assets.settings import Settings

STORES = {"postgres_dsn": "Postgres", "mongo_uri": "MongoDB", "clickhouse_url": "ClickHouse", "nats_url": "NATS"}
VARIABLES = {name: f"MARKETDATA_{name.upper()}" for name in STORES}
"""The environment variable of each address."""


@dataclass(frozen=True)
class Endpoints:
    """What clients connect to; None where there is no server."""

    postgres_dsn: str | None = None
    mongo_uri: str | None = None
    clickhouse_url: str | None = None
    nats_url: str | None = None
    dagster_pg: str | None = None


def resolve(settings: Settings) -> Endpoints:
    """Look up every server: the environment wins, then what a living stack wrote in HOME/stack.json, else None."""
    found = record.read(settings.root)
    return merge(settings, found.urls if found is not None and found.alive else {})


def address(settings: Settings, name: str) -> str:
    """The address of one server, by its field of Endpoints; raises NoServer when nothing names one."""
    found: str | None = getattr(resolve(settings), name)
    if found is None:
        raise NoServer(STORES[name], VARIABLES[name])
    return found


def budgets(settings: Settings, folder: Path, scope: str = "") -> BudgetPlace:
    """Where rate budgets are kept: in `folder`, or in a database, where their names begin with `scope`.

    Raises NoServer when that database is the one for bars and nothing names it.
    """
    if settings.budgets is None:
        return folder
    from marketdata_assets.stores.budgets import PostgresBudgets

    at = address(settings, "postgres_dsn") if settings.budgets == "database" else settings.budgets
    return PostgresBudgets(at, scope)


def exchange_budgets(settings: Settings) -> BudgetPlace:
    """The rate budgets of the venues' REST, without the shares that are reserved for other programs.

    Raises NoServer as `budgets`, and UnknownExchange.
    """
    from marketdata_assets.budget import ReservedShares
    from marketdata_assets.exchanges import venues

    found = [(venues.find(name), share) for name, share in settings.exchange_reserved.items()]
    shares = {venue.pool(market): share for venue, share in found for market in venue.markets}
    place = budgets(settings, settings.budgets_folder)
    return ReservedShares(place, shares) if shares else place


def merge(settings: Settings, local: dict[str, str]) -> Endpoints:
    """The local URLs with those of the environment over them."""
    known = {field.name for field in fields(Endpoints)}
    named = {name: url for name in VARIABLES if (url := getattr(settings, name)) is not None}
    if url := clickhouse_address.with_cluster(named.get("clickhouse_url"), settings.clickhouse_cluster):
        named["clickhouse_url"] = url
    return Endpoints(**{name: url for name, url in local.items() if name in known} | named)


def as_environment(endpoints: Endpoints) -> dict[str, str]:
    """The variables that give a child process these endpoints, Dagster's storage included."""
    urls = {variable: getattr(endpoints, name) for name, variable in VARIABLES.items()}
    environment = {variable: url for variable, url in urls.items() if url is not None}
    if endpoints.dagster_pg is not None:
        environment |= postgres.dagster_environment(endpoints.dagster_pg)
    return environment
