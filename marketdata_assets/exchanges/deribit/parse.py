"""Deribit's messages to records. The order of book updates is the business of `book`, the way to a parser of `feed`.

Amounts of inverse perpetuals and futures are USD, of everything else coins; prices of options on coins are in the coin.
A price or amount of a side without orders comes as 0.0 and is kept so.
"""

from typing import Literal

from msgspec import Raw

from marketdata_assets.exchanges.deribit import wire
from marketdata_assets.exchanges.deribit.wire import VENUE, Direction
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import (
    FundingRate,
    Kline,
    Level,
    Liquidation,
    OpenInterest,
    OrderBook,
    Ticker,
    Trade,
    TradeFlag,
)
from marketdata_assets.exchanges.wire import MS, NONE, maybe, number, signed

HOURS_OF_FUNDING = 8  # Deribit pays funding all the time; its rate is said for so many hours
OPPOSITE: dict[Direction, Direction] = {"buy": "sell", "sell": "buy"}

INTERVALS = {
    **{f"{minutes}": (f"{minutes}m", minutes) for minutes in (1, 3, 5, 10, 15, 30)},
    **{f"{hours * 60}": (f"{hours}h", hours * 60) for hours in (1, 2, 3, 6, 12)},
    "1D": ("1d", 1440),
}
"""Our name of a resolution, and its minutes."""

MINUTE = 60_000 * MS


# {"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.ABC-PERPETUAL.100ms","data":[{"trade_seq":7,
#   "trade_id":"ABC-12","timestamp":1700000000123,"tick_direction":0,"price":100.5,"instrument_name":"ABC-PERPETUAL",
#   "index_price":100.4,"direction":"buy","amount":2.0e3,"contracts":200.0,"liquidation":"M"}]}}
# https://docs.deribit.com/#trades-instrument_name-interval and #trades-kind-currency-interval
# direction is the taker's. liquidation says whose order was forced: T the taker's, M the maker's, MT both. A block
# trade has block_trade_id, the leg of a combo combo_id.
def trade(event: wire.Trade, instrument: Instrument, ts_recv: int) -> list[Trade | Liquidation]:
    """The trade, and the forced orders in it."""
    price, amount, side = number(event.price), number(event.amount), event.direction
    size = amount if instrument.unit == "base" else instrument.base_size(amount, price)
    contracts = number(event.contracts) if event.contracts != NONE else instrument.kept_contracts(amount)
    ts = event.timestamp * MS
    flagged = event.block_trade_id or event.combo_id or event.liquidation
    ids = event.trade_id, price, size, contracts, side, None, None, event.trade_seq, _flags(event) if flagged else ()
    records: list[Trade | Liquidation] = [instrument.trade(ts, ts_recv, *ids)]
    for whose in event.liquidation or ():
        forced = side if whose == "T" else OPPOSITE[side]
        name = f"{event.trade_id}-{whose}"  # a trade may hold two
        records.append(Liquidation(*instrument.key, ts, ts_recv, forced, price, size, contracts, name))
    return records


def _flags(event: wire.Trade) -> tuple[TradeFlag, ...]:
    said: dict[TradeFlag, str | None] = {"block": event.block_trade_id, "combo": event.combo_id}
    return tuple(flag for flag, value in (said | {"liquidation": event.liquidation}).items() if value)


# [[100.5,10.0],[100.0,2.0e3]]
# https://docs.deribit.com/#book-instrument_name-group-depth-interval
def levels(whole: list[wire.Level]) -> tuple[Level, ...]:
    """Whole levels."""
    return tuple([(number(price), number(amount)) for price, amount in whole])


def book(
    instrument: Instrument,
    kind: Literal["snapshot", "delta"],
    bids: tuple[Level, ...],
    asks: tuple[Level, ...],
    ids: tuple[int, int | None],
    ts: int,
    ts_recv: int,
) -> OrderBook:
    """The record of one book message, regardless of earlier ones. `ids` are its own and that of the message before."""
    return OrderBook(*instrument.key, ts, ts_recv, kind, bids, asks, instrument.unit, None, *ids)


