"""Deribit's instruments: what its list says of them, and what a name alone gives away.

Spreads of several instruments (kinds `future_combo` and `option_combo`) are not supported.
"""

import re
from dataclasses import replace
from typing import Literal

import msgspec
from msgspec import Raw

from marketdata_assets.exchanges.deribit.wire import VENUE
from marketdata_assets.exchanges.instruments import Instrument, Listing, expiry_ns, read_entries, read_state
from marketdata_assets.exchanges.records import MarketType, SizeUnit, State
from marketdata_assets.exchanges.wire import Wire, number

Payoff = Literal["reversed", "linear"]

STATES: dict[str, State] = {
    **dict.fromkeys(("locked", "halted", "settlement", "inactive"), "suspended"),
    "open": "trading",
    "delivered": "delisted",
    "archivized": "delisted",
}
"""By Deribit's word. A settlement of some seconds a day comes before `open` again, or `delivered`; an instrument may be
`inactive` before it is traded. https://docs.deribit.com/api-reference/market-data/public-get_instruments"""

_YEAR = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"
_MONTHS = {_YEAR[at : at + 3]: at // 3 + 1 for at in range(0, len(_YEAR), 3)}
_NAME = re.compile(
    r"(?P<base>[A-Z0-9]+)(?:_(?P<quote>[A-Z0-9]+))?"
    r"(?:-(?:(?P<perpetual>PERPETUAL)|(?P<day>[0-9]{1,2})(?P<month>[A-Z]{3})(?P<year>[0-9]{2})"
    r"(?:-(?P<strike>[0-9]+(?:d[0-9]+)?)-(?P<right>[CP]))?))?",
    re.ASCII,
)
_COMBO = re.compile(r"[A-Z0-9]+(?:_[A-Z0-9]+)?-[A-Z]+[0-9]?-.+", re.ASCII)


class WireInstrument(Wire, frozen=True, gc=False):
    """One entry of the list. Before 2022 it did not say how a future pays; those priced in USD pay in the coin."""

    instrument_name: str
    kind: str  # future, option, spot, future_combo, option_combo
    base_currency: str
    quote_currency: str  # of the price; of an option the coin
    contract_size: Raw  # USD of inverse futures, else coins
    counter_currency: str | None = None  # of strike and index
    instrument_type: Payoff | None = None
    future_type: Payoff | None = None
    expiration_timestamp: int | None = None  # ms; of a perpetual in the year 3000
    state: str = ""  # since 2026-01-13


class InstrumentList(Wire, frozen=True, gc=False):
    result: list[Raw]


_decode = msgspec.json.Decoder(InstrumentList).decode
_entry = msgspec.json.Decoder(WireInstrument).decode


# {"jsonrpc":"2.0","id":1,"result":[{"instrument_name":"ABC-PERPETUAL","kind":"future","base_currency":"ABC",
#   "quote_currency":"USD","counter_currency":"USD","instrument_type":"reversed","contract_size":10.0}]}
# https://docs.deribit.com/api-reference/market-data/public-get_instruments
def parse_instruments(raw: bytes, ts_recv: int = 0) -> Listing:
    """The instruments of an answer to get_instruments, without combos. Raises what is UNREADABLE."""
    entries = _decode(raw).result
    return read_entries(VENUE, entries, lambda entry: _instrument(_entry(entry)), ts_recv, name="instrument_name")


def is_combo(name: str) -> bool:
    """Whether it is the name of several instruments traded as one, as ABC-FS-25DEC26_PERP."""
    return from_name(name) is None and _COMBO.fullmatch(name) is not None


def from_name(name: str) -> Instrument | None:
    """What the name says; None when it says too little. How much a contract is worth it never says."""
    parts = _NAME.fullmatch(name)
    if parts is None or _tail(parts) is None:
        return None
    base, quote = parts["base"], parts["quote"]
    if parts["right"]:
        return _made(name, "option", base, quote or "USD", None)
    if parts["perpetual"] or parts["month"]:
        return _made(name, "linear" if quote else "inverse", base, quote or "USD", None)
    return _made(name, "spot", base, quote, None) if quote else None


def _instrument(wire: WireInstrument) -> Instrument | None:
    found = _listed(wire)
    state, word = read_state(STATES, wire.state)
    return found and replace(found, state=state, venue_state=word)


def _listed(wire: WireInstrument) -> Instrument | None:
    quote, expires = wire.counter_currency or wire.quote_currency, expiry_ns(wire.expiration_timestamp)
    if wire.kind == "option":
        if quote == wire.base_currency:  # an old entry, which names the currency of the price only
            quote = "USD"
        return _made(wire.instrument_name, "option", wire.base_currency, quote, number(wire.contract_size), expires)
    if wire.kind == "future":
        payoff = wire.instrument_type or wire.future_type or ("reversed" if wire.quote_currency == "USD" else "linear")
        kind: MarketType = "inverse" if payoff == "reversed" else "linear"
        return _made(wire.instrument_name, kind, wire.base_currency, quote, number(wire.contract_size), expires)
    if wire.kind == "spot":
        return _made(wire.instrument_name, "spot", wire.base_currency, quote, None)
    return None


def _made(
    name: str, kind: MarketType, base: str, quote: str, contract_value: str | None, expires_at: int | None = None
) -> Instrument:
    parts = _NAME.fullmatch(name)
    tail = _tail(parts) if parts else None
    symbol = "-".join((base, quote, *((name,) if tail is None else tail)))
    unit: SizeUnit = "quote" if kind == "inverse" else "base"
    return Instrument(VENUE, kind, name, symbol, base, quote, unit, contract_value, expires_at=expires_at)


def _tail(parts: re.Match[str]) -> tuple[str, ...] | None:
    """What distinguishes a dated instrument: YYMMDD, strike, right. A `d` in a strike is its decimal point."""
    if not parts["month"]:
        return ()
    month = _MONTHS.get(parts["month"])
    if month is None or not 1 <= int(parts["day"]) <= 31:
        return None
    date = f"{parts['year']}{month:02}{int(parts['day']):02}"
    return (date, parts["strike"].replace("d", "."), parts["right"]) if parts["right"] else (date,)
