"""Instruments: the venue's name, our symbol, and the size of a contract.

Reading a venue's list is the business of its module `instruments`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property, lru_cache, partial

import msgspec

from marketdata_assets.exchanges.decimals import EXACT, plain, quotient
from marketdata_assets.exchanges.errors import UNREADABLE, BadInstruments, UnknownInstrument
from marketdata_assets.exchanges.records import (
    DeadLetter,
    Exchange,
    InstrumentState,
    Kline,
    MarketType,
    SizeUnit,
    State,
    Trade,
)

CONTRADICTORY = "has two contract values,"
KEPT_SIZES = 1024  # conversions kept by instrument: most trades are of a few sizes


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
    expires_at: int | None = None  # ns, when a dated future or an option expires; null where the list does not say
    state: State | None = None  # null where no list says it
    venue_state: str = ""  # the venue's word for it
    decimals: tuple[int, int] | None = None  # of prices and sizes, where a checksum needs them and a list says them

    @cached_property
    def key(self) -> tuple[Exchange, MarketType, str, str]:
        """The first four fields of every record of this instrument."""
        return self.exchange, self.market_type, self.symbol, self.name

    @cached_property
    def trade(self) -> Callable[..., Trade]:
        """Makes a trade of this instrument; its arguments begin with `ts_event`."""
        return partial(Trade, *self.key)

    @cached_property
    def kept_contracts(self) -> Callable[[str], str | None]:
        """`contracts`, with its last results kept."""
        return lru_cache(KEPT_SIZES)(self.contracts)

    @property
    def ended(self) -> str:
        """The state of one that is listed and will not be traded again; empty for others."""
        return self.venue_state or "delisted" if self.state in ("settling", "delisted") else ""

    def state_record(self, ts_recv: int) -> InstrumentState:
        """Its state as an event."""
        return InstrumentState(*self.key, None, ts_recv, self.state or "unknown", self.venue_state)

    @cached_property
    def dated(self) -> bool:
        """Whether it is a dated future or an option, whose symbol has more than base and quote."""
        return self.symbol != f"{self.base}-{self.quote}"

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

    def sizes(self, size: str, price: str) -> tuple[str | None, str | None]:
        """A published size in base units and in contracts."""
        return self.base_size(size, price), self.contracts(size)

    def candle(
        self,
        ts_event: int | None,
        ts_recv: int,
        interval: str,
        span: tuple[int, int],
        prices: tuple[str, str, str, str],
        volumes: tuple[str | None, str | None, str | None],
        *,
        trades: int | None = None,
        bought: tuple[str | None, str | None] = (None, None),
        closed: bool | None = None,
    ) -> Kline:
        """A candle: from when to when (ns), open, high, low and close, volumes in base units, contracts and quote
        units, and what takers bought in base and quote units."""
        return Kline(*self.key, ts_event, ts_recv, interval, *span, *prices, *volumes, trades, *bought, closed)


class Instruments(dict[str, Instrument]):
    """Instruments by the venue's name, listed or derived so far.

    `from_name` derives one that is in no list, if its name is clear. All are of `exchange`, where it is given: a
    testnet has the venue's parsers, and records of its own.

    `[name]` raises UnknownInstrument for one that neither lists nor names give. `known` has all that were ever listed,
    `listed` the names of those that were added since it was emptied: of the latest list, where its owner empties it
    before each. Not `whole` is one with something that could not be read: what it lacks may be listed nevertheless.
    """

    def __init__(
        self,
        venue: str,
        known: dict[str, Instrument] | None = None,
        from_name: Callable[[str], Instrument | None] | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        self.venue, self.known, self.from_name = venue, {} if known is None else known, from_name
        self._exchange = exchange
        self.listed: set[str] = set()
        self.lists: dict[str, set[str]] = {}  # what was listed last by each request
        self.whole = True

    def add(self, instruments: Iterable[Instrument]) -> None:
        """Add a list; a newer entry replaces an older one."""
        added = {instrument.name: self._own(instrument) for instrument in instruments}
        self.update(added)
        self.known.update(added)
        self.listed.update(added)

    def __missing__(self, name: str) -> Instrument:
        """Raises UnknownInstrument."""
        instrument = self.known.get(name) or (self.from_name(name) if self.from_name else None)
        if instrument is None:
            raise UnknownInstrument(self.venue, name)
        self[name] = instrument = self._own(instrument)
        return instrument

    def _own(self, instrument: Instrument) -> Instrument:
        if self._exchange is None or self._exchange == instrument.exchange:
            return instrument
        return replace(instrument, exchange=self._exchange)


@dataclass
class Missing:
    """The names that a market's list lacks, from list to list."""

    _names: set[str] = field(default_factory=set)

    def again(self, instruments: Instruments, names: Iterable[str]) -> list[str]:
        """Those of these names that the latest list lacks and the one before lacked; of one that is not whole, none."""
        missing = set(names) - instruments.listed
        if not instruments.whole:
            self._names &= missing
            return []
        gone, self._names = missing & self._names, missing
        return sorted(gone)


