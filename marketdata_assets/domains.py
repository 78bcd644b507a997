"""The domains: what each is, declared once, and which of them MARKETDATA_DOMAINS chooses.

Our declarations are `DOMAIN` of the modules in `declarations`. Those of other packages are entry points of GROUP, each
a `Domain` under its name. Commands, metrics, pages, backups, the local stack and the nightly repair loop over them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from marketdata_assets.errors import did_you_mean

GROUP = "marketdata_assets.domains"
OWN = ("reference", "bars", "alphas", "ticks", "exchanges", "flows", "reconciliation")
"""In the order of `marketdata status`."""

Store = Literal["postgres", "clickhouse", "mongo"]
Table = list[dict[str, Any]]
Connection = Any
"""Of psycopg, a ClickHouse client, or MongoDB's databases, by the `store` of a domain."""
Settings = Any
"""`marketdata_assets.settings.Settings`, whose module imports this one."""


@dataclass(frozen=True)
class Domain:
    """One kind of data; its functions get a connection to its `store`, and the settings.

    Modules of drivers and of Dagster are imported when a function is called, so that the command line starts quickly.
    """

    name: str
    store: Store
    columns: Sequence[str]
    """What its table in `marketdata status` shows of a row."""
    load: str
    """The command behind `marketdata` that loads what is missing."""
    rows: Callable[[Connection, Settings, Any], Table]
    """A row for each asset, and for the files of each watched folder, now: see `overview.Row`."""
    files: Callable[[Connection, Settings, Any], Mapping[str, Sequence[Any]]] | None = None
    """The `FileEntry` of all files of its watched folders, now, by the `asset` of their row."""
    rejected: Callable[[Connection, Settings, int], Table] | None = None
    """Rejected rows, so many of a dataset at most: `dataset`, `place`, `reason`, `raw`, and what else is known."""
    loads: Mapping[str, str] = field(default_factory=dict)
    """The commands that load its other assets, by the asset or by what it begins with."""
    load_files: str = ""
    """The command that loads new files, where it is another."""
    register_files: Callable[[Connection, Settings, Any], None] | None = None
    """Records new and changed files, now; commands do so before they show rows, and pages write nothing."""
    servers: Sequence[str] = ()
    """What it needs besides its store; Dagster's own storage is in PostgreSQL, so that one always runs."""
    needs: Sequence[str] = ()
    """Domains that are loaded with it, because its completeness or its rows come from their tables."""
    make_tables: str = ""
    """`module:function` that creates its missing tables with a connection, ahead of a load."""
    backed_up: Callable[[Settings], Sequence[str]] = lambda _: ()
    """The tables of its store that a backup has, beside the shared ledger and quarantine; of MongoDB the databases."""
    definitions: str = ""
    """`module:function` that gives its `dagster.Definitions`; ours have theirs below `defs`."""
    repairs: str = ""
    """`module:function` that gives what the nightly repair checks: a sequence of `defs.runs.Repair`."""

    @property
    def all_servers(self) -> set[str]:
        return {self.store, *self.servers}


def names() -> tuple[str, ...]:
    """All domains, ours first."""
    return (*OWN, *(name for name in sorted(_registered()) if name not in OWN))


@cache
def find(name: str) -> Domain:
    """The declaration of a domain. Raises KeyError."""
    if name in OWN:
        ours: Domain = import_module(f"marketdata_assets.declarations.{name}").DOMAIN
        return ours
    theirs: Domain = _registered()[name].load()
    return theirs


def every() -> Iterator[Domain]:
    """All declarations, in the order of the names."""
    return map(find, names())


def chosen(text: str | None) -> tuple[str, ...]:
    """The domains in a text such as `bars,flows`, and those that they need; all without a text.

    Raises ValueError when one does not exist.
    """
    wanted = {name.strip() for name in (text or "").split(",") if name.strip()}
    if not wanted:
        return names()
    if unknown := sorted(wanted - {*names()}):
        raise ValueError(f"{unknown[0]} is no domain; {did_you_mean(unknown[0], names())}")
    missing = wanted
    while missing:
        missing = {need for name in missing for need in find(name).needs} - wanted
        wanted |= missing
    return tuple(name for name in names() if name in wanted)


@cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
