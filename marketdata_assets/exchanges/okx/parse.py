"""OKX's messages to records: trades, forced orders, tickers, candles, funding rates, open interest."""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, partial
from typing import TypeVar

import msgspec

from marketdata_assets.exchanges.decimals import DIGITS, EXACT, PLAIN, decimal, decimal_or_none, plain, quoted_size
from marketdata_assets.exchanges.errors import UNREADABLE, BadMessage, UnknownInstrument
from marketdata_assets.exchanges.instruments import KEPT_SIZES, Instrument
from marketdata_assets.exchanges.okx import wire
from marketdata_assets.exchanges.okx.instruments import named
from marketdata_assets.exchanges.okx.wire import VENUE, Data
from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    FundingRate,
    Kline,
    Liquidation,
    OpenInterest,
    Outcome,
    Parser,
    Ticker,
    Trade,
    TradeFlag,
    numbered,
)
from marketdata_assets.exchanges.wire import MS, Find, nanoseconds

T = TypeVar("T")
RETAIL: tuple[TradeFlag, ...] = ("rpi",)
N = TypeVar("N", bound=wire.Named | wire.OptionTrade)
Convert = Callable[[T, Instrument, int], Outcome]


def each(decode: Callable[[bytes], Data[T]], convert: Callable[[T, int], Outcome]) -> Parser:
    """A parser that makes one outcome of each element."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        return [convert(element, ts_recv) for element in decode(raw).data]

    return parse


def of_instrument(kind: type[T]) -> Callable[[Convert[T]], Callable[[Instrument], Parser]]:
    """Turn a function of one element into the parser of messages of one instrument."""
    decode = msgspec.json.Decoder(Data[kind], strict=False).decode  # type: ignore[valid-type]

    def decorate(convert: Convert[T]) -> Callable[[Instrument], Parser]:
        return lambda instrument: each(decode, lambda element, ts_recv: convert(element, instrument, ts_recv))

    return decorate


def by_instrument(kind: type[N]) -> Callable[[Convert[N]], Callable[[Find], Parser]]:
    """Turn a function of one element into the parser of messages whose elements each name their instrument."""
    decode = msgspec.json.Decoder(Data[kind], strict=False).decode  # type: ignore[valid-type]

    def decorate(convert: Convert[N]) -> Callable[[Find], Parser]:
        return lambda find: each(decode, lambda element, ts_recv: convert(element, find(element.inst_id), ts_recv))

    return decorate


_summaries = msgspec.json.Decoder(Data[wire.Option], strict=False).decode
_index = msgspec.json.Decoder(Data[wire.IndexTicker], strict=False).decode
_trades = msgspec.json.Decoder(Data[wire.Trade], strict=False).decode
_liquidations = msgspec.json.Decoder(Data[wire.Liquidations], strict=False).decode


# {"arg":{"channel":"trades","instId":"ABC-USDT"},"data":[{"instId":"ABC-USDT","tradeId":"71","px":"4.2","sz":"0.15",
#   "side":"buy","ts":"1700000000123","count":"1","source":"0"}]}
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-trades-channel; trades-all and the answers of
# GET /api/v5/market/trades and history-trades have the same elements. `count` trades at one price come as one under the
# tradeId of the last; the trades of an instrument are numbered without gaps.
def trades(instrument: Instrument) -> Parser:
    """Parser of the trades of one instrument."""
    make: Callable[..., Trade] = partial(Trade, *instrument.key)
    market_type = instrument.market_type
    sizes = None if market_type == "spot" else lru_cache(KEPT_SIZES)(instrument.base_size)
    by_price = market_type == "inverse"

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        records: list[Outcome] = []
        for element in _trades(raw).data:
            price, size, contracts = element.px, element.sz, None
            if price.strip(DIGITS) not in PLAIN or size.strip(DIGITS) not in PLAIN or price < "/" or size < "/":
                decimal("px", price)  # raises where it is no number; the calls would cost as much as all of the above
                decimal("sz", size)
            base: str | None = size
            if sizes is not None:
                base, contracts = sizes(size, price if by_price else ""), size
            ts, last, count = element.ts * MS, element.trade_id, element.count
            number = int(last)
            first, end = (None, None) if count == 1 else (str(number - count + 1), last)
            flags = RETAIL if element.source == "1" else ()
            records.append(make(ts, ts_recv, last, price, base, contracts, element.side, first, end, number, flags))
        return records

    return parse


# {"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"instId":"ABC-USDT-SWAP","instType":"SWAP",
#   "details":[{"bkPx":"4.1","side":"sell","posSide":"long","sz":"20","ts":"1700000000123"}]}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-liquidation-orders-channel. The channel is of a whole market:
# filters by family or instrument are dropped without a word, so whoever wants a few takes them out of the records.
def liquidations(find: Find) -> Parser:
    """Parser of the forced orders of a market."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        made: list[Outcome] = []
        for element in _liquidations(raw).data:
            try:
                instrument = find(element.inst_id)
                made += numbered(_liquidation(forced, instrument, ts_recv) for forced in element.details)
            except UNREADABLE as error:
                made.append(DeadLetter.of(raw, error, ts_recv))
        return made

    return parse


