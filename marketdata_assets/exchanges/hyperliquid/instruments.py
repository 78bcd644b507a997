"""Hyperliquid's lists of instruments, and what a name alone says.

    {"type":"meta"}
    {"universe":[{"name":"ABC","szDecimals":5,"maxLeverage":50},{"name":"OLD","szDecimals":1,"isDelisted":true}]}
    {"type":"spotMeta"}
    {"tokens":[{"name":"USDC","index":0},{"name":"ABC","index":1}],"universe":[{"name":"@107","tokens":[1,0],"index":107}]}

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint/perpetuals
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint/spot
Perpetuals of other dexes (`dex:ABC`) are in lists of their own; a dex may be paid in another token than USDC, of which
its list has the number. {"type":"meta","dex":"dex"}
{"universe":[{"name":"dex:ABC","szDecimals":3,"maxLeverage":10}],"collateralToken":360}
"""

import re

import msgspec

from marketdata_assets.exchanges.errors import BadInstruments
from marketdata_assets.exchanges.hyperliquid.wire import VENUE
from marketdata_assets.exchanges.instruments import Instrument, Listing, read_entries
from marketdata_assets.exchanges.records import MarketType, State
from marketdata_assets.exchanges.wire import Wire

COLLATERAL = "USDC"
_PAIR = re.compile(r"(?P<base>[^/@:#]+)/(?P<quote>[^/@:#]+)")
_INDEX = re.compile(r"@[0-9]{1,9}")
_COIN = re.compile(r"[A-Za-z0-9]+")


class Perpetual(Wire, frozen=True, gc=False):
    name: str
    is_delisted: bool = msgspec.field(name="isDelisted", default=False)


class Perpetuals(Wire, frozen=True, gc=False):
    universe: list[msgspec.Raw]
    collateral: int = msgspec.field(name="collateralToken", default=0)  # number of a token


class Token(Wire, frozen=True, gc=False):
    name: str
    index: int


class Pair(Wire, frozen=True, gc=False):
    name: str  # BASE/QUOTE, or @ and its number
    tokens: tuple[int, int]  # numbers of base and quote


class Spot(Wire, frozen=True, gc=False):
    tokens: list[Token]
    universe: list[msgspec.Raw]


_perpetuals = msgspec.json.Decoder(Perpetuals).decode
_perpetual = msgspec.json.Decoder(Perpetual).decode
_spot = msgspec.json.Decoder(Spot).decode
_pair = msgspec.json.Decoder(Pair).decode


def perpetuals(raw: bytes, names: dict[int, str], ts_recv: int = 0) -> Listing:
    """The perpetuals of a dex, with the names of tokens known so far. Raises what is UNREADABLE, as the next one."""
    listed = _perpetuals(raw)
    quote = names.get(listed.collateral)
    if quote is None:
        raise BadInstruments(
            VENUE, f"token {listed.collateral} has a name only in the list spotMeta; read that one too"
        )

    def read(entry: bytes) -> Instrument:
        one = _perpetual(entry)
        return _made("linear", one.name, one.name, quote, delisted=one.is_delisted)

    return read_entries(VENUE, listed.universe, read, ts_recv, name="name")


def pairs(raw: bytes, names: dict[int, str], ts_recv: int = 0) -> Listing:
    """The spot pairs; one of a token that is not in the list is left out. The names of tokens are added."""
    listed = _spot(raw)
    names.update((token.index, token.name) for token in listed.tokens)

    def read(entry: bytes) -> Instrument | None:
        one = _pair(entry)
        known = names.keys() >= set(one.tokens)
        return _made("spot", one.name, *(names[index] for index in one.tokens), delisted=False) if known else None

    return read_entries(VENUE, listed.universe, read, ts_recv, name="name")


def named(name: str) -> Instrument | None:
    """What the name alone says; null when it says nothing. A pair that is only a number keeps it as its symbol."""
    if pair := _PAIR.fullmatch(name):
        return _made("spot", name, pair["base"], pair["quote"])
    if _INDEX.fullmatch(name):
        return Instrument(VENUE, "spot", name, name, name, "", "base")
    return _made("linear", name, name, COLLATERAL) if _COIN.fullmatch(name) else None


def _made(market_type: MarketType, name: str, base: str, quote: str, *, delisted: bool | None = None) -> Instrument:
    state: tuple[State | None, str] = (None, "")
    if delisted is not None:
        state = ("delisted", "isDelisted") if delisted else ("trading", "")
    return Instrument(VENUE, market_type, name, f"{base}-{quote}", base, quote, "base", None, None, *state)
