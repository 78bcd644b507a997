"""OKX's lists of instruments: what one contract is worth, and the market that an instrument belongs to.

    GET /api/v5/public/instruments?instType=SWAP
    {"code": "0", "msg": "", "data": [{"instType": "SWAP", "instId": "ABC-USDT-SWAP", "uly": "ABC-USDT",
     "ctVal": "0.01", "ctMult": "1", "ctValCcy": "ABC", "ctType": "linear", "baseCcy": "", "quoteCcy": "", ...}]}

https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments
One contract is worth ctVal x ctMult of ctValCcy: coins on linear contracts and options, USD on inverse contracts.
"""

import re
from decimal import Decimal

import msgspec

from marketdata_assets.exchanges.decimals import EXACT, decimal, plain
from marketdata_assets.exchanges.errors import BadInstruments
from marketdata_assets.exchanges.instruments import Instrument, Listing, expiry_ns, read_entries, read_state
from marketdata_assets.exchanges.okx.wire import VENUE, Data
from marketdata_assets.exchanges.records import MarketType, State

_NAME = re.compile(
    r"(?P<base>[A-Z0-9]+)-(?P<quote>[A-Z0-9]+)"
    r"(-(?P<kind>SWAP|[0-9]{6}(?P<option>-[0-9]+(\.[0-9]+)?-[CP])?))?"
)
_CONTRACTS: dict[str, MarketType] = {"linear": "linear", "inverse": "inverse"}

STATES: dict[str, State] = {
    "live": "trading",
    "preopen": "prelaunch",
    "test": "prelaunch",
    "suspend": "suspended",
    "rebase": "suspended",
    "post_only": "suspended",
    "settling": "settling",
    "expired": "delisted",
}
"""By OKX's word; in post_only, since 2026-05, no order may trade."""

TO_COME = "LISTING-"  # LISTING-SPOT-ABC-USDT holds the place of a listing to come, and cannot be subscribed to


class Listed(msgspec.Struct, frozen=True, gc=False):
    """One element of a list; all values are texts, and empty where they do not apply."""

    inst_type: str = msgspec.field(name="instType")  # SPOT, MARGIN, SWAP, FUTURES, OPTION
    inst_id: str = msgspec.field(name="instId")
    uly: str = ""  # the underlying, BASE-QUOTE
    inst_family: str = msgspec.field(name="instFamily", default="")
    base_ccy: str = msgspec.field(name="baseCcy", default="")
    quote_ccy: str = msgspec.field(name="quoteCcy", default="")
    ct_type: str = msgspec.field(name="ctType", default="")  # linear, inverse
    ct_val: str = msgspec.field(name="ctVal", default="")
    ct_mult: str = msgspec.field(name="ctMult", default="")
    ct_val_ccy: str = msgspec.field(name="ctValCcy", default="")
    exp_time: str = msgspec.field(name="expTime", default="")  # ms
    state: str = ""


_entries = msgspec.json.Decoder(Data[msgspec.Raw]).decode
_listed = msgspec.json.Decoder(Listed).decode
families = msgspec.json.Decoder(Data[list[str]]).decode
"""Those that options are listed by."""


def instruments(raw: bytes, ts_recv: int = 0) -> Listing:
    """The instruments of a list; those of kinds that we do not know are left out. Raises BadInstruments."""
    return read_entries(VENUE, _entries(raw).data, _entry, ts_recv, name="instId")


def _entry(raw: bytes) -> Instrument | None:
    entry = _listed(raw)
    if entry.inst_id.startswith(TO_COME):
        return None
    if entry.inst_type in ("SPOT", "MARGIN"):
        base, quote = entry.base_ccy, entry.quote_ccy
        if not (base and quote):
            raise BadInstruments(VENUE, f"{entry.inst_id} has no baseCcy or no quoteCcy")
        names, state = (entry.inst_id, f"{base}-{quote}"), read_state(STATES, entry.state)
        return Instrument("okx", "spot", *names, base, quote, "base", None, None, *state)
    return _contract(entry) if entry.inst_type in ("SWAP", "FUTURES", "OPTION") else None


def named(name: str) -> Instrument | None:
    """What the name alone says, without the value of a contract; null when the name is not clear.

    A contract on BASE-USD is paid in the coin, one on any other quote in that quote.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    base, quote, kind = match["base"], match["quote"], match["kind"]
    if kind is None:
        return Instrument("okx", "spot", name, name, base, quote, "base")
    market_type: MarketType = "option" if match["option"] else "inverse" if quote == "USD" else "linear"
    return Instrument("okx", market_type, name, name.removesuffix("-SWAP"), base, quote, "contracts")


def _contract(entry: Listed) -> Instrument:
    base, _, quote = (entry.uly or entry.inst_family).partition("-")
    market_type = "option" if entry.inst_type == "OPTION" else _CONTRACTS.get(entry.ct_type)
    if market_type is None:
        raise BadInstruments(VENUE, f"{entry.inst_id} has the ctType {entry.ct_type!r}")
    if not (base and quote):
        raise BadInstruments(VENUE, f"{entry.inst_id} has no underlying")
    counted = quote if market_type == "inverse" else base
    value = _value(entry) if entry.ct_val_ccy == counted else None  # a value in a third currency says nothing of either
    symbol = entry.inst_id.removesuffix("-SWAP")
    expires_at = expiry_ns(int(entry.exp_time)) if entry.exp_time.isdecimal() else None
    head = VENUE, market_type, entry.inst_id, symbol, base, quote
    return Instrument(*head, "contracts", value, expires_at, *read_state(STATES, entry.state))


def _value(entry: Listed) -> str | None:
    """What a contract is worth; null while a listing to come does not say it yet."""
    if not (entry.ct_val and entry.ct_mult):
        return None
    try:
        texts = decimal("ctVal", entry.ct_val), decimal("ctMult", entry.ct_mult)
    except ValueError as error:
        raise BadInstruments(VENUE, f"{entry.inst_id}: {error}") from None
    return plain(EXACT.multiply(*map(Decimal, texts)))
