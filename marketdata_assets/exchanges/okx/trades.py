"""Trades and forced orders of OKX."""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta

from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.numbers import DIGITS, PLAIN, decimal
from marketdata_assets.exchanges.okx.wire import MS, Data, Find, Millis, Parse, Wire
from marketdata_assets.exchanges.outcomes import Outcome
from marketdata_assets.exchanges.records import Liquidation, Side, Trade

KEPT_SIZES = 1024
"""Conversions kept by instrument: most trades are of a few sizes."""


class WireTrade(Wire, frozen=True, gc=False):
    trade_id: Annotated[str, Meta(min_length=1)] = msgspec.field(name="tradeId")
    px: str
    sz: str  # coins on spot markets, contracts elsewhere
    side: Side  # of the taker
    ts: Millis


class WireOptionTrade(WireTrade, frozen=True, gc=False):
    inst_id: str = msgspec.field(name="instId")


class WireForced(Wire, frozen=True, gc=False):
    """One forced order: `sell` with posSide `long` closes a long position."""

    bk_px: str = msgspec.field(name="bkPx")  # the bankruptcy price; at which price it traded is not said
    sz: str
    side: Side
    ts: Millis


class WireLiquidations(Wire, frozen=True, gc=False):
    inst_id: str = msgspec.field(name="instId")
    details: list[WireForced]


_trades = msgspec.json.Decoder(Data[WireTrade], strict=False).decode
_option_trades = msgspec.json.Decoder(Data[WireOptionTrade], strict=False).decode
_liquidations = msgspec.json.Decoder(Data[WireLiquidations], strict=False).decode
_forced = msgspec.json.Decoder(Data[WireForced], strict=False).decode


# {"arg":{"channel":"trades","instId":"ABC-USDT"},"data":[{"instId":"ABC-USDT","tradeId":"71","px":"4.2","sz":"0.15",
#   "side":"buy","ts":"1700000000123","count":"1"}]}
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-trades-channel; trades-all and the answers of
# GET /api/v5/market/trades and history-trades have the same elements. `count` trades at one price come as one.
def trades(instrument: Instrument) -> Parse:
    """Parser of the trades of one instrument."""
    market_type, symbol, name = instrument.market_type, instrument.symbol, instrument.name
    sizes, by_price = sizes_of(instrument), market_type == "inverse"

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        made: list[Outcome] = []
        for one in _trades(raw).data:
            price, size, contracts = one.px, one.sz, None
            if price.strip(DIGITS) not in PLAIN or size.strip(DIGITS) not in PLAIN or price < "/" or size < "/":
                decimal("px", price), decimal("sz", size)  # the calls would cost as much as all of the above
            base: str | None = size
            if sizes is not None:
                base, contracts = sizes(size, price if by_price else ""), size
            ts = one.ts * MS
            made.append(
                Trade("okx", market_type, symbol, name, ts, ts_recv, one.trade_id, price, base, contracts, one.side)
            )
        return made

    return parse


# {"arg":{"channel":"option-trades","instType":"OPTION","instFamily":"ABC-USD"},"data":[{"instId":
#   "ABC-USD-250328-60-C","tradeId":"4","px":"0.0105","sz":"1","side":"sell","fillVol":"0.51","ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-option-trades-channel
def option_trades(find: Find) -> Parse:
    """Parser of the trades of a family of options."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        return [_option_trade(one, find(one.inst_id), ts_recv) for one in _option_trades(raw).data]

    return parse


# {"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"instId":"ABC-USDT-SWAP","instType":"SWAP",
#   "details":[{"bkPx":"4.1","side":"sell","posSide":"long","sz":"20","ts":"1700000000123"}]}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-liquidation-orders-channel. The channel is of a whole market:
# filters by family or instrument are dropped without a word, so whoever wants a few takes them out of the records.
def liquidations(find: Find) -> Parse:
    """Parser of the forced orders of a market."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        return [
            _liquidation(forced, find(one.inst_id), ts_recv)
            for one in _liquidations(raw).data
            for forced in one.details
        ]

    return parse


# {"arg":{"channel":"liquidations","instId":"ABC-USD-250328"},"data":[{"bkPx":"4.1","side":"buy","posSide":"short",
#   "sz":"12","ts":"1700000000123"}]}
# Not a channel of OKX: recordings of before 2023 keep so what was polled of GET /api/v5/public/liquidation-orders.
def polled_liquidations(instrument: Instrument) -> Parse:
    """Parser of the recorded forced orders of one instrument."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        return [_liquidation(one, instrument, ts_recv) for one in _forced(raw).data]

    return parse


def sizes_of(instrument: Instrument) -> Callable[[str, str], str | None] | None:
    """Contracts to base units, on inverse markets by their price; null on a spot market, where nothing is to do."""
    if instrument.market_type == "spot":
        return None
    return lru_cache(KEPT_SIZES)(instrument.base_size)


def _option_trade(one: WireOptionTrade, instrument: Instrument, ts_recv: int) -> Trade:
    price, size = decimal("px", one.px), decimal("sz", one.sz)
    return Trade(
        "okx",
        instrument.market_type,
        instrument.symbol,
        instrument.name,
        one.ts * MS,
        ts_recv,
        trade_id=one.trade_id,
        price=price,
        size=instrument.base_size(size, price),
        contracts=instrument.contracts(size),
        side=one.side,
    )


def _liquidation(one: WireForced, instrument: Instrument, ts_recv: int) -> Liquidation:
    price, size = decimal("bkPx", one.bk_px), decimal("sz", one.sz)
    return Liquidation(
        "okx",
        instrument.market_type,
        instrument.symbol,
        instrument.name,
        one.ts * MS,
        ts_recv,
        side=one.side,
        price=price,
        size=instrument.base_size(size, price),
        contracts=instrument.contracts(size),
    )