def _liquidation(element: wire.Forced, instrument: Instrument, ts_recv: int) -> Liquidation:
    price, size = decimal("bkPx", element.bk_px), decimal("sz", element.sz)
    sizes = instrument.sizes(size, price)
    return Liquidation(*instrument.key, element.ts * MS, ts_recv, element.side, price, *sizes)


# {"arg":{"channel":"liquidations","instId":"ABC-USD-250328"},"data":[{"bkPx":"4.1","side":"buy","posSide":"short",
#   "sz":"12","ts":"1700000000123"}]}
# Not a channel of OKX: recordings of before 2023 keep so what was polled of GET /api/v5/public/liquidation-orders.
polled_liquidations = of_instrument(wire.Forced)(_liquidation)


# {"arg":{"channel":"option-trades","instType":"OPTION","instFamily":"ABC-USD"},"data":[{"instId":
#   "ABC-USD-250328-60-C","tradeId":"4","px":"0.0105","sz":"1","side":"sell","fillVol":"0.51","ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-option-trades-channel
@by_instrument(wire.OptionTrade)
def option_trades(element: wire.OptionTrade, instrument: Instrument, ts_recv: int) -> Trade:
    price, size = decimal("px", element.px), decimal("sz", element.sz)
    sizes = instrument.sizes(size, price)
    return Trade(*instrument.key, element.ts * MS, ts_recv, element.trade_id, price, *sizes, element.side)


# {"arg":{"channel":"bbo-tbt","instId":"ABC-USDT"},"data":[{"asks":[["4.21","0.5","0","2"]],"bids":[["4.2","1","0",
#   "1"]],"ts":"1700000000123","seqId":91}]}
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel; a side may be empty.
@of_instrument(wire.Best)
def best_prices(element: wire.Best, instrument: Instrument, ts_recv: int) -> Ticker:
    bid, bid_size = _first("bid", element.bids)
    ask, ask_size = _first("ask", element.asks)
    head, unit = (*instrument.key, element.ts * MS, ts_recv), instrument.unit
    return Ticker(*head, bid, bid_size, ask, ask_size, unit, element.seq_id)


