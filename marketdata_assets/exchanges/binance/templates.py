"""The fast path for trades and best prices: a message that differs only in its digits from one that was parsed in full.

Such a message is as well-formed as that one, and has each value at the same position, so the values are cut out without
parsing it again. What its values mean is the business of `parse`, which reads the first one of each form.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from marketdata_assets.exchanges.binance import wire
from marketdata_assets.exchanges.binance.instruments import NS
from marketdata_assets.exchanges.binance.parse import flags_of
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Outcome, Side, Ticker, Trade

Read = Callable[[bytes, int], list[Outcome]]
"""What comes of a message, received at a time; nothing when it has to be read in full."""

Sizes = Callable[[str, str], tuple[str | None, str | None]]
AggTrades = tuple[Callable[[str], tuple[str, ...]], Callable[..., Trade], Sizes | None, Side]
"""How aggregate trades of one form become records, see parse.agg_trade: what cuts out the second and the millisecond
of T, a, p, q, f, l and nq, or q once more; what makes the record; what its sizes are, null where they are in base
units; its side.
"""

LATEST = "9223372036854"  # the last millisecond whose nanoseconds fit 64 bits; of a time with as many digits
LATEST_SECOND = LATEST[:-3]
SECOND = 1000 * NS
MILLISECONDS = {f"{number:03}": number * NS for number in range(1000)}
"""Most trades share their second with the one before; to look the rest up is faster than to read a number."""

KEPT_FORMS = 20_000  # an instrument has some dozens, by side, and by how many digits its values have
FORM = bytes.maketrans(b"123456789", b"000000000")  # what makes the form of a message of it
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_DIGIT = re.compile(r"[0-9]")


def template_reader(
    event: Any, instrument: Instrument, text: str, on_ticker: Callable[[Ticker], list[Outcome]]
) -> AggTrades | Read | None:
    """How messages of the same template are read; None when they differ in more than digits."""
    if _DIGIT.search(event.s) or "\\" in text or not text.isascii():
        return None
    if isinstance(event, wire.AggTrade):
        cut = _cut(event, text, (*"Tapqfl", "q" if event.nq is None else "nq"), split=True)
        sizes = None if instrument.unit == "base" else instrument.sizes
        return (cut, instrument.trade, sizes, "sell" if event.m else "buy") if cut else None
    if isinstance(event, wire.Trade):
        return _trades(event, instrument, text)
    if isinstance(event, wire.SpotBookTicker):
        return _best_prices(event, instrument, text, on_ticker)
    return None


def _trades(event: wire.Trade, instrument: Instrument, text: str) -> Read | None:
    """See parse.trade."""
    cut = _cut(event, text, "Ttpq")
    make, side, flags = instrument.trade, "sell" if event.m else "buy", flags_of(event)
    make = partial(make, flags=flags) if flags else make
    sizes = None if instrument.unit == "base" else instrument.sizes
    if cut is None:
        return None

    def read(raw: bytes, ts_recv: int) -> list[Outcome]:
        moment, number, price, published = cut(raw.decode())
        if moment > LATEST:
            return []
        size, contracts = sizes(published, price) if sizes else (published, None)
        return [make(int(moment) * NS, ts_recv, number, price, size, contracts, side)]

    return read


def _best_prices(
    event: wire.SpotBookTicker, instrument: Instrument, text: str, on_ticker: Callable[[Ticker], list[Outcome]]
) -> Read | None:
    """See parse.book_ticker."""
    timed = isinstance(event, wire.BookTicker)
    cut = _cut(event, text, "ubBaAT" if timed else "ubBaAu")
    make, unit = partial(Ticker, *instrument.key), instrument.unit
    if cut is None:
        return None

    def read(raw: bytes, ts_recv: int) -> list[Outcome]:
        update, bid, bid_size, ask, ask_size, moment = cut(raw.decode())
        if timed and moment > LATEST:
            return []
        when = int(moment) * NS if timed else None
        return on_ticker(make(when, ts_recv, bid, bid_size, ask, ask_size, unit, int(update)))

    return read


def _cut(event: Any, text: str, keys: Sequence[str], *, split: bool = False) -> Callable[[str], tuple[str, ...]] | None:
    """What cuts the values of these keys out of a text; None unless each key occurs once, with a number.

    With `split` the first one is a time, and its seconds and the rest are cut apart.
    """
    places = [_place(text, key, getattr(event, key)) for key in keys]
    known = [place for place in places if place]
    if "T" in keys and len(str(event.T)) != len(LATEST):
        return None
    if len(known) < len(places):
        return None
    if split:
        time, *known = known
        known = [slice(time.start, time.stop - 3), slice(time.stop - 3, time.stop), *known]
    return itemgetter(*known)


def _place(text: str, key: str, value: str | int) -> slice | None:
    name = f'"{key}":'
    said = f'"{value}"' if isinstance(value, str) else str(value)
    begin = text.find(f"{name}{said}")
    if text.count(name) != 1 or begin < 0 or not _NUMBER.fullmatch(str(value)):
        return None
    begin += len(name) + isinstance(value, str)
    end = begin + len(str(value))
    ends_there = text[end : end + 1] in ('"' if isinstance(value, str) else ",}")
    return slice(begin, end) if ends_there else None
