"""Tickers of Bybit: a state, and what changed in it since; with it come funding rates and open interest of contracts.

https://bybit-exchange.github.io/docs/v5/websocket/public/ticker: contracts have snapshots and deltas, a field that a
delta leaves out has not changed; spot markets have snapshots only. Nothing numbers the deltas without holes, so the
state of a connection ends with it, and with a message that cannot be read.
"""

from typing import Literal

import msgspec
from msgspec.structs import asdict

from marketdata_assets.exchanges import checkpoints
from marketdata_assets.exchanges.bybit import wire
from marketdata_assets.exchanges.bybit.parse import interest
from marketdata_assets.exchanges.checkpoints import StateCheckpoint
from marketdata_assets.exchanges.decimals import decimal, decimal_or_none
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Control, FundingRate, Outcome, Ticker
from marketdata_assets.exchanges.wire import MS, Millis, Wire, nanoseconds


class Message(Wire, frozen=True, gc=False):
    type: Literal["snapshot", "delta"]
    ts: Millis
    data: wire.Ticker


_message = msgspec.json.Decoder(Message, strict=False).decode
_state = msgspec.json.Decoder(wire.Ticker).decode


class TickerStream:
    """The ticker of one instrument. Each connection has its own state, for deltas are about what it sent before."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._states: dict[int, wire.Ticker] = {}  # by connection

    def reset(self, connection: int) -> None:
        """Forget what a connection sent."""
        self._states.pop(connection, None)

    def checkpoint(self) -> list[StateCheckpoint]:
        """What each connection sent, for another feed to continue here."""
        return [
            StateCheckpoint(self.instrument, connection, msgspec.Raw(checkpoints.encode(state)))
            for connection, state in self._states.items()
        ]

    def restore(self, point: StateCheckpoint) -> None:
        """Continue from a checkpoint. Raises msgspec.MsgspecError."""
        self._states[point.connection] = _state(point.state)

    # {"topic":"tickers.ABCUSDT","type":"snapshot","data":{"symbol":"ABCUSDT","lastPrice":"4.20","prevPrice24h":"4.00",
    #   "highPrice24h":"4.40","lowPrice24h":"3.90","volume24h":"2250","turnover24h":"9450","markPrice":"4.21",
    #   "indexPrice":"4.22","openInterest":"500.1","openInterestValue":"2105.42","fundingIntervalHour":"8",
    #   "nextFundingTime":"1700006400000","fundingRate":"0.0001","bid1Price":"4.19","bid1Size":"5","ask1Price":"4.21",
    #   "ask1Size":"11"},"cs":7001,"ts":1700000000123}
    # {"topic":"tickers.ABCUSDT","type":"delta","data":{"symbol":"ABCUSDT","bid1Price":"4.20","bid1Size":"6"},"cs":7002,
    #   "ts":1700000000223}
    def push(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """The ticker after a message, and funding rate and open interest where the message says something of them."""
        message = _message(raw)
        new = {name: value for name, value in asdict(message.data).items() if value is not None}
        if message.type == "snapshot":
            state = message.data
        elif (before := self._states.get(connection)) is not None:
            state = msgspec.structs.replace(before, **new)
        else:
            return [Control("ignored", f"tickers:{self.instrument.name} no snapshot since")]
        ts_event = message.ts * MS
        outcomes: list[Outcome] = [self._ticker(state, ts_event, ts_recv)]
        if state.funding_rate and state.next_funding_time and new.keys() & {"funding_rate", "next_funding_time"}:
            outcomes.append(self._funding(state, ts_event, ts_recv))
        if state.open_interest and new.keys() & {"open_interest", "open_interest_value"}:
            held = decimal("openInterest", state.open_interest)
            worth = decimal_or_none("openInterestValue", state.open_interest_value)
            outcomes.append(interest(self.instrument, ts_event, ts_recv, held, worth))
        self._states[connection] = state
        return outcomes

    def _ticker(self, state: wire.Ticker, ts_event: int, ts_recv: int) -> Ticker:
        instrument, inverse = self.instrument, self.instrument.market_type == "inverse"
        volume, turnover = decimal_or_none("volume24h", state.volume), decimal_or_none("turnover24h", state.turnover)
        return Ticker(
            *instrument.key,
            ts_event,
            ts_recv,
            bid=decimal_or_none("bid1Price", state.bid),
            bid_size=decimal_or_none("bid1Size", state.bid_size),
            ask=decimal_or_none("ask1Price", state.ask),
            ask_size=decimal_or_none("ask1Size", state.ask_size),
            unit=instrument.unit,
            last=decimal_or_none("lastPrice", state.last),
            open=decimal_or_none("prevPrice24h", state.open),
            high=decimal_or_none("highPrice24h", state.high),
            low=decimal_or_none("lowPrice24h", state.low),
            volume=turnover if inverse else volume,
            contracts=volume if inverse else None,
            quote_volume=volume if inverse else turnover,
            mark_price=decimal_or_none("markPrice", state.mark_price),
            index_price=decimal_or_none("indexPrice", state.index_price),
        )

    def _funding(self, state: wire.Ticker, ts_event: int, ts_recv: int) -> FundingRate:
        hours = state.funding_hours
        return FundingRate(
            *self.instrument.key,
            ts_event,
            ts_recv,
            rate=decimal("fundingRate", state.funding_rate or ""),
            funding_time=nanoseconds(state.next_funding_time or ""),
            interval_hours=int(hours) if hours and hours.isascii() and hours.isdecimal() and len(hours) < 5 else None,
            mark_price=decimal_or_none("markPrice", state.mark_price),
            index_price=decimal_or_none("indexPrice", state.index_price),
        )