# {"arg":{"channel":"tickers","instId":"ABC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":"ABC-USDT-SWAP",
#   "last":"4.2","lastSz":"3","askPx":"4.21","askSz":"11","bidPx":"4.2","bidSz":"5","open24h":"4","high24h":"4.4",
#   "low24h":"3.9","volCcy24h":"22.5","vol24h":"2250","ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-tickers-channel, GET /api/v5/market/tickers
@by_instrument(wire.Ticker)
def tickers(element: wire.Ticker, instrument: Instrument, ts_recv: int) -> Ticker:
    spot = instrument.market_type == "spot"
    volume, currency = decimal_or_none("vol24h", element.vol_24h), decimal_or_none("volCcy24h", element.vol_ccy_24h)
    return Ticker(
        *instrument.key,
        element.ts * MS,
        ts_recv,
        bid=decimal_or_none("bidPx", element.bid_px),
        bid_size=quoted_size("bidSz", element.bid_sz, element.bid_px),
        ask=decimal_or_none("askPx", element.ask_px),
        ask_size=quoted_size("askSz", element.ask_sz, element.ask_px),
        unit=instrument.unit,
        last=decimal_or_none("last", element.last),
        last_size=decimal_or_none("lastSz", element.last_sz),
        open=decimal_or_none("open24h", element.open_24h),
        high=decimal_or_none("high24h", element.high_24h),
        low=decimal_or_none("low24h", element.low_24h),
        volume=volume if spot else currency,
        contracts=None if spot else volume,
        quote_volume=currency if spot else None,
    )


def _first(side: str, levels: tuple[wire.Level, ...]) -> tuple[str, str] | tuple[None, None]:
    if not levels:
        return None, None
    return decimal(side, levels[0].price), decimal(f"{side} size", levels[0].size)


# {"arg":{"channel":"mark-price","instId":"ABC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":"ABC-USDT-SWAP",
#   "markPx":"4.2003","ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-mark-price-channel, GET /api/v5/public/mark-price
@by_instrument(wire.MarkPrice)
def mark_prices(element: wire.MarkPrice, instrument: Instrument, ts_recv: int) -> Ticker:
    return Ticker(*instrument.key, element.ts * MS, ts_recv, mark_price=decimal("markPx", element.mark_px))


# {"arg":{"channel":"index-tickers","instId":"ABC-USDT"},"data":[{"instId":"ABC-USDT","idxPx":"4.2001","high24h":"4.4",
#   "low24h":"3.9","open24h":"4","ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-index-tickers-channel
# It becomes a record of the perpetual on that index; an index without a listed one has none.
def index_tickers(find: Find) -> Parser:
    """Parser of the prices of an index."""

    def convert(element: wire.IndexTicker, ts_recv: int) -> Outcome:
        price = decimal("idxPx", element.idx_px)
        try:
            instrument = find(f"{element.inst_id}-SWAP")
        except UnknownInstrument:
            instrument = None
        if instrument is None or instrument.contract_value is None:  # derived from the name, which says too little
            return Control("ignored", f"index-tickers:{element.inst_id}")
        return Ticker(*instrument.key, element.ts * MS, ts_recv, index_price=price)

    return each(_index, convert)


# {"arg":{"channel":"opt-summary","instFamily":"ABC-USD"},"data":[{"instType":"OPTION","instId":"ABC-USD-250328-60-C",
#   "delta":"0.2","deltaBS":"0.21","gammaBS":"0.0013","thetaBS":"-16.4","vegaBS":"0.76","fwdPx":"60.2",
#   "markVol":"0.505","bidVol":"0.5","askVol":"","ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-option-summary-channel, GET /api/v5/public/opt-summary
# It is of a whole family: an option that was listed after our list is ignored until it is in the next one.
def option_summaries(find: Find) -> Parser:
    """Parser of volatilities and greeks."""

    def convert(element: wire.Option, ts_recv: int) -> Outcome:
        try:
            return _summary(element, find(element.inst_id), ts_recv)
        except UnknownInstrument:
            if named(element.inst_id) is None:
                raise
            return Control("ignored", f"opt-summary:{element.inst_id}")

    return each(_summaries, convert)


