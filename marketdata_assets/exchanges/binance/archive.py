"""Binance's public archive: a zip with one CSV for each instrument, kind and UTC day, or month, next to its checksum.

    https://data.binance.vision/data/spot/daily/trades/ABCUSDT/ABCUSDT-trades-2024-01-31.zip
    https://data.binance.vision/data/futures/um/daily/klines/ABCUSDT/1m/ABCUSDT-1m-2024-01-31.zip

A row becomes the record that the stream or the REST history gives for the same event. Times of spot are microseconds
from 2025 on, and become the milliseconds of the stream. Downloading is the business of `exchanges.archive`.
https://github.com/binance/binance-public-data
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

from marketdata_assets.exchanges.archive import ArchivedFile, PublicArchive
from marketdata_assets.exchanges.binance import parse, wire
from marketdata_assets.exchanges.binance.instruments import NS, VENUE, head_of, volumes_of
from marketdata_assets.exchanges.decimals import decimal
from marketdata_assets.exchanges.errors import UNREADABLE, BadMessage, ExchangesError
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import AnyRecord, DeadLetter, FundingRate, MarketType, OpenInterest

URL = "https://data.binance.vision"

FOLDERS: dict[MarketType, str] = {"spot": "spot", "linear": "futures/um", "inverse": "futures/cm"}
MONTH = "1mo"  # how file names write 1M, as some file systems ignore case

_BOOLEANS = {"true": True, "True": True, "false": False, "False": False}
_MICROSECONDS = 10**14  # a time from here on is in microseconds
_HEADERS = {b"id", b"trade_id", b"agg_trade_id", b"open_time", b"create_time", b"calc_time"}  # first columns
_EARLIEST, _LATEST = 10**12, 10**16
_NAME = re.compile(r"(?P<instrument>[^\W_]+(?:_[A-Z0-9]+)?)-(?P<kind>\w+)-\d{4}-\d{2}(?:-\d{2})?\.(?:zip|csv)")

Parser = Callable[[Sequence[str], Instrument, int], AnyRecord]


def daily_file(instrument: Instrument, stream: str, day: dt.date) -> ArchivedFile | None:
    """The file with the rows that the stream sends of a day; None where the archive has no such files.

    `stream` is `trade`, `open_interest`, or `kline_` and the interval. Trades are in the form of the collector's
    stream: single ones of spot, aggregates of futures.
    """
    market_type = instrument.market_type
    if market_type not in FOLDERS:
        return None
    interval = stream.removeprefix("kline_") if stream.startswith("kline_") else ""
    if interval:
        kind = MONTH if interval == "1M" else interval
        folder = f"klines/{instrument.name}/{kind}"
    elif stream == "trade":
        kind = "trades" if market_type == "spot" else "aggTrades"
        folder = f"{kind}/{instrument.name}"
    elif stream == "open_interest" and market_type != "spot":
        kind = "metrics"
        folder = f"{kind}/{instrument.name}"
    else:
        return None
    path = f"/data/{FOLDERS[market_type]}/daily/{folder}/{instrument.name}-{kind}-{day}.zip"
    return ArchivedFile(path, lambda lines, ts_recv: records(kind, lines, instrument, ts_recv))


def named(path: str) -> tuple[str, str] | None:
    """The instrument and the kind of rows that the path of a file says; None for a file of another origin.

    The kind is `trades`, `aggTrades`, `metrics`, `fundingRate`, or the interval of candles. Candles of mark prices,
    index prices and premiums have the names of those of trades, and only the folder distinguishes them:
    raises ExchangesError for them.
    """
    folders, _, file = path.rpartition("/")
    match = _NAME.fullmatch(file)
    if match is None or match["kind"] not in {*_PARSERS, *_CANDLES}:
        return None
    of = next((one for one in reversed(folders.split("/")) if one.lower().endswith("klines")), "klines")
    if match["kind"] in _CANDLES and of.lower() != "klines":
        raise ExchangesError(
            f"{path}: candles of {of} have no table, only those of trades in klines are loaded: delete it"
        )
    return match["instrument"], match["kind"]


def records(
    kind: str, lines: Iterable[bytes], instrument: Instrument, ts_recv: int
) -> Iterator[AnyRecord | DeadLetter]:
    """The records of the lines of a file, with or without a header; a line that cannot be read is a dead letter."""
    parser = _PARSERS.get(kind) or _candle(_CANDLES[kind])
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or (number == 1 and text.partition(b",")[0] in _HEADERS):
            continue
        try:
            yield parser(text.decode().split(","), instrument, ts_recv)
        except (*UNREADABLE, KeyError, IndexError) as error:
            cause = error.cause if isinstance(error, BadMessage) else f"{type(error).__name__}: {error}"
            yield DeadLetter(text, f"line {number}: {cause}", ts_recv)


def _ms(text: str) -> int:
    """Raises BadMessage for what is a time before September 2001 in milliseconds, as seconds are."""
    moment = int(text)
    if not _EARLIEST <= moment < _LATEST:
        raise BadMessage(VENUE, f"{text[:40]!r} is no time in milliseconds or microseconds")
    return moment // 1000 if moment >= _MICROSECONDS else moment


def _trade(row: Sequence[str], instrument: Instrument, ts_recv: int) -> AnyRecord:
    """A single trade: id, price, size, size in the other unit, time, whether the buyer was the maker.

    51175358,17.80180000,5.69000000,101.29224200,1735689600010866,True,True
    """
    number, price, size, _, moment, maker = row[:6]
    made = wire.ListedTrade(int(number), price, size, _ms(moment), _BOOLEANS[maker])
    return parse.trade(made, instrument, ts_recv)


def _agg_trade(row: Sequence[str], instrument: Instrument, ts_recv: int) -> AnyRecord:
    """An aggregate: id, price, size, first and last trade, time, whether the buyer was the maker.

    26129,0.01633102,4.70443515,27781,27781,1498793709153,true
    """
    number, price, size, first, last, moment, maker = row[:7]
    made = wire.ListedAggTrade(int(number), price, size, int(first), int(last), _ms(moment), _BOOLEANS[maker])
    return parse.agg_trade(made, instrument, ts_recv)


def _candle(interval: str) -> Parser:
    """A candle: the columns of the answer to `klines`. A day is archived when it is over, so its candles are closed.

    Trades without volume are those of a mark or index price, whose files have the same names.

    1591258320000,9640.7,9642.4,9640.6,9642.0,206,1591258379999,2.13660389,48,119,1.23424865,0
    """

    def parser(row: Sequence[str], instrument: Instrument, ts_recv: int) -> AnyRecord:
        begin, o, h, l, c, volume, end, worth, trades, bought, bought_worth = row[:11]  # noqa: E741
        if int(trades) and not Decimal(decimal("volume", volume)):
            raise BadMessage(
                VENUE, f"volume 0 of {trades} trades: a candle of a mark or index price, and not of trades"
            )
        listed = wire.ListedCandle(_ms(begin), o, h, l, c, volume, _ms(end), worth, int(trades), bought, bought_worth)
        return parse.candle(listed, interval, instrument, None, ts_recv, closed=True)

    return parser


def _metrics(row: Sequence[str], instrument: Instrument, ts_recv: int) -> AnyRecord:
    """Open interest every five minutes: time, instrument, its amount and its value; ratios follow.

    2020-09-01 00:05:00,ABCUSDT,39080.231,456144339.23,1.17,1.23,1.35,0.78
    """
    moment, name, amount, value = row[:4]
    if name != instrument.name:
        raise BadMessage(VENUE, f"a row of {name[:40]!r} in a file of {instrument.name}")
    at = dt.datetime.strptime(moment, "%Y-%m-%d %H:%M:%S").replace(tzinfo=dt.UTC)
    amounts = decimal("sum_open_interest", amount), decimal("sum_open_interest_value", value)
    size, contracts, worth = volumes_of(instrument, *amounts)
    return OpenInterest(*head_of(instrument, int(at.timestamp()) * 1000, ts_recv), contracts, size, worth)


def _funding(row: Sequence[str], instrument: Instrument, ts_recv: int) -> AnyRecord:
    """A rate that was paid: time, hours between payments, rate. REST has the mark price in addition, and no hours.

    1751328000007,8,0.00008191
    """
    moment, hours, rate = row[:3]
    at = _ms(moment)
    return FundingRate(*head_of(instrument, at, ts_recv), decimal("rate", rate), at * NS, interval_hours=int(hours))


_PARSERS: dict[str, Parser] = {
    "trades": _trade,
    "aggTrades": _agg_trade,
    "metrics": _metrics,
    "fundingRate": _funding,
}
_CANDLES = {
    **{name: name for name in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d")},
    "1w": "1w",
    MONTH: "1M",
}


def market_of(path: str) -> MarketType | None:
    """The market of a file by the folders nearest to it, or a name that only inverse contracts have, as ABCUSD_PERP."""
    at = {market_type: f"/{path}".rfind(f"/{folder}/") for market_type, folder in FOLDERS.items()}
    nearest = max(at, key=at.__getitem__)
    if at[nearest] >= 0:
        return nearest
    return "inverse" if re.match(r"[^\W_]+USD_", path.rpartition("/")[2]) else None


ARCHIVE = PublicArchive(URL, daily_file, named, market_of, records)
