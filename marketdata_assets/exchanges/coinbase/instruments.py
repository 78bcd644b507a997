"""Coinbase's list of products, and what a name alone says.

    GET /products
    [{"id":"ABC-USD","base_currency":"ABC","quote_currency":"USD","status":"online"}]

https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-all-known-trading-pairs
"""

import re
from dataclasses import replace

import msgspec

from marketdata_assets.exchanges.coinbase.wire import VENUE
from marketdata_assets.exchanges.errors import BadInstruments
from marketdata_assets.exchanges.instruments import Instrument, Listing, read_entries, read_state
from marketdata_assets.exchanges.records import State
from marketdata_assets.exchanges.wire import Wire

_NAME = re.compile(r"(?P<base>[A-Za-z0-9]+)-(?P<quote>[A-Za-z0-9]+)")

STATES: dict[str, State] = {
    "online": "trading",
    "offline": "suspended",
    "internal": "prelaunch",
    "delisted": "delisted",
}
"""By Coinbase's word."""


class Listed(Wire, frozen=True, gc=False):
    id: str
    status: str  # online, offline, internal, delisted


_entries = msgspec.json.Decoder(list[msgspec.Raw]).decode
_listed = msgspec.json.Decoder(Listed).decode


def instruments(raw: bytes, ts_recv: int) -> Listing:
    """The products of a list. Raises BadInstruments."""
    return read_entries(VENUE, _entries(raw), _entry, ts_recv, name="id")


def _entry(raw: bytes) -> Instrument:
    entry = _listed(raw)
    found = named(entry.id)
    if found is None:
        raise BadInstruments(VENUE, f"{entry.id[:40]!r} is no product")
    state, word = read_state(STATES, entry.status)
    return replace(found, state=state, venue_state=word)


def named(name: str) -> Instrument | None:
    """What the name alone says; null when it is no product."""
    match = _NAME.fullmatch(name)
    return Instrument(VENUE, "spot", name, name, match["base"], match["quote"], "base") if match else None