def _summary(element: wire.Option, instrument: Instrument, ts_recv: int) -> Ticker:
    return Ticker(
        *instrument.key,
        element.ts * MS,
        ts_recv,
        bid_iv=_percent("bidVol", element.bid_vol),
        ask_iv=_percent("askVol", element.ask_vol),
        mark_iv=_percent("markVol", element.mark_vol),
        underlying_price=decimal_or_none("fwdPx", element.fwd_px),
        delta=decimal_or_none("deltaBS", element.delta_bs),
        gamma=decimal_or_none("gammaBS", element.gamma_bs),
        vega=decimal_or_none("vegaBS", element.vega_bs),
        theta=decimal_or_none("thetaBS", element.theta_bs),
    )


def _percent(what: str, text: str) -> str | None:
    share = decimal_or_none(what, text)
    return None if share is None else plain(EXACT.scaleb(Decimal(share), 2))


OLD_COLUMNS, COLUMNS = 7, 9  # of a candle, before 2023 and since
CLOSED = {"0": False, "1": True}

_BAR = re.compile(r"(?P<count>[0-9]{1,2})(?P<unit>[smHDWM])(?P<utc>utc)?", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "H": 3600, "D": 86400, "W": 604800}
_HONG_KONG = dt.timedelta(hours=8)

_rows = msgspec.json.Decoder(Data[tuple[str, ...]]).decode


@dataclass(frozen=True)
class Bar:
    """A length of candles, as OKX writes it: 1m, 4H, 1Dutc, 1M. Days, weeks and months without `utc` begin at UTC+8."""

    interval: str  # as records say it
    end: Callable[[int], int]  # the end of the candle that begins then, both ns


def bar_of(text: str) -> Bar | None:
    """The bar; null when it is none."""
    match = _BAR.fullmatch(text)
    if match is None or not int(match["count"]):
        return None
    count, unit = int(match["count"]), match["unit"]
    if unit == "M":
        shift = dt.timedelta(0) if match["utc"] else _HONG_KONG
        return Bar(f"{count}M", lambda start: _months_after(start, count, shift))
    length = count * _SECONDS[unit] * 1000 * MS
    return Bar(f"{count}{unit.lower()}", lambda start: start + length)


# {"arg":{"channel":"candle1m","instId":"ABC-USDT-SWAP"},"data":[["1700000040000","4.2","4.3","4.1","4.2","210","2.1",
#   "8.8","0"]]}
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-candlesticks-channel; the answers of
# GET /api/v5/market/candles and history-candles have the same rows. `confirm` 1 says that the candle is closed.
def candles(instrument: Instrument, bar: Bar) -> Parser:
    """Parser of the candles of one instrument."""
    return each(_rows, lambda element, ts_recv: _candle(element, instrument, bar, ts_recv))


def _candle(row: tuple[str, ...], instrument: Instrument, bar: Bar, ts_recv: int) -> Kline:
    if len(row) != OLD_COLUMNS and len(row) < COLUMNS:
        raise BadMessage(VENUE, f"a candle of {len(row)} columns")
    open_time = nanoseconds(row[0])
    first, high, low, last = (decimal("price", text) for text in row[1:5])
    volume, currency = decimal("vol", row[5]), decimal("volCcy", row[6])
    spot = instrument.market_type == "spot"
    quote_volume, closed = currency if spot else None, None
    if len(row) >= COLUMNS:
        quote_volume, closed = decimal("volCcyQuote", row[7]), CLOSED.get(row[8])
        if closed is None:
            raise BadMessage(VENUE, f"confirm is {row[8][:40]!r}, which is neither 0 nor 1")
    span, prices = (open_time, bar.end(open_time)), (first, high, low, last)
    volumes = (volume, None, quote_volume) if spot else (currency, volume, quote_volume)
    return instrument.candle(None, ts_recv, bar.interval, span, prices, volumes, closed=closed)


