"""What the market page answers of instruments: candles, gaps and books that are computed here without ClickHouse."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.records import Gap, OrderBook, Trade
from marketdata_assets.exchanges.tables import ohlcv
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from marketdata_demo.venues.market import Plan
from tests.databases import fresh_clickhouse
from tests.exchanges.landed_market import PlainBar, land, plain_bars, records
from tests.web.served_market import answer, get, on, served

BEGIN = dt.datetime(2025, 1, 5, 23, 55, tzinfo=dt.UTC)
PLAN = Plan(BEGIN, 10)
OKX = {"exchange": "okx", "market_type": "linear", "instrument": "SMPL-USDT-SWAP"}
NS = 1_000_000_000


@pytest.fixture(scope="module")
def told() -> list[object]:
    return list(records(PLAN, ("okx", "binance")))


@pytest.fixture(scope="module")
def page(clickhouse_server: str, told: list[object]) -> Iterator[str]:
    with fresh_clickhouse(clickhouse_server) as fresh, clickhouse.connect(fresh) as client:
        land(client, told)  # type: ignore[arg-type]
        _open_gap(client)
        clickhouse_ledger.ensure(client)
        for day in ohlcv.days_with_trades(client):
            ohlcv.compute(client, day, run_id="test", now=BEGIN + dt.timedelta(days=2))
        with served(on(clickhouse=fresh)) as url:
            yield url


def _open_gap(client: Client) -> None:
    """Trades of the last two minutes are missing, as the collector says of them."""
    began = int(BEGIN.timestamp()) * NS + 8 * 60 * NS
    about = ("okx", "linear", "SMPL-USDT", "SMPL-USDT-SWAP")
    insert_records(client, [Gap(*about, "trades", 5, 9, began, began + 90 * NS, "sequence")])  # type: ignore[arg-type]


def _minutes(told: list[object]) -> dict[str, PlainBar]:
    trades = [one for one in told if isinstance(one, Trade) and one.instrument == OKX["instrument"]]
    return {
        f"{dt.datetime.fromtimestamp(at // NS, dt.UTC):%Y-%m-%dT%H:%M:%S}": bar
        for (_, _, at), bar in plain_bars(trades).items()
    }


def test_candles_of_a_day_are_its_minutes(page: str, told: list[object]) -> None:
    given = answer(page, "/api/instrument/candles", **OKX, start="2025-01-06", end="2025-01-06")
    bars = {at: bar for at, bar in _minutes(told).items() if at >= "2025-01-06"}
    assert (given["step"], given["first"], given["last"]) == (1, "2025-01-05", "2025-01-06")
    assert [one[0] for one in given["candles"]] == sorted(bars)
    for at, *prices, volume in given["candles"]:
        bar = bars[at]
        assert prices == [float(one) for one in (bar.open, bar.high, bar.low, bar.close)], at
        assert volume == pytest.approx(float(bar.volume or 0), rel=1e-12)
    assert given["uncertain"] > 0


def test_longer_candles_are_made_of_minutes(page: str, told: list[object]) -> None:
    given = answer(page, "/api/instrument/candles", **OKX, freq="5m", start="2025-01-05", end="2025-01-06")
    groups: dict[str, list[PlainBar]] = {}
    for at, bar in sorted(_minutes(told).items()):
        groups.setdefault(f"{at[:14]}{int(at[14:16]) // 5 * 5:02d}:00", []).append(bar)
    assert given["step"] == 5
    assert [one[0] for one in given["candles"]] == list(groups)
    for at, *prices, volume in given["candles"]:
        bars = groups[at]
        highest, lowest = max(bar.high for bar in bars), min(bar.low for bar in bars)
        assert prices == [float(one) for one in (bars[0].open, highest, lowest, bars[-1].close)], at
        assert volume == pytest.approx(float(sum(bar.volume or 0 for bar in bars)), rel=1e-12)


def test_without_bounds_the_last_day_is_drawn(page: str) -> None:
    given = answer(page, "/api/instrument/candles", **OKX)
    assert (given["start"], given["end"]) == ("2025-01-06", "2025-01-06")


@pytest.mark.parametrize(
    ("freq", "labels"),
    [
        ("1d", ["2025-01-05T00:00:00", "2025-01-06T00:00:00"]),
        ("1w", ["2024-12-30T00:00:00", "2025-01-06T00:00:00"]),  # from Monday
        ("1mo", ["2025-01-01T00:00:00"]),
    ],
)
def test_days_weeks_and_months_are_those_of_the_calendar(
    page: str, told: list[object], freq: str, labels: list[str]
) -> None:
    given = answer(page, "/api/instrument/candles", **OKX, freq=freq, start="2025-01-01", end="2025-01-31")
    assert [one[0] for one in given["candles"]] == labels
    last = [bar for at, bar in sorted(_minutes(told).items()) if at >= labels[-1]]
    assert given["candles"][-1][1:5] == [
        float(last[0].open),
        float(max(bar.high for bar in last)),
        float(min(bar.low for bar in last)),
        float(last[-1].close),
    ]


@pytest.mark.parametrize("freq", ["1w", "1mo"])
def test_a_week_and_a_month_are_whole_wherever_a_read_begins_or_ends(page: str, freq: str) -> None:
    whole = answer(page, "/api/instrument/candles", **OKX, freq=freq, start="2025-01-01", end="2025-01-31")["candles"]
    parts = [
        answer(page, "/api/instrument/candles", **OKX, freq=freq, start=day, end=day)["candles"]
        for day in ("2025-01-05", "2025-01-06")
    ]
    assert [one for part in parts for one in part if one not in whole] == []
    assert parts[0][-1:] == whole[:1] and parts[-1][-1:] == whole[-1:]


def test_trades_are_those_of_the_hour_before_each_once(page: str, told: list[object]) -> None:
    moment = BEGIN + dt.timedelta(seconds=300, milliseconds=500)
    given = answer(page, "/api/instrument/trades", **OKX, at=moment.isoformat())["trades"]
    at = int(moment.timestamp() * 1000) * 1_000_000
    mine = {one.trade_id: one for one in told if isinstance(one, Trade) and one.instrument == OKX["instrument"]}
    before = [one for one in mine.values() if one.ts_event <= at]
    before.sort(key=lambda one: (one.ts_event, one.trade_id), reverse=True)
    assert len(given) == min(40, len(before)) > 5
    assert [Decimal(one["price"]) for one in given] == [Decimal(one.price) for one in before[:40]]
    assert [one["side"] for one in given] == [str(one.side) for one in before[:40]]
    assert answer(page, "/api/instrument/trades", **OKX, at="2025-01-01T00:00:00Z") == {"trades": []}


def _replayed(told: list[object], at: int) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
    """The book that all messages up to an instant make, one after the other."""
    book: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})
    for one in told:
        if isinstance(one, OrderBook) and one.instrument == OKX["instrument"] and (one.ts_event or one.ts_recv) <= at:
            for side, levels in zip(book, (one.bids, one.asks), strict=True):
                if one.kind == "snapshot":
                    side.clear()
                for price, size in levels:
                    side[Decimal(price)] = Decimal(size)
    bids, asks = ({price: size for price, size in side.items() if size} for side in book)
    return bids, asks


@pytest.mark.parametrize("seconds", [65, 300, 444])
def test_a_book_is_what_a_replay_makes_of_the_records(page: str, told: list[object], seconds: int) -> None:
    moment = BEGIN + dt.timedelta(seconds=seconds, milliseconds=500)
    given = answer(page, "/api/instrument/book", **OKX, at=moment.isoformat())
    bids, asks = _replayed(told, int(moment.timestamp() * 1000) * 1_000_000)
    assert (given["known"], given["why"]) == (True, None)
    assert given["at"] == f"{moment:%Y-%m-%dT%H:%M:%S}.500000000Z"
    assert given["time"] <= given["at"] < given["until"]
    assert [(Decimal(price), Decimal(size)) for price, size in given["bids"]] == sorted(bids.items(), reverse=True)
    assert [(Decimal(price), Decimal(size)) for price, size in given["asks"]] == sorted(asks.items())


def test_a_day_opens_with_its_last_book_that_is_proven(page: str) -> None:
    listed = answer(page, "/api/instrument", **OKX)["book_days"]
    assert [one["day"] for one in listed] == ["2025-01-06", "2025-01-05"]
    assert all(one["records"] > 250 for one in listed)
    for one in listed:
        given = answer(page, "/api/instrument/book", **OKX, day=one["day"])
        assert (given["known"], given["at"][:10]) == (True, one["day"])


def test_a_book_with_a_change_missing_is_not_shown_but_explained(page: str) -> None:
    binance = {"exchange": "binance", "market_type": "linear", "instrument": "SMPLUSDT"}
    lost = dt.datetime.fromtimestamp(PLAN.middle / 1000, dt.UTC) + dt.timedelta(milliseconds=500)
    given = answer(page, "/api/instrument/book", **binance, at=lost.isoformat())
    assert (given["known"], given["bids"], given["asks"]) == (False, [], [])
    assert "gap" in given["why"] or "missing" in given["why"]
    before = answer(page, "/api/instrument/book", **OKX, at="2025-01-01T00:00:00Z")
    assert (before["known"], before["why"]) == (False, "nothing is on record before")


def test_gaps_are_counted_by_day_and_listed(page: str) -> None:
    gaps = answer(page, "/api/instrument", **OKX)["gap_days"]
    [trades] = [one for one in gaps if one["lacks"] == "trades"]
    assert (trades["day"], trades["gaps"], trades["open"], trades["seconds"]) == ("2025-01-06", 1, 1, 90.0)
    listed = answer(page, "/api/instrument/gaps", **OKX, day="2025-01-06")["gaps"]
    [one] = [gap for gap in listed if gap["stream"] == "trades"]
    assert one == {
        "stream": "trades",
        "cause": "sequence",
        "began": "2025-01-06T00:03:00Z",
        "seconds": 90.0,
        "last_id": 5,
        "next_id": 9,
        "open": True,
    }
    assert answer(page, "/api/instrument/gaps", **OKX, start="2025-01-05", end="2025-01-06")["gaps"] == listed
    assert answer(page, "/api/instrument/gaps", **OKX, day="2025-01-07") == {"gaps": [], "of": 0}


def test_every_candle_and_day_that_a_gap_covers_is_known(clickhouse_server: str) -> None:
    """Trades are missing for 70 hours; books and tickers, which no candle is made of, for longer."""
    binance = {"exchange": "binance", "market_type": "linear", "instrument": "SMPLUSDT"}
    about = ("binance", "linear", "SMPL-USDT", "SMPLUSDT")
    began = int(dt.datetime(2025, 1, 6, 1, tzinfo=dt.UTC).timestamp())
    ended = began + 70 * 3600
    gaps = [(began, ended, "trades"), (began - 600, ended + 7200, "depth"), (began - 600, ended + 7200, "ticker")]
    with fresh_clickhouse(clickhouse_server) as fresh, clickhouse.connect(fresh) as client:
        for begin in (BEGIN, BEGIN + dt.timedelta(days=3)):
            land(client, records(Plan(begin, 10), ("binance",)))
        found = [Gap(*about, stream, 5, 9, first * NS, last * NS, "disconnect") for first, last, stream in gaps]  # type: ignore[arg-type]
        insert_records(client, found)
        clickhouse_ledger.ensure(client)
        for day in ohlcv.days_with_trades(client):
            ohlcv.compute(client, day, run_id="test", now=BEGIN + dt.timedelta(days=9))
        with served(on(clickhouse=fresh)) as url:

            def covered(**asked: str) -> list[int]:
                return list(answer(url, "/api/instrument/candles", **binance, **asked)["gaps"])

            for first, last in (
                ("2025-01-06", "2025-01-06"),
                ("2025-01-07", "2025-01-08"),
                ("2025-01-05", "2025-01-09"),
            ):
                midnight = int(dt.datetime.fromisoformat(f"{first}T00:00Z").timestamp())
                until = int(dt.datetime.fromisoformat(f"{last}T00:00Z").timestamp()) + 86_400
                for freq, step in (("5m", 300), ("60m", 3600), ("1d", 86_400)):
                    wanted = [at for at in range(midnight, until, step) if at + step > began and at < ended]
                    assert covered(start=first, end=last, freq=freq) == wanted, (first, freq)
            assert len(covered(start="2025-01-07", end="2025-01-07")) == 1440
            assert covered(start="2025-01-05", end="2025-01-09", freq="1w") == []
            listed = answer(url, "/api/instrument/gaps", **binance, day="2025-01-08")
            assert ([one["stream"] for one in listed["gaps"]], listed["of"]) == (["depth", "ticker", "trades"], 3)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("smpl", {("binance", "SMPLUSDT"), ("okx", "SMPL-USDT-SWAP")}),
        ("SMPL-USDT", {("binance", "SMPLUSDT"), ("okx", "SMPL-USDT-SWAP")}),
        ("smplusdts", {("okx", "SMPL-USDT-SWAP")}),
        ("okx demo", {("okx", "DEMO-USDT-SWAP")}),
        ("none", set()),
    ],
)
def test_search_finds_instruments_by_both_names_and_by_venue(page: str, text: str, found: set[tuple[str, str]]) -> None:
    given = answer(page, "/api/instruments", q=text)
    assert {(one["exchange"], one["instrument"]) for one in given["found"]} == found
    assert given["of"] == 4


@pytest.mark.parametrize(
    ("path", "changes", "status", "says"),
    [
        ("/api/instrument", {"instrument": "NONE"}, 404, ["'NONE' of okx linear", "Search"]),
        ("/api/instrument", {"exchange": "nowhere"}, 400, ["'nowhere' is no exchange", "binance"]),
        ("/api/instrument/candles", {"market_type": "swap"}, 400, ["'swap' is no market type", "linear"]),
        ("/api/instrument/candles", {"start": "2025-01-07", "end": "2025-01-06"}, 400, ["end=", "earlier"]),
        ("/api/instrument/candles", {"freq": "2m"}, 400, ["freq='2m'", "15m"]),
        ("/api/instrument/trades", {"at": "now"}, 400, ["'now' is no date or time"]),
        ("/api/instrument/book", {"at": "2025-01-06T00:00:00"}, 400, ["no time zone"]),
        ("/api/instrument/book", {"at": "now"}, 400, ["'now' is no date or time"]),
        ("/api/instrument/book", {"at": "12"}, 400, ["at='12'", "this century"]),
        ("/api/instrument/book", {"at": "9" * 30}, 400, ["is no date or time"]),
        ("/api/instrument/book", {}, 400, ["day=''", "2024-01-31"]),
        ("/api/instrument/book", {"day": "2025-03-01"}, 400, ["2025-03-01", "no records"]),
        ("/api/instrument/book", {"instrument": "N" * 101, "at": "2025-01-06"}, 400, ["at most 100 characters"]),
        ("/api/instrument/book", {"instrument": "' OR 1=1", "at": "2025-01-06"}, 400, ["' OR 1=1", "is no instrument"]),
        ("/api/instrument/gaps", {"day": "tomorrow"}, 400, ["day='tomorrow'"]),
    ],
)
def test_bad_parameters_of_an_instrument_are_named(
    page: str, path: str, changes: dict[str, str], status: int, says: list[str]
) -> None:
    given = get(page, path, OKX | changes)
    assert given.status_code == status, given.text
    assert all(part in given.json()["error"] for part in says), given.text
