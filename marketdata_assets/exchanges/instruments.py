"""Instruments: the venue's name, our symbol, and the size of a contract.

Reading a venue's list is the business of its module `instruments`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from marketdata_assets.exchanges.decimals import EXACT, plain, quotient
from marketdata_assets.exchanges.errors import UnknownInstrument
from marketdata_assets.exchanges.records import Exchange, MarketType, SizeUnit


@dataclass(frozen=True)
class Instrument:
    """One instrument.

    `contract_value` is what one contract is worth, in base units for linear contracts and options, in quote units for
    inverse ones; null on a spot market, and where no instrument list has it: then base sizes are null.
    """

    exchange: Exchange
    market_type: MarketType
    name: str  # the venue's own
    symbol: str  # BASE-QUOTE, followed by expiry, strike and right of a dated future or an option
    base: str
    quote: str
    unit: SizeUnit  # what the venue's sizes count
    contract_value: str | None = None

    @cached_property
    def key(self) -> tuple[Exchange, MarketType, str, str]:
        """The first four fields of every record of this instrument."""
        return self.exchange, self.market_type, self.symbol, self.name

    def base_size(self, size: str, price: str) -> str | None:
        """A published size in base units; null when it cannot be computed exactly."""
        if self.unit == "base":
            return size
        if self.unit == "contracts" and self.contract_value is None:
            return None
        value = Decimal(size)
        if self.unit == "contracts":
            value = EXACT.multiply(value, Decimal(self.contract_value or 0))
        if self.market_type != "inverse":
            return plain(value)
        return quotient(value, Decimal(price))

    def contracts(self, size: str) -> str | None:
        """A published size in contracts; null on a market without them, and where their value is not known."""
        if self.market_type == "spot":
            return None
        if self.unit == "contracts":
            return size
        if self.contract_value is None:
            return None
        return quotient(Decimal(size), Decimal(self.contract_value))


@dataclass
class Instruments:
    """Instruments by the venue's name. `from_name` derives one that is in no list, if its name is clear."""

    venue: str
    known: dict[str, Instrument] = field(default_factory=dict)
    from_name: Callable[[str], Instrument | None] | None = None

    def add(self, instruments: Iterable[Instrument]) -> None:
        """Add a list; a newer entry replaces an older one."""
        self.known.update((instrument.name, instrument) for instrument in instruments)

    def __getitem__(self, name: str) -> Instrument:
        """The instrument; raises UnknownInstrument."""
        instrument = self.known.get(name) or (self.from_name(name) if self.from_name else None)
        if instrument is None:
            raise UnknownInstrument(self.venue, name)
        return instrument