def _months_after(start: int, months: int, shift: dt.timedelta) -> int:
    seconds, rest = divmod(start, 1000 * MS)
    local = dt.datetime.fromtimestamp(seconds, dt.UTC) + shift
    month = local.year * 12 + local.month - 1 + months
    later = local.replace(year=month // 12, month=month % 12 + 1, day=1) + dt.timedelta(days=local.day - 1) - shift
    return int(later.timestamp()) * 1000 * MS + rest


HOUR = 3600 * 1000 * MS


def _time(millis: str) -> int | None:
    """A time that may be empty."""
    return nanoseconds(millis) if millis else None


# {"code":"0","msg":"","data":[["1700000000000","5000","50","210"]]}
# https://www.okx.com/docs-v5/en/#trading-statistics-rest-api-get-contract-open-interest-history
# Columns: time, contracts, coins, USD.
def past_open_interest(instrument: Instrument) -> Parser:
    """Parser of the open interest that one instrument had."""
    return each(_rows, lambda row, ts_recv: _past_interest(row, instrument, ts_recv))


def _past_interest(row: tuple[str, ...], instrument: Instrument, ts_recv: int) -> OpenInterest:
    if len(row) < 3:
        raise BadMessage(VENUE, f"open interest of {len(row)} columns")
    return _interest(instrument, nanoseconds(row[0]), ts_recv, row[1], row[2], row[3] if len(row) > 3 else "")


# {"arg":{"channel":"funding-rate","instId":"ABC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":"ABC-USDT-SWAP",
#   "fundingRate":"0.0001","nextFundingRate":"","fundingTime":"1700006400000","nextFundingTime":"1700035200000",
#   "ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-funding-rate-channel, GET /api/v5/public/funding-rate
@by_instrument(wire.Funding)
def funding_rates(element: wire.Funding, instrument: Instrument, ts_recv: int) -> FundingRate:
    funding_time = element.funding_time * MS
    following = _time(element.next_funding_time)
    period = 0 if following is None else following - funding_time
    return FundingRate(
        *instrument.key,
        _time(element.ts),
        ts_recv,
        rate=decimal("fundingRate", element.funding_rate),
        funding_time=funding_time,
        predicted_rate=decimal_or_none("nextFundingRate", element.next_funding_rate),
        interval_hours=period // HOUR if period > 0 and not period % HOUR else None,
        premium=decimal_or_none("premium", element.premium),
    )


# {"code":"0","msg":"","data":[{"instType":"SWAP","instId":"ABC-USDT-SWAP","fundingRate":"0.0001","realizedRate":
#   "0.00009","fundingTime":"1700006400000"}]}
# https://www.okx.com/docs-v5/en/#public-data-rest-api-get-funding-rate-history
@by_instrument(wire.Paid)
def paid_rates(element: wire.Paid, instrument: Instrument, ts_recv: int) -> FundingRate:
    rate = decimal("realizedRate", element.realized_rate)
    return FundingRate(*instrument.key, None, ts_recv, rate=rate, funding_time=element.funding_time * MS)


# {"arg":{"channel":"open-interest","instId":"ABC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":"ABC-USDT-SWAP",
#   "oi":"5000","oiCcy":"50","oiUsd":"210","ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-open-interest-channel, GET /api/v5/public/open-interest
@by_instrument(wire.OpenInterest)
def open_interest(element: wire.OpenInterest, instrument: Instrument, ts_recv: int) -> OpenInterest:
    return _interest(instrument, element.ts * MS, ts_recv, element.oi, element.oi_ccy, element.oi_usd)


def _interest(instrument: Instrument, ts_event: int, ts_recv: int, oi: str, oi_ccy: str, oi_usd: str) -> OpenInterest:
    contracts, size = decimal("oi", oi), decimal("oiCcy", oi_ccy)
    value = None
    if instrument.market_type == "inverse" and instrument.contract_value is not None:
        value = plain(EXACT.multiply(Decimal(contracts), Decimal(instrument.contract_value)))
    value_usd = decimal_or_none("oiUsd", oi_usd)
    return OpenInterest(*instrument.key, ts_event, ts_recv, contracts, size, value, value_usd)
