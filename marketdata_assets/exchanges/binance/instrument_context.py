"""What every record of an instrument begins with and how its sizes count, worked out once per instrument."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial

from marketdata_assets.exchanges.decimals import EXACT, plain
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import Exchange, MarketType, Trade

NS = 1_000_000  # nanoseconds in a millisecond
Head = tuple[Exchange, MarketType, str, str, int | None, int]  # the fields that all records have


class InstrumentContext:
    """One instrument."""

    __slots__ = ("head", "in_base", "instrument", "inverse", "pays_funding", "trade")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.head = instrument.key
        self.in_base = instrument.unit == "base"
        self.inverse = instrument.market_type == "inverse"
        self.pays_funding = instrument.symbol == f"{instrument.base}-{instrument.quote}"  # a dated future does not
        self.trade: Callable[..., Trade] = partial(Trade, *self.head)

    def begin(self, moment_ms: int | None, ts_recv: int) -> Head:
        """The fields that all records have."""
        return *self.head, None if moment_ms is None else moment_ms * NS, ts_recv

    def sizes(self, size: str, price: str) -> tuple[str | None, str | None]:
        """A size in base units and in contracts."""
        return self.instrument.base_size(size, price), self.instrument.contracts(size)

    def volumes(self, first: str, second: str) -> tuple[str | None, str | None, str | None]:
        """Base units, contracts and quote units of a pair that counts base and quote units.

        On COIN-M it counts contracts and base units, and a contract is so many quote units.
        """
        return (second, first, self.worth(first)) if self.inverse else (first, None, second)

    def worth(self, contracts: str) -> str | None:
        """So many contracts of COIN-M in quote units."""
        value = self.instrument.contract_value
        return None if value is None else plain(EXACT.multiply(Decimal(contracts), Decimal(value)))


class InstrumentContexts(dict[str, InstrumentContext]):
    """The facts of all instruments that were met. Asking for one that no list has raises UnknownInstrument."""

    def __init__(self, instruments: Instruments) -> None:
        self.instruments = instruments

    def __missing__(self, name: str) -> InstrumentContext:
        facts = self[name] = InstrumentContext(self.instruments[name])
        return facts
