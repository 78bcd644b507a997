"""Finds the descriptors of venues by name: those of this package, and those that other packages register.

Another package registers a venue as an entry point of the group `marketdata_assets.venues`: its name, and the `Venue`.
"""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from marketdata_assets.exchanges.errors import UnknownExchange

if TYPE_CHECKING:
    from marketdata_assets.exchanges.venue import Venue

APART = ("testnet", "simulated")  # `Apart` of `venue`

OWN = ("binance", "okx", "deribit", "bybit", "hyperliquid", "kraken", "coinbase")
"""The venues of this package, each a folder with a module `venue`. Adding one here registers it."""

GROUP = "marketdata_assets.venues"


@cache
def names() -> tuple[str, ...]:
    """The names of all venues, our own first."""
    return (*OWN, *(name for name in sorted(_registered()) if name not in OWN))


def with_apart(name: str) -> tuple[str, ...]:
    """The name of a venue, and the exchanges of its testnet and its simulator."""
    return name, *(f"{name}-{kind}" for kind in APART)


def known() -> tuple[str, ...]:
    """All exchanges that a record may be of."""
    return tuple(one for name in names() for one in with_apart(name))


def main_of(name: str) -> str:
    """The venue of an exchange: okx of okx-testnet."""
    main, _, kind = name.rpartition("-")
    return main if kind in APART else name


def unknown(name: str) -> UnknownExchange:
    """The error about a name that is none, with the nearest that there are."""
    return UnknownExchange(name, [one for one in (known() if "-" in name else names()) if one != name])


@cache
def find(name: str) -> "Venue":
    """The descriptor of a venue, of its testnet or its simulator. Raises UnknownExchange."""
    if name in OWN:
        found: Venue = import_module(f"marketdata_assets.exchanges.{name}.venue").VENUE
        return found
    if name in _registered():
        registered: Venue = _registered()[name].load()
        return registered
    if name in known() and ((main := find(main_of(name))).testnet or name.endswith("-simulated")):
        return main.apart("testnet" if name.endswith("-testnet") else "simulated")
    raise unknown(name)


def every() -> Iterator["Venue"]:
    """All descriptors, our own first."""
    return map(find, names())


@cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
