"""What people call an instrument, and the venue's name for it."""

from collections.abc import Iterable, Mapping

from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import MarketType


def resolve(
    known: Mapping[str, Instrument], market_type: MarketType, symbols: Iterable[str]
) -> tuple[list[Instrument], list[str]]:
    """The instruments that are meant, once each, and the symbols that nothing is called.

    A symbol is the venue's name (BTC-USDT-SWAP), ours (BTC-USDT), or ours without dashes (BTCUSDT).
    """
    ours = [one for one in known.values() if one.market_type == market_type]
    called = {one.symbol.replace("-", ""): one for one in ours}
    called |= {one.symbol: one for one in ours}
    called |= {one.name: one for one in ours}
    found: dict[str, Instrument] = {}
    unknown = []
    for symbol in symbols:
        one = called.get(symbol) or called.get(symbol.upper())
        if one:
            found[one.name] = one
        else:
            unknown.append(symbol)
    return list(found.values()), unknown