@dataclass
class ListedStates:
    """The states of the instruments of one market, or of all with None, from list to list."""

    market_type: MarketType | None
    last: dict[str, InstrumentState] = field(default_factory=dict)  # by the venue's name
    changed_at: int = 0  # ns
    _missing: Missing = field(default_factory=Missing)

    def changes(self, instruments: Instruments, ts_recv: int) -> list[InstrumentState]:
        """What differs in the latest list; one that neither it nor the list before has is delisted."""
        latest = (instruments.known[name] for name in sorted(instruments.listed))
        own = (one for one in latest if self.market_type in (None, one.market_type) and one.state)
        listed = {one.name: one.state_record(ts_recv) for one in own}
        changed = [one for name, one in listed.items() if _state(one) != _state(self.last.get(name))]
        gone = [self.last.pop(name) for name in self._missing.again(instruments, self.last)]
        ended = {"state": "delisted", "venue_state": "", "ts_recv": ts_recv}
        changed += [msgspec.structs.replace(one, **ended) for one in gone if one.state != "delisted"]
        self.last |= listed
        self.changed_at = ts_recv if changed or gone else self.changed_at
        return changed


def _state(one: InstrumentState | None) -> tuple[State, str] | None:
    return (one.state, one.venue_state) if one else None


def read_state(states: Mapping[str, State], word: str) -> tuple[State | None, str]:
    """`state` and `venue_state` of an instrument whose list has this word for it."""
    return states.get(word, "unknown") if word else None, word


LATEST_EXPIRY_MS = 4_000_000_000_000
"""Of the year 2096; venues give perpetuals a later one."""


def expiry_ns(millis: int | None) -> int | None:
    """When an instrument expires, of the venue's milliseconds; null for never, which some venues write as 0."""
    return millis * 1_000_000 if millis and 0 < millis < LATEST_EXPIRY_MS else None


@dataclass(frozen=True)
class Listing:
    """A venue's list of instruments, and as dead letters the entries that cannot be read."""

    instruments: list[Instrument]
    unread: list[DeadLetter]
    named: set[str] = field(default_factory=set)  # by entries that became no instrument
    whole: bool = True  # every entry has at least a name


def read_entries(
    venue: str,
    entries: Sequence[bytes],
    read: Callable[[bytes], Instrument | None],
    ts_recv: int = 0,
    *,
    name: str,
    named: Callable[[str], str] = str,
) -> Listing:
    """Read each entry of a list alone, so that an odd one does not cost the others; `read` skips those it gives None.

    `name` is the field of an instrument's name, which `named` makes of its value. Raises BadInstruments when there are
    entries, and none of them can be read.
    """
    found, unread, names, whole, skipped = list[Instrument](), list[DeadLetter](), set[str](), True, 0
    by_name: dict[str, Instrument] = {}
    for entry in entries:
        try:
            instrument = read(entry)
            if instrument:
                _check_value(venue, instrument, by_name.setdefault(instrument.name, instrument))
        except UNREADABLE as error:
            unread.append(DeadLetter.of(bytes(entry), error, ts_recv))
            instrument = None
        else:
            skipped += instrument is None
        if instrument is not None:
            found.append(instrument)
        elif spelled := _text_of(entry, name):
            names.add(named(spelled))
        else:
            whole = False
    if unread and not found and not skipped:
        raise BadInstruments(venue, f"none of its {len(entries)} entries can be read, first: {unread[0].cause}")
    return Listing(found, unread, names, whole)


def _check_value(venue: str, instrument: Instrument, earlier: Instrument) -> None:
    """Raise BadInstruments for a value of a contract that none can have, or that another entry contradicts."""
    value = instrument.contract_value
    if value is not None and not Decimal(value) > 0:
        raise BadInstruments(venue, f"{instrument.name} has the contract value {value}, which is not above 0")
    if cause := contradiction(instrument, earlier):
        raise BadInstruments(venue, cause)


def contradiction(instrument: Instrument, earlier: Instrument) -> str:
    """How two entries for one instrument contradict each other; empty where they do not."""
    values = earlier.contract_value, instrument.contract_value
    differ = None not in values and values[0] != values[1]
    return f"{instrument.name} {CONTRADICTORY} {' and '.join(map(str, values))}" if differ else ""


def _text_of(entry: bytes, name: str) -> str:
    """A field of an entry that may be anything; empty where it has none that is a text."""
    try:
        value = msgspec.json.decode(entry, type=dict[str, msgspec.Raw]).get(name, b'""')
        return msgspec.json.decode(value, type=str)
    except UNREADABLE:
        return ""
