"""What only OKX's contracts have: funding rates and open interest."""

from decimal import Decimal

import msgspec

from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import EXACT, Instrument, plain
from marketdata_assets.exchanges.numbers import decimal, decimal_or_none
from marketdata_assets.exchanges.okx.wire import (
    MS,
    VENUE,
    Data,
    Find,
    Millis,
    Parse,
    Wire,
    each,
    nanoseconds,
    time_of,
)
from marketdata_assets.exchanges.outcomes import Outcome
from marketdata_assets.exchanges.records import FundingRate, OpenInterest

HOUR = 3600 * 1000 * MS
PAST_COLUMNS = 3


class WireFunding(Wire, frozen=True, gc=False):
    """`nextFundingRate` is empty where the rate of a period is made within it."""

    inst_id: str = msgspec.field(name="instId")
    funding_rate: str = msgspec.field(name="fundingRate")
    funding_time: Millis = msgspec.field(name="fundingTime")
    next_funding_rate: str = msgspec.field(name="nextFundingRate", default="")
    next_funding_time: str = msgspec.field(name="nextFundingTime", default="")
    ts: str = ""


class WirePaid(Wire, frozen=True, gc=False):
    """A rate of the past; `fundingRate` is what had been said before, `realizedRate` what was paid."""

    inst_id: str = msgspec.field(name="instId")
    realized_rate: str = msgspec.field(name="realizedRate")
    funding_time: Millis = msgspec.field(name="fundingTime")


class WireOpenInterest(Wire, frozen=True, gc=False):
    inst_id: str = msgspec.field(name="instId")
    oi: str  # contracts
    oi_ccy: str = msgspec.field(name="oiCcy")  # coins
    ts: Millis


_funding = msgspec.json.Decoder(Data[WireFunding], strict=False).decode
_paid = msgspec.json.Decoder(Data[WirePaid], strict=False).decode
_rows = msgspec.json.Decoder(Data[tuple[str, ...]]).decode
_open_interest = msgspec.json.Decoder(Data[WireOpenInterest], strict=False).decode


# {"arg":{"channel":"funding-rate","instId":"ABC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":"ABC-USDT-SWAP",
#   "fundingRate":"0.0001","nextFundingRate":"","fundingTime":"1700006400000","nextFundingTime":"1700035200000",
#   "ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-funding-rate-channel, GET /api/v5/public/funding-rate
def funding_rates(find: Find) -> Parse:
    """Parser of the rates to be paid next."""
    return each(_funding, lambda one, ts_recv: _rate(one, find(one.inst_id), ts_recv))


# {"code":"0","msg":"","data":[{"instType":"SWAP","instId":"ABC-USDT-SWAP","fundingRate":"0.0001","realizedRate":
#   "0.00009","fundingTime":"1700006400000"}]}
# https://www.okx.com/docs-v5/en/#public-data-rest-api-get-funding-rate-history
def paid_rates(find: Find) -> Parse:
    """Parser of the rates that were paid."""
    return each(_paid, lambda one, ts_recv: _paid_rate(one, find(one.inst_id), ts_recv))


# {"arg":{"channel":"open-interest","instId":"ABC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":"ABC-USDT-SWAP",
#   "oi":"5000","oiCcy":"50","ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#public-data-websocket-open-interest-channel, GET /api/v5/public/open-interest
def open_interest(find: Find) -> Parse:
    """Parser of open interest."""
    return each(_open_interest, lambda one, ts_recv: _open(one, find(one.inst_id), ts_recv))


# {"code":"0","msg":"","data":[["1700000000000","5000","50","210"]]}
# https://www.okx.com/docs-v5/en/#trading-statistics-rest-api-get-contract-open-interest-history
# Columns: time, contracts, coins, USD.
def past_open_interest(instrument: Instrument) -> Parse:
    """Parser of the history of open interest of one instrument."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        return [_past(row, instrument, ts_recv) for row in _rows(raw).data]

    return parse


def _rate(one: WireFunding, instrument: Instrument, ts_recv: int) -> FundingRate:
    funding_time = one.funding_time * MS
    following = nanoseconds(one.next_funding_time)
    period = 0 if following is None else following - funding_time
    return FundingRate(
        "okx",
        instrument.market_type,
        instrument.symbol,
        instrument.name,
        nanoseconds(one.ts),
        ts_recv,
        rate=decimal("fundingRate", one.funding_rate),
        funding_time=funding_time,
        predicted_rate=decimal_or_none("nextFundingRate", one.next_funding_rate),
        interval_hours=period // HOUR if period > 0 and not period % HOUR else None,
    )


def _paid_rate(one: WirePaid, instrument: Instrument, ts_recv: int) -> FundingRate:
    where = instrument.market_type, instrument.symbol, instrument.name
    rate = decimal("realizedRate", one.realized_rate)
    return FundingRate("okx", *where, None, ts_recv, rate=rate, funding_time=one.funding_time * MS)


def _past(row: tuple[str, ...], instrument: Instrument, ts_recv: int) -> OpenInterest:
    if len(row) < PAST_COLUMNS:
        raise BadMessage(VENUE, f"open interest of {len(row)} columns")
    return _interest(instrument, time_of(row[0]), ts_recv, row[1], row[2])


def _open(one: WireOpenInterest, instrument: Instrument, ts_recv: int) -> OpenInterest:
    return _interest(instrument, one.ts * MS, ts_recv, one.oi, one.oi_ccy)


def _interest(instrument: Instrument, ts_event: int, ts_recv: int, oi: str, oi_ccy: str) -> OpenInterest:
    where = instrument.market_type, instrument.symbol, instrument.name
    contracts, size = decimal("oi", oi), decimal("oiCcy", oi_ccy)
    value = None
    if instrument.market_type == "inverse" and instrument.contract_value is not None:
        value = plain(EXACT.multiply(Decimal(contracts), Decimal(instrument.contract_value)))
    return OpenInterest("okx", *where, ts_event, ts_recv, contracts=contracts, size=size, value=value)