# {"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.ABC-PERPETUAL.100ms","data":{
#   "timestamp":1700000000123,"instrument_name":"ABC-PERPETUAL","state":"open","last_price":100.5,"mark_price":100.47,
#   "index_price":100.4,"best_bid_price":100.0,"best_bid_amount":50.0,"best_ask_price":100.5,"best_ask_amount":2.0e3,
#   "stats":{"volume":1.5,"volume_usd":150.0,"price_change":-0.1,"low":99.0,"high":101.0},"open_interest":1000,
#   "current_funding":0.0,"funding_8h":6.5e-6,"settlement_price":100.2}}}
# An option has "underlying_price":100.6,"greeks":{"vega":3.88497,"theta":-28.34113,"rho":0.66242,"gamma":0.00058,
#   "delta":0.62959} and no funding.
# https://docs.deribit.com/#ticker-instrument_name-interval
def ticker(event: wire.Ticker, instrument: Instrument, ts_recv: int) -> list[Ticker | FundingRate | OpenInterest]:
    """The ticker, the funding rate of a perpetual, and the open interest of whatever has one."""
    ts, stats = event.timestamp * MS, event.stats
    delta, gamma, vega, theta, rho = greeks(event.greeks)
    records: list[Ticker | FundingRate | OpenInterest] = [
        Ticker(
            *instrument.key,
            ts,
            ts_recv,
            bid=maybe(event.best_bid_price),
            bid_size=maybe(event.best_bid_amount),
            ask=maybe(event.best_ask_price),
            ask_size=maybe(event.best_ask_amount),
            unit=instrument.unit,
            last=maybe(event.last_price),
            high=maybe(stats.high),
            low=maybe(stats.low),
            volume=maybe(stats.volume),
            quote_volume=turnover(instrument, stats.volume_usd, stats.volume_notional),
            mark_price=maybe(event.mark_price),
            index_price=maybe(event.index_price),
            settlement_price=maybe(event.settlement_price),
            bid_iv=maybe(event.bid_iv),
            ask_iv=maybe(event.ask_iv),
            mark_iv=maybe(event.mark_iv),
            price_change=None if stats.price_change == NONE else signed(stats.price_change),
            underlying_price=maybe(event.underlying_price),
            delta=delta,
            gamma=gamma,
            vega=vega,
            theta=theta,
            rho=rho,
        )
    ]
    rate, interest = event.current_funding, event.open_interest
    return [*records, *derivatives(instrument, ts, ts_recv, rate, event.mark_price, event.index_price, interest)]


def greeks(event: wire.Greeks | None) -> list[str | None]:
    """Delta, gamma, vega, theta and rho of an option."""
    if event is None:
        return [None] * 5
    values = event.delta, event.gamma, event.vega, event.theta, event.rho
    return [None if value == NONE else signed(value) for value in values]


def turnover(instrument: Instrument, usd: Raw, notional: Raw) -> str | None:
    """Volume in the quote currency: USD for instruments quoted in it."""
    return maybe(usd if instrument.quote == "USD" else notional)


def derivatives(
    instrument: Instrument, ts: int, ts_recv: int, rate: Raw, mark: Raw, index: Raw, amount: Raw
) -> list[FundingRate | OpenInterest]:
    """The rate of a perpetual that is being paid now, and what is open: USD of inverse futures, coins of others."""
    head = *instrument.key, ts, ts_recv
    records: list[FundingRate | OpenInterest] = []
    if instrument.name.endswith("-PERPETUAL") and rate != NONE:
        prices = maybe(mark), maybe(index)
        records.append(FundingRate(*head, signed(rate), None, None, HOURS_OF_FUNDING, *prices))
    if instrument.market_type != "spot":
        if amount == NONE:
            raise BadMessage(VENUE, f"no open_interest of {instrument.name}")
        text = number(amount)
        sizes = (text, None) if instrument.unit == "base" else (None, text)
        records.append(OpenInterest(*head, instrument.kept_contracts(text), *sizes))
    return records


# {"jsonrpc":"2.0","method":"subscription","params":{"channel":"quote.ABC-PERPETUAL","data":{"timestamp":1700000000123,
#   "instrument_name":"ABC-PERPETUAL","best_bid_price":100.0,"best_bid_amount":50.0,"best_ask_price":100.5,
#   "best_ask_amount":10.0}}}
# https://docs.deribit.com/#quote-instrument_name
def quote(event: wire.Quote, instrument: Instrument, ts_recv: int) -> list[Ticker]:
    """The best prices."""
    bid, bid_size = maybe(event.best_bid_price), maybe(event.best_bid_amount)
    ask, ask_size = maybe(event.best_ask_price), maybe(event.best_ask_amount)
    ts = event.timestamp * MS
    return [Ticker(*instrument.key, ts, ts_recv, bid, bid_size, ask, ask_size, instrument.unit)]


# {"jsonrpc":"2.0","method":"subscription","params":{"channel":"chart.trades.ABC-PERPETUAL.1","data":{
#   "tick":1700000040000,"open":100.5,"high":101.0,"low":100.0,"close":100.5,"volume":0.5,"cost":50.0}}}
# https://docs.deribit.com/#chart-trades-instrument_name-resolution
# cost is in the currency of the price: USD, USDC, and for options on coins the coin.
def candle(event: wire.Candle, instrument: Instrument, resolution: str, ts_recv: int) -> Kline:
    """One candle; Deribit does not say when it is closed, nor when the message was made."""
    if resolution not in INTERVALS:
        raise BadMessage(VENUE, f"a resolution {resolution[:20]!r}, which is not documented")
    interval, minutes = INTERVALS[resolution]
    volume, cost, opened = number(event.volume), number(event.cost), event.tick * MS
    prices = number(event.open), number(event.high), number(event.low), number(event.close)
    contracts = instrument.kept_contracts(cost if instrument.unit == "quote" else volume)
    span, volumes = (opened, opened + minutes * MINUTE), (volume, contracts, cost)
    return instrument.candle(None, ts_recv, interval, span, prices, volumes)
