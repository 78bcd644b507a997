"""How a venue tells of the invented market in a capture."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.records import MarketType
from marketdata_demo.venues.market import Market


class Voice(NamedTuple):
    """The messages of one venue. Its descriptor names it as `sample`."""

    market_type: MarketType | None  # of a capture
    name: Callable[[Market], str]  # the venue's name of a coin
    opening: Callable[[Sequence[Market]], Iterator[Entry]]  # the sockets, and the list of instruments
    entries: Callable[[Market], Iterator[Entry]]  # all that comes of one coin
