"""The state of OKX's markets: tickers, best prices, mark prices, volatilities of options."""

from decimal import Decimal

import msgspec

from marketdata_assets.exchanges.instruments import EXACT, Instrument, plain
from marketdata_assets.exchanges.numbers import decimal, decimal_or_none
from marketdata_assets.exchanges.okx.wire import MS, Data, Find, Millis, Parse, Sequence, Wire, each
from marketdata_assets.exchanges.records import Ticker


class WireTicker(Wire, frozen=True, gc=False):
    """Sizes are coins on spot markets, contracts elsewhere; a side or a last price that is not there is empty."""

    inst_id: str = msgspec.field(name="instId")
    last: str
    last_sz: str = msgspec.field(name="lastSz")
    ask_px: str = msgspec.field(name="askPx")
    ask_sz: str = msgspec.field(name="askSz")
    bid_px: str = msgspec.field(name="bidPx")
    bid_sz: str = msgspec.field(name="bidSz")
    open_24h: str = msgspec.field(name="open24h")
    high_24h: str = msgspec.field(name="high24h")
    low_24h: str = msgspec.field(name="low24h")
    vol_24h: str = msgspec.field(name="vol24h")
    vol_ccy_24h: str = msgspec.field(name="volCcy24h")  # quote currency on spot markets, coins elsewhere
    ts: Millis


class WireLevel(Wire, frozen=True, gc=False, array_like=True):
    """A level: price, size, a number that means nothing any more, how many orders."""

    price: str
    size: str


class WireBest(Wire, frozen=True, gc=False):
    asks: tuple[WireLevel, ...]
    bids: tuple[WireLevel, ...]
    ts: Millis
    seq_id: Sequence | None = msgspec.field(name="seqId", default=None)


class WireMarkPrice(Wire, frozen=True, gc=False):
    inst_id: str = msgspec.field(name="instId")
    mark_px: str = msgspec.field(name="markPx")
    ts: Millis


class WireOption(Wire, frozen=True, gc=False):
    """Volatilities, 1 is 100 percent."""

    inst_id: str = msgspec.field(name="instId")
    mark_vol: str = msgspec.field(name="markVol")
    bid_vol: str = msgspec.field(name="bidVol")
    ask_vol: str = msgspec.field(name="askVol")
    ts: Millis


_tickers = msgspec.json.Decoder(Data[WireTicker], strict=False).decode
_best = msgspec.json.Decoder(Data[WireBest], strict=False).decode
_mark_prices = msgspec.json.Decoder(Data[WireMarkPrice], strict=False).decode
_options = msgspec.json.Decoder(Data[WireOption], strict=False).decode


# {"arg":{"channel":"tickers","instId":"ABC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":"ABC-USDT-SWAP",
#   "last":"4.2","lastSz":"3","askPx":"4.21","askSz":"11","bidPx":"4.2","bidSz":"5","open24h":"4","high24h":"4.4",
#   "low24h":"3.9","volCcy24h":"22.5","vol24h":"2250","ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-tickers-channel, GET /api/v5/market/tickers
def tickers(find: Find) -> Parse:
    """Parser of tickers."""
    return each(_tickers, lambda one, ts_recv: _ticker(one, find(one.inst_id), ts_recv))


# {"arg":{"channel":"bbo-tbt","instId":"ABC-USDT"},"data":[{"asks":[["4.21","0.5","0","2"]],"bids":[["4.2","1","0",
#   "1"]],"ts":"1700000000123","seqId":91}]}
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel; a side may be empty.
def best_prices(instrument: Instrument) -> Parse:
    """Parser of the best level of both sides of one instrument."""
    return each(_best, lambda one, ts_recv: _best_price(one, instrument, ts_recv))


# {"arg":{"channel":"mark-price","instId":"ABC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":"ABC-USDT-SWAP",
#   "markPx":"4.2003","ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-mark-price-channel, GET /api/v5/public/mark-price
def mark_prices(find: Find) -> Parse:
    """Parser of mark prices."""
    return each(_mark_prices, lambda one, ts_recv: _mark_price(one, find(one.inst_id), ts_recv))


# {"arg":{"channel":"opt-summary","instFamily":"ABC-USD"},"data":[{"instType":"OPTION","instId":"ABC-USD-250328-60-C",
#   "delta":"0.2","markVol":"0.505","bidVol":"0.5","askVol":"","ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-option-summary-channel, GET /api/v5/public/opt-summary
def option_summaries(find: Find) -> Parse:
    """Parser of the volatilities of options; records say them in percent."""
    return each(_options, lambda one, ts_recv: _option(one, find(one.inst_id), ts_recv))


def _ticker(one: WireTicker, instrument: Instrument, ts_recv: int) -> Ticker:
    spot = instrument.market_type == "spot"
    volume, currency = decimal_or_none("vol24h", one.vol_24h), decimal_or_none("volCcy24h", one.vol_ccy_24h)
    return Ticker(
        "okx",
        instrument.market_type,
        instrument.symbol,
        instrument.name,
        one.ts * MS,
        ts_recv,
        bid=decimal_or_none("bidPx", one.bid_px),
        bid_size=decimal_or_none("bidSz", one.bid_sz),
        ask=decimal_or_none("askPx", one.ask_px),
        ask_size=decimal_or_none("askSz", one.ask_sz),
        unit=instrument.unit,
        last=decimal_or_none("last", one.last),
        last_size=decimal_or_none("lastSz", one.last_sz),
        open=decimal_or_none("open24h", one.open_24h),
        high=decimal_or_none("high24h", one.high_24h),
        low=decimal_or_none("low24h", one.low_24h),
        volume=volume if spot else currency,
        contracts=None if spot else volume,
        quote_volume=currency if spot else None,
    )


def _best_price(one: WireBest, instrument: Instrument, ts_recv: int) -> Ticker:
    bid, bid_size = _first("bid", one.bids)
    ask, ask_size = _first("ask", one.asks)
    return Ticker(
        "okx",
        instrument.market_type,
        instrument.symbol,
        instrument.name,
        one.ts * MS,
        ts_recv,
        bid=bid,
        bid_size=bid_size,
        ask=ask,
        ask_size=ask_size,
        unit=instrument.unit,
        update_id=one.seq_id,
    )


def _first(side: str, levels: tuple[WireLevel, ...]) -> tuple[str, str] | tuple[None, None]:
    if not levels:
        return None, None
    return decimal(side, levels[0].price), decimal(f"{side} size", levels[0].size)


def _mark_price(one: WireMarkPrice, instrument: Instrument, ts_recv: int) -> Ticker:
    where = instrument.market_type, instrument.symbol, instrument.name
    return Ticker("okx", *where, one.ts * MS, ts_recv, mark_price=decimal("markPx", one.mark_px))


def _option(one: WireOption, instrument: Instrument, ts_recv: int) -> Ticker:
    return Ticker(
        "okx",
        instrument.market_type,
        instrument.symbol,
        instrument.name,
        one.ts * MS,
        ts_recv,
        bid_iv=_percent("bidVol", one.bid_vol),
        ask_iv=_percent("askVol", one.ask_vol),
        mark_iv=_percent("markVol", one.mark_vol),
    )


def _percent(what: str, text: str) -> str | None:
    share = decimal_or_none(what, text)
    return None if share is None else plain(EXACT.scaleb(Decimal(share), 2))
