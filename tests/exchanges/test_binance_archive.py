"""Rows of Binance's public archive become the records of the stream; a damaged file is refused."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.exchanges.archive import ArchiveClient, csv_lines
from marketdata_assets.exchanges.binance import archive
from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.binance.instruments import named
from marketdata_assets.exchanges.errors import BadArchive, ExchangesError, VenueUnavailable
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import DeadLetter, FundingRate, Kline, MarketType, OpenInterest
from tests.exchanges.archive_server import ArchiveServer
from tests.exchanges.history_pages import HASTY

DAY = dt.date(2025, 1, 31)
MS = 1_000_000
RECV = 1_800_000_000 * 10**9
SPOT = named("spot", "ABCUSDT")
LINEAR = named("linear", "ABCUSDT")
INVERSE = Instrument("binance", "inverse", "ABCUSD_PERP", "ABC-USD", "ABC", "USD", "contracts", "10")
assert SPOT
assert LINEAR


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with ArchiveServer() as one:
        yield one


def read(kind: str, lines: list[str], instrument: Instrument | None) -> list[Any]:
    assert instrument
    return list(archive.records(kind, [f"{line}\r\n".encode() for line in lines], instrument, RECV))


def live(market_type: MarketType, message: str) -> Any:
    [record] = BinanceFeed(market_type, strict=False).push(message.encode(), RECV)
    return record


@pytest.mark.parametrize("moment", ["1735689600010", "1735689600010866"])
def test_single_trade_is_the_one_of_the_stream(moment: str) -> None:
    event = '{"e":"trade","E":1735689600011,"s":"ABCUSDT","t":51175358,"p":"17.80180000","q":"5.69000000",'
    streamed = live("spot", event + '"T":1735689600010,"m":true,"M":true}')
    assert read("trades", [f"51175358,17.80180000,5.69000000,101.29,{moment},True,True"], SPOT) == [streamed]


def test_aggregate_is_the_one_of_the_stream() -> None:
    header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    event = '{"e":"aggTrade","E":1700000000005,"s":"ABCUSDT","a":678,"p":"1.2300","q":"4.5","f":12345,"l":12347,'
    streamed = live("linear", event + '"T":1700000000003,"m":false}')
    assert read("aggTrades", [header, "678,1.2300,4.5,12345,12347,1700000000003,false"], LINEAR) == [streamed]


def test_candle_is_closed_and_counts_contracts_of_coin_m() -> None:
    row = "1591258320000,9640.7,9642.4,9640.6,9642.0,206,1591258379999,2.13660389,48,119,1.23424865,0"
    [found] = read("1m", ["open_time,open,high,low,close,volume,close_time,x,y,z,a,ignore", row], INVERSE)
    assert isinstance(found, Kline)
    assert (found.interval, found.open_time, found.close_time) == ("1m", 1591258320000 * MS, 1591258380000 * MS)
    assert (found.open, found.close, found.contracts, found.volume) == ("9640.7", "9642.0", "206", "2.13660389")
    assert (found.quote_volume, found.trades, found.closed) == ("2060", 48, True)
    assert read("1mo", [row], INVERSE)[0].interval == "1M"


def test_open_interest_and_funding() -> None:
    header = "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio"
    [interest] = read("metrics", [header, "2020-09-01 00:05:00,ABCUSDT,39080.231,456144339.23,1.17"], LINEAR)
    assert isinstance(interest, OpenInterest)
    assert (interest.size, interest.value, interest.ts_event) == ("39080.231", "456144339.23", 1598918700 * 10**9)
    [rate] = read("fundingRate", ["calc_time,hours,last_funding_rate", "1751328000007,8,0.00008191"], LINEAR)
    assert isinstance(rate, FundingRate)
    assert (rate.rate, rate.funding_time, rate.interval_hours) == ("0.00008191", 1751328000007 * MS, 8)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("trades", "1,2"),
        ("trades", "x,1,1,1,1735689600010,True,True"),
        ("trades", "1,1,1,1,1735689600010,maybe,True"),
        ("trades", "1,one,1,1,1735689600010,True,True"),
        ("metrics", "2020-09-01 00:05:00,XYZUSDT,1,1"),
        ("metrics", "2020-09-01,ABCUSDT,1,1"),
        ("1m", "1591258320000,9640.7"),
        ("1m", "1591258320000,9640.7,9642.4,9640.6,9642.0,0,1591258379999,0,60,0,0,0"),
        ("trades", "1,1,1,1,1735689600010,Tr\xfce,True"),
    ],
)
def test_line_that_cannot_be_read_is_kept_with_its_number(kind: str, line: str) -> None:
    good = "1,1.5,2,3,1735689600010,True,True"
    found = read(kind, ["open_time,open", line], LINEAR) if kind != "trades" else read(kind, [good, line], LINEAR)
    assert isinstance(found[-1], DeadLetter)
    assert found[-1].cause.startswith("line 2: ")
    assert found[-1].raw == line.encode()


@pytest.mark.parametrize(
    ("instrument", "stream", "path"),
    [
        (SPOT, "trade", "/data/spot/daily/trades/ABCUSDT/ABCUSDT-trades-2025-01-31.zip"),
        (LINEAR, "trade", "/data/futures/um/daily/aggTrades/ABCUSDT/ABCUSDT-aggTrades-2025-01-31.zip"),
        (LINEAR, "kline_1M", "/data/futures/um/daily/klines/ABCUSDT/1mo/ABCUSDT-1mo-2025-01-31.zip"),
        (INVERSE, "open_interest", "/data/futures/cm/daily/metrics/ABCUSD_PERP/ABCUSD_PERP-metrics-2025-01-31.zip"),
        (SPOT, "open_interest", None),
        (LINEAR, "funding_rate", None),
    ],
)
def test_path_of_a_day(instrument: Instrument, stream: str, path: str | None) -> None:
    file = archive.daily_file(instrument, stream, DAY)
    assert (file.path if file else None) == path


def test_names_of_files() -> None:
    assert archive.named("ABCUSDT-aggTrades-2025-01-31.zip") == ("ABCUSDT", "aggTrades")
    assert archive.named("ABCUSD_PERP-1mo-2025-01.csv") == ("ABCUSD_PERP", "1mo")
    assert archive.named("ABCUSDT-depth-2025-01-31.zip") is None
    assert archive.named("okx-20250131.capture.zst") is None
    assert archive.named("markPriceKlines/klines/ABCUSDT/1m/ABCUSDT-1m-2025-01-31.zip") == ("ABCUSDT", "1m")
    with pytest.raises(ExchangesError, match="candles of premiumIndexKlines have no table"):
        archive.named("data/futures/um/daily/premiumIndexKlines/ABCUSDT/1m/ABCUSDT-1m-2025-01-31.zip")


def test_market_of_the_nearest_folder() -> None:
    for folder, market in (("spot/mirror/data/futures/um", "linear"), ("futures/um/spot", "spot")):
        assert archive.market_of(f"{folder}/daily/trades/ABCUSDT/ABCUSDT-trades-2025-01-31.zip") == market


@pytest.mark.parametrize("line", ["x,1.5,2,3,1735689600010,True,True", '"1","1.5","2","3","1735689600010","true"'])
def test_first_line_without_names_of_columns_is_no_header(line: str) -> None:
    [first, _] = read("trades", [line, "1,1.5,2,3,1735689600010,True,True"], LINEAR)
    assert isinstance(first, DeadLetter)
    assert first.cause.startswith("line 1: ")


PATH = "/data/x/ABCUSDT-trades-2025-01-31.zip"


def download(server: ArchiveServer, path: str = PATH) -> list[bytes] | None:
    async def main() -> list[bytes] | None:
        async with ArchiveClient("binance", server.url, HASTY) as client:
            found = await client.download(path)
            if found is None:
                return None
            with found[0] as file:
                return list(csv_lines(file, Path(path).name))

    return asyncio.run(main())


def test_download_survives_faults_of_the_server(server: ArchiveServer) -> None:
    server.put(PATH, ["a,b", "1,2"])
    server.drop(1, "CHECKSUM")
    server.fail(503, 1, ".zip")
    assert download(server) == [b"a,b\n", b"1,2\n"]


def test_files_of_a_symbol_that_is_not_ascii_are_verified(server: ArchiveServer) -> None:
    path = "/data/x/币安人生USDT-trades-2025-01-31.zip"
    server.put(path, ["1,2"])
    assert download(server, path) == [b"1,2\n"]
    assert archive.market_of("币安人生USD_PERP-trades-2025-01-31.zip") == "inverse"


def test_file_that_the_archive_lacks_is_none(server: ArchiveServer) -> None:
    assert download(server) is None


def test_file_that_is_not_the_published_one_is_refused(server: ArchiveServer) -> None:
    server.put(PATH, ["1,2"])
    server.files[PATH] += b"x"
    with pytest.raises(BadArchive, match=r"SHA-256.*--source rest"):
        download(server)
    for checksum in (b"<html>", b"0" * 64 + b"  \xff\xfe.zip\n", b"0" * 64 + b"  other.zip\n"):
        server.files[f"{PATH}.CHECKSUM"] = checksum
        with pytest.raises(BadArchive, match="checksum file is not one"):
            download(server)


def test_zip_without_a_csv_is_refused(server: ArchiveServer) -> None:
    server.files[PATH] = b"no zip"
    server.files[f"{PATH}.CHECKSUM"] = f"{sha256(b'no zip').hexdigest()}  {Path(PATH).name}".encode()
    with pytest.raises(BadArchive, match="zip"):
        download(server)


def test_archive_that_is_away_is_named(server: ArchiveServer) -> None:
    server.fail(500, 50)
    with pytest.raises(VenueUnavailable, match="archive"):
        download(server)
