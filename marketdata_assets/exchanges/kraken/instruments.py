"""Kraken's list of pairs, and what a name alone says.

    GET /0/public/AssetPairs
    {"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","aclass_base":"currency","base":"XXBT",
     "quote":"ZUSD","pair_decimals":1,"lot_decimals":8,"status":"online"}}}

https://docs.kraken.com/api-reference/market-data/get-tradable-asset-pairs
A pair has the name that the socket has for it.
"""

import re
from dataclasses import replace
from typing import Annotated

import msgspec

from marketdata_assets.exchanges.errors import BadInstruments
from marketdata_assets.exchanges.instruments import Instrument, Listing, read_entries, read_state
from marketdata_assets.exchanges.kraken.wire import RENAMED, VENUE, Answered
from marketdata_assets.exchanges.records import State
from marketdata_assets.exchanges.wire import Wire

_NAME = re.compile(r"(?P<base>[A-Za-z0-9.]+)/(?P<quote>[A-Za-z0-9.]+)")
_SAID = {rest: name for name, rest in RENAMED.items()}
STATES: dict[str, State] = {
    **dict.fromkeys(("online", "limit_only", "reduce_only"), "trading"),
    **dict.fromkeys(("cancel_only", "post_only"), "suspended"),
}
"""By Kraken's word; in post_only no order may trade."""

Decimals = Annotated[int, msgspec.Meta(ge=0, le=30)]


class Listed(Wire, frozen=True, gc=False):
    wsname: str  # BASE/QUOTE, with the names that REST has for coins
    pair_decimals: Decimals  # of prices
    lot_decimals: Decimals  # of sizes
    status: str = ""


_entries = msgspec.json.Decoder(Answered[msgspec.Raw]).decode
_listed = msgspec.json.Decoder(Listed).decode


def instruments(raw: bytes, ts_recv: int) -> Listing:
    """The pairs of a list. Raises BadInstruments."""
    entries = [*_entries(raw).result.values()]
    return read_entries(VENUE, entries, _entry, ts_recv, name="wsname", named=_socket_name)


def _entry(raw: bytes) -> Instrument:
    entry = _listed(raw)
    found = named(_socket_name(entry.wsname))
    if found is None:
        raise BadInstruments(VENUE, f"{entry.wsname[:40]!r} is no pair")
    state, word = read_state(STATES, entry.status)
    return replace(found, decimals=(entry.pair_decimals, entry.lot_decimals), state=state, venue_state=word)


def _socket_name(wsname: str) -> str:
    return "/".join(_SAID.get(coin, coin) for coin in wsname.split("/"))


def named(name: str) -> Instrument | None:
    """What the name alone says, also that of the socket's first version, XBT/USD; null when it is no pair."""
    name = _socket_name(name)
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    base, quote = match["base"], match["quote"]
    return Instrument(VENUE, "spot", name, f"{base}-{quote}", base, quote, "base")


def rest_name(instrument: Instrument) -> str:
    """What REST calls a pair."""
    return "".join(RENAMED.get(coin, coin) for coin in (instrument.base, instrument.quote))
