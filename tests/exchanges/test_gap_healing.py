"""Gaps of trades closed against test servers of the venues: what is missing comes once, what cannot come is named."""

import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.records import Gap, Trade
from marketdata_assets.exchanges.tables import gap_backfill, gaps
from marketdata_assets.exchanges.tables.gap_backfill import DayGaps, GapResult
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.stores import clickhouse
from marketdata_demo.venues.binance_venue import BinanceServer
from marketdata_demo.venues.deribit_messages import PERPETUAL
from marketdata_demo.venues.deribit_venue import DeribitServer
from marketdata_demo.venues.kraken_venue import KrakenServer
from marketdata_demo.venues.live_market import Happened
from marketdata_demo.venues.okx_venue import OkxServer
from tests.exchanges.history_pages import HASTY
from tests.exchanges.landed_market import land

DAY = dt.date(2023, 11, 14)
START = 1_699_999_200_000  # ms, in the last two hours of the day
MS = 1_000_000
LATER = (START + 3_600_000) * MS


@pytest.fixture
def binance() -> Iterator[BinanceServer]:
    with BinanceServer() as server:
        server.trades = [Happened(START + number * 1000, number) for number in range(1, 101)]
        yield server


@pytest.fixture
def okx() -> Iterator[OkxServer]:
    with OkxServer() as server:
        server.trades = [Happened(START + number // 3 * 3000, number) for number in range(1, 101)]
        yield server


@pytest.fixture
def deribit() -> Iterator[DeribitServer]:
    with DeribitServer() as server:
        server.trades = [Happened(START + number * 1000, number) for number in range(1, 101)]
        yield server


def close(client: Client, folder: Path, url: str | None, now: int = LATER, **options: Any) -> DayGaps:
    names = ("binance", "okx", "deribit")
    hosts = None if url is None else HistoryHosts(folder, dict.fromkeys(names, url), HASTY)
    return gap_backfill.backfill_gaps(client, DAY, hosts, clock=lambda: now, **options)


def aggregates(numbers: Iterable[int], market_type: Any = "linear") -> list[Trade]:
    """Trades as Binance's socket tells them; the test server's answers say the same."""
    about = ("binance", market_type, "ABC-USDT", "ABCUSDT")
    return [Trade(*about, *_times(n), str(n), "1.5", "2", None, "sell", str(n), str(n)) for n in numbers]


def singles(numbers: Iterable[int]) -> list[Trade]:
    about = ("binance", "spot", "ABC-USDT", "ABCUSDT")
    return [Trade(*about, *_times(n), str(n), "1.5", "2", None, "sell") for n in numbers]  # type: ignore[arg-type]


def _times(number: int) -> tuple[int, int]:
    return (START + number * 1000) * MS, (START + number * 1000 + 30) * MS


def hole(
    first: int, last: int, stream: str = "aggTrade", market_type: Any = "linear", *, ids: bool = True, **about: Any
) -> Gap:
    """The gap between two trades that stand."""
    names = {"exchange": "binance", "symbol": "ABC-USDT", "instrument": "ABCUSDT"} | about
    where = (names["exchange"], market_type, names["symbol"], names["instrument"], stream)
    numbers = (first, last) if ids else (None, None)
    return Gap(*where, *numbers, _times(first)[1], _times(last)[1], "reopened")


def stored(client: Client) -> list[tuple[str, bool]]:
    """Numbers of all stored trades, and whether each is an aggregate."""
    number = "toUInt64OrZero(extract(trade_id, '[0-9]+$'))"
    sql = f"SELECT trade_id, aggregated FROM exchange_trades FINAL ORDER BY time, {number}"
    return list(clickhouse.read(client, sql).iter_rows())


def only(report: DayGaps) -> GapResult:
    [told] = report.gaps
    return told


def test_trades_of_a_gap_come_from_the_history_and_the_gap_is_healed(
    client: Client, binance: BinanceServer, tmp_path: Path
) -> None:
    land(client, [*aggregates(range(1, 41)), *aggregates(range(61, 101)), hole(40, 61)])
    told = only(close(client, tmp_path, binance.url))
    assert (told.outcome, told.trades, told.why) == ("healed", 20, "")
    assert stored(client) == [(str(number), True) for number in range(1, 101)]
    [gap] = gaps.of_day(client, DAY)
    assert gap.healed_at == LATER
    assert gaps.open_gaps(client) == []
    binance.lines.clear()  # the second time nobody is asked
    told = only(close(client, tmp_path, binance.url, LATER + 1))
    assert (told.outcome, told.gap.healed_at) == ("healed before", LATER)
    assert binance.lines == []


@pytest.mark.parametrize(
    ("form", "market_type"), [(singles, "spot"), pytest.param(aggregates, "linear", marks=pytest.mark.slow)]
)
def test_gap_of_single_trades_is_filled_up_with_trades_of_the_form_that_is_stored(
    client: Client, binance: BinanceServer, tmp_path: Path, form: Any, market_type: str
) -> None:
    land(client, [*form(range(1, 41)), *form(range(61, 101)), hole(40, 61, "trade", market_type)])
    assert only(close(client, tmp_path, binance.url)).outcome == "healed"
    assert stored(client) == [(str(number), form is aggregates) for number in range(1, 101)]


def test_hole_that_only_numbers_show_is_put_on_record_and_healed(
    client: Client, binance: BinanceServer, tmp_path: Path
) -> None:
    land(client, [*aggregates(range(1, 41)), *aggregates(range(43, 101)), *singles([*range(1, 11), *range(14, 20)])])
    report = close(client, tmp_path, binance.url)
    assert report.recorded == 2
    assert [(told.gap.stream, told.gap.last_id, told.gap.next_id, told.gap.cause) for told in report.gaps] == [
        ("trade", 10, 14, gaps.NUMBERS),
        ("aggTrade", 40, 43, gaps.NUMBERS),
    ]
    assert [told.trades for told in report.gaps if told.gap.stream == "aggTrade"] == [2]
    assert only_open(client) == []


def only_open(client: Client) -> list[str]:
    return [gap.stream for gap in gaps.open_gaps(client)]


def test_closing_that_was_killed_before_its_end_goes_on_and_adds_nothing_twice(
    client: Client, binance: BinanceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(client, [*aggregates(range(1, 41)), *aggregates(range(61, 101)), hole(40, 61)])

    class Killed(BaseException):
        """What no code of ours catches."""

    def insert(client: Client, records: Iterable[Any]) -> None:
        some = list(records)
        if any(isinstance(one, Gap) for one in some):
            raise Killed
        insert_records(client, some)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(gap_backfill, "insert_records", insert)
        close(client, tmp_path, binance.url)
    assert len(stored(client)) == 100
    assert only_open(client) == ["aggTrade"]
    told = only(close(client, tmp_path, binance.url))
    assert (told.outcome, told.trades) == ("healed", 0)
    assert stored(client) == [(str(number), True) for number in range(1, 101)]


def test_hole_inside_a_gap_is_not_recorded_again(client: Client, tmp_path: Path) -> None:
    land(client, [*aggregates(range(1, 41)), *aggregates(range(61, 101)), hole(40, 61, ids=False)])
    report = close(client, tmp_path, None)
    assert (report.recorded, len(report.gaps)) == (0, 1)
    assert (only(report).outcome, only(report).why) == ("open", gap_backfill.NOT_REQUESTED)


@pytest.mark.parametrize(
    ("lacking", "ids", "why", "rows"),
    [
        (range(50, 53), True, "the history lacks 3 numbers between 40 and 61", 97),
        (range(40, 1000), False, "trades stored around the gap", 80),
    ],
)
def test_a_history_that_lacks_trades_keeps_the_gap_open(
    client: Client, binance: BinanceServer, tmp_path: Path, lacking: range, ids: bool, why: str, rows: int
) -> None:
    binance.trades = [one for one in binance.trades if one.number not in lacking]
    land(client, [*aggregates(range(1, 41)), *aggregates(range(61, 101)), hole(40, 61, ids=ids)])
    told = only(close(client, tmp_path, binance.url))
    assert (told.outcome, len(stored(client))) == ("open", rows)
    assert why in told.why
    assert only_open(client) == ["aggTrade"]


def test_young_gap_waits_until_all_trades_around_it_have_come(
    client: Client, binance: BinanceServer, tmp_path: Path
) -> None:
    land(client, [*aggregates(range(1, 41)), *aggregates(range(61, 101)), hole(40, 61)])
    told = only(close(client, tmp_path, binance.url, _times(62)[1]))
    assert told.outcome == "open"
    assert "younger than 10 minutes" in told.why
    assert only(close(client, tmp_path, binance.url, _times(62)[1], settled_ns=1)).outcome == "healed"


def test_venue_that_is_away_leaves_the_gap_open_and_is_named(
    client: Client, binance: BinanceServer, okx: OkxServer, tmp_path: Path
) -> None:
    about = {"exchange": "okx", "instrument": "ABC-USDT"}
    land(client, [*aggregates(range(1, 41)), hole(40, 61), hole(40, 61, "trades", "spot", ids=False, **about)])
    binance.fail(500, 50, "aggTrades")
    hosts = HistoryHosts(tmp_path, {"binance": binance.url, "okx": okx.url}, HASTY)
    report = gap_backfill.backfill_gaps(client, DAY, hosts, clock=lambda: LATER)
    by_venue = {told.gap.exchange: told for told in report.gaps}
    assert "aggTrades" in by_venue["binance"].why
    assert (by_venue["binance"].outcome, by_venue["okx"].outcome) == ("open", "healed")
    binance.fail(500, 0)


@pytest.mark.slow
def test_instrument_that_is_listed_no_more_stays_open(client: Client, binance: BinanceServer, tmp_path: Path) -> None:
    land(client, [hole(40, 61, instrument="GONEUSDT")])
    told = only(close(client, tmp_path, binance.url))
    assert told.outcome == "open"
    assert "GONEUSDT" in told.why


def test_gap_of_a_book_stays_open_and_says_why(client: Client, binance: BinanceServer, tmp_path: Path) -> None:
    land(client, [hole(40, 61, "depth")])
    told = only(close(client, tmp_path, binance.url))
    assert (told.outcome, told.why, binance.lines) == ("open", gap_backfill.NO_HISTORY, [])


@pytest.mark.parametrize(
    ("lacking", "ends"), [(0, ("healed", 80, "")), (50, ("open", 79, "the history lacks 1 numbers between 10 and 91"))]
)
def test_long_gap_is_fetched_in_parts_and_open_while_a_number_is_in_none(
    client: Client, binance: BinanceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: int, ends: Any
) -> None:
    monkeypatch.setattr(gap_backfill, "CHUNK_NS", 40_000 * MS)
    binance.trades = [one for one in binance.trades if one.number != lacking]
    land(client, [*aggregates(range(1, 11)), *aggregates(range(91, 101)), hole(10, 91)])
    told = only(close(client, tmp_path, binance.url))
    assert (told.outcome, told.trades, told.why.split("; ")[-1]) == ends
    assert stored(client) == [(str(number), True) for number in range(1, 101) if number != lacking]


def okx_trade(number: int, parts: int = 1) -> Trade:
    """A trade of OKX's channel, which aggregates `parts` trades of its moment, up to its number."""
    moment = (START + number // 3 * 3000) * MS
    about = ("okx", "spot", "ABC-USDT", "ABC-USDT")
    return Trade(*about, moment, moment + 5, str(number), "4.2", str(3 * parts), None, "buy")  # type: ignore[arg-type]


OKX = {"exchange": "okx", "instrument": "ABC-USDT"}


def test_trades_that_okx_put_together_are_not_added_one_by_one(client: Client, okx: OkxServer, tmp_path: Path) -> None:
    # 3k, 3k+1 and 3k+2 are of one moment: the socket told of them in one, with the number of the last
    before, after = [okx_trade(3 * k + 2, 3) for k in range(1, 11)], [okx_trade(3 * k + 2, 3) for k in range(21, 33)]
    land(client, [*before, *after, hole(32, 65, "trades", "spot", ids=False, **OKX)])
    told = only(close(client, tmp_path, okx.url))
    assert (told.outcome, told.trades) == ("healed", 30)
    sql = "SELECT sum(size) AS size FROM exchange_trades FINAL WHERE toInt64OrZero(trade_id) BETWEEN 3 AND 98"
    assert clickhouse.read(client, sql)["size"].item() == 3 * 96


def test_okx_sums_that_do_not_agree_add_nothing(client: Client, okx: OkxServer, tmp_path: Path) -> None:
    before, after = [okx_trade(3 * k + 2, 3) for k in range(1, 11)], [okx_trade(3 * k + 2, 2) for k in range(21, 33)]
    odd = [okx_trade(3 * 21 + 2, 4)]
    land(client, [*before, *odd, *after[1:], hole(32, 65, "trades", "spot", ids=False, **OKX)])
    told = only(close(client, tmp_path, okx.url))
    assert (told.outcome, told.trades) == ("open", 0)
    assert len(stored(client)) == 22


@pytest.mark.slow
def test_deribit_goes_by_the_ids_of_its_trades(client: Client, deribit: DeribitServer, tmp_path: Path) -> None:
    about = ("deribit", "inverse", "ABC-USD", PERPETUAL)
    standing = [
        Trade(*about, *_times(n), f"ABC-{n}", "100.5", "19.9", "200", "buy")  # type: ignore[arg-type]
        for n in (*range(1, 41), *range(61, 101))
    ]
    names = {"exchange": "deribit", "symbol": "ABC-USD", "instrument": PERPETUAL}
    land(client, [*standing, hole(40, 61, "trades.100ms", "inverse", ids=False, **names)])
    told = only(close(client, tmp_path, deribit.url))
    assert (told.outcome, told.trades) == ("healed", 20)
    assert [name for name, _ in stored(client)] == [f"ABC-{number}" for number in range(1, 101)]


def test_gap_of_a_market_without_a_history_stays_open_and_says_why(
    client: Client, binance: BinanceServer, tmp_path: Path
) -> None:
    land(client, [hole(40, 61, "optionTrade", "option", instrument="ABC-301225-100-C")])
    told = only(close(client, tmp_path, binance.url))
    assert (told.outcome, told.why, binance.lines) == ("open", gap_backfill.NO_MARKET_HISTORY, [])


@pytest.mark.parametrize(
    "venue", ["binance", *(pytest.param(one, marks=pytest.mark.slow) for one in ("okx", "deribit"))]
)
def test_candles_of_a_gap_come_from_the_history(
    client: Client, tmp_path: Path, venue: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(venue)
    about = {
        "binance": (hole(1, 200, "kline_1m", "linear", ids=False), "kline_1m"),
        "okx": (hole(1, 200, "candle1m", "spot", ids=False, **OKX), "candle1m"),
        "deribit": (
            hole(1, 200, "chart.trades.1", "inverse", ids=False, exchange="deribit", instrument=PERPETUAL),
            "chart.trades.1",
        ),
    }[venue]
    land(client, [about[0]])
    told = only(close(client, tmp_path, server.url))
    assert (told.outcome, told.trades, told.why) == ("healed", 0, "")
    sql = "SELECT toInt64(count()) AS candles, min(open_time) AS first FROM exchange_klines FINAL"
    [found] = clickhouse.read(client, sql).to_dicts()
    assert found == {"candles": 4, "first": START * MS}


def test_candle_that_is_not_over_is_not_taken(client: Client, binance: BinanceServer, tmp_path: Path) -> None:
    land(client, [hole(1, 50, "kline_1m", ids=False)])
    told = only(close(client, tmp_path, binance.url, _times(51)[1], settled_ns=0))
    assert told.outcome == "open"
    assert "no closed candle of 1m" in told.why


def test_a_gap_of_candles_without_a_candle_and_without_a_trade_misses_nothing(
    client: Client, deribit: DeribitServer, tmp_path: Path
) -> None:
    """As that of an option, from its listing to its subscription."""
    deribit.first_candle = START * 2
    about = {"exchange": "deribit", "symbol": "ABC-USD", "instrument": PERPETUAL}
    land(client, [hole(1, 200, "chart.trades.1", "inverse", ids=False, **about)])
    told = only(close(client, tmp_path, deribit.url))
    assert (told.outcome, told.why) == ("open", "the history has no closed candle of 1m there")
    deribit.trades = []
    assert only(close(client, tmp_path, deribit.url)).outcome == "healed"


def test_kraken_heals_a_gap_whose_stored_trades_have_other_times(client: Client, tmp_path: Path) -> None:
    about = ("kraken", "spot", "BTC-USD", "BTC/USD")
    told = [Trade(*about, _times(n)[0] + 900, _times(n)[1], str(n), "4.2", "0.5", None, "buy") for n in range(1, 101)]
    names = {"exchange": "kraken", "symbol": "BTC-USD", "instrument": "BTC/USD"}
    land(client, [*told[:40], *told[60:], hole(40, 61, "trade", "spot", **names)])
    with KrakenServer() as server:
        server.trades = [Happened(START + number * 1000, number) for number in range(1, 101)]
        hosts = HistoryHosts(tmp_path, {"kraken": server.url}, HASTY)
        found = only(gap_backfill.backfill_gaps(client, DAY, hosts, clock=lambda: LATER))
    assert (found.outcome, found.trades, found.why) == ("healed", 20, "")
    assert [number for number, _ in stored(client)] == [str(number) for number in range(1, 101)]
