"""What the market page answers of symbols of ticks: coverage, days that are not final, and failed loads."""

import datetime as dt
from collections.abc import Iterator

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from marketdata_assets.stores.clickhouse_ledger import Load, SliceState
from marketdata_assets.ticks import tables
from tests.databases import fresh_clickhouse
from tests.ticks.markets import UNITED_STATES
from tests.web.served_market import HOSTILE, answer, get, on, served

NOW = dt.datetime(2025, 4, 1, tzinfo=dt.UTC)
FULL, ODD = "600001.SH", "000001.SZ"
MONTHS = ("2025-01", "2025-02")


def _bars(symbol: str, day: dt.date, minutes: int) -> pl.DataFrame:
    times = ashares().labels(day, "end")[:minutes]
    plain = {"symbol": symbol, "date": day, "label": "end", "interval": "1m", "currency": "CNY", "provider": "test"}
    values = {"open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0, "volume": 100, "turnover": 1000.0, "flags": 0}
    values["file"] = ""
    frame = pl.DataFrame({"ts": times}).with_columns(
        pl.lit(value).alias(name) for name, value in (plain | values).items()
    )
    return frame.select(tables.TICK_DATA.columns.names()).cast(dict(tables.TICK_DATA.columns))


def _days(month: str) -> list[dt.date]:
    return list(ashares().trading_days(Days.month(month)))


def _load(symbol: str, month: str, rows: int, outcome: str = "ok", **more: object) -> Load:
    days = [str(day) for day in _days(month)]
    facts: dict[str, object] = {"content_hash": "x" if rows else None, "slices": days, "read": rows, "rows": rows}
    about = {"dataset": "tick_data", "source": symbol, "unit": month, "origin": "tushare"}
    times = {"code_version": "1", "run_id": "run", "started": NOW, "finished": NOW}
    return Load(**(facts | about | times | {"outcome": outcome} | more))  # type: ignore[arg-type]


def fill(client: Client) -> None:
    """Two months of a symbol with all minutes, and of one whose last days are short, open or failed."""
    tables.ensure(client)
    frames = [_bars(FULL, day, 241) for month in MONTHS for day in _days(month)]
    january = _days(MONTHS[0])
    frames += [_bars(ODD, day, 241) for day in january[:-2]] + [_bars(ODD, january[-2], 200)]
    clickhouse.insert(client, "tick_data", pl.concat(frames), tables.TICK_DATA.dictionaries)
    states = (
        SliceState(str(january[-2]), "provisional", "d", "2025-01-24", "2025-01-27", "2025-01-28", short=True),
        SliceState(str(january[-1]), "incomplete"),
    )
    loads = [_load(FULL, month, 241 * len(_days(month))) for month in MONTHS]
    loads.append(_load(ODD, MONTHS[0], 241 * (len(january) - 2) + 200, states=states, rejected=3))
    clickhouse_ledger.record(client, loads, clickhouse_ledger.next_version(client))
    failed = _load(ODD, MONTHS[1], 0, "failed", error="the provider has no 000001.SZ", slices=[])
    clickhouse_ledger.record_attempts(client, [failed])
    listed = {"symbol": [FULL, ODD], "name": ["示例银行", HOSTILE], "status": ["listed", "paused"]}
    rest = {"listed": dt.date(1999, 1, 1), "delisted": None, "source": "test", "seen": NOW}
    frame = pl.DataFrame(listed).with_columns(pl.lit(value).alias(name) for name, value in rest.items())
    columns = tables.SYMBOLS.columns
    clickhouse.insert(client, "symbols", frame.select(columns.names()).cast(dict(columns)), tables.SYMBOLS.dictionaries)
    factor = {
        "symbol": [FULL],
        "date": [january[0]],
        "factor": ["daily_return"],
        "value": [0.1],
        "provider": ["tick_data"],
    }
    clickhouse.insert(client, "factors", pl.DataFrame(factor), tables.FACTORS.dictionaries)


@pytest.fixture(scope="module")
def page(clickhouse_server: str) -> Iterator[str]:
    with fresh_clickhouse(clickhouse_server) as fresh, clickhouse.connect(fresh) as client:
        fill(client)
        with served(on(clickhouse=fresh)) as url:
            yield url


def test_whole_months_lack_nothing(page: str) -> None:
    given = answer(page, f"/api/symbols/{FULL}")
    assert (given["name"], given["status"]) == ("示例银行", "listed")
    for month, found in zip(MONTHS, given["months"], strict=True):
        minutes = 241 * len(_days(month))
        assert (found["month"], found["loaded"], found["expected"], found["missing"]) == (month, minutes, minutes, 0)
        assert (found["outcome"], found["provider"], found["provisional"], found["none"]) == ("ok", "tushare", [], [])
    day = str(_days(MONTHS[0])[0])
    assert given["others"]["factors"] == {"rows": 1, "first": day, "last": day}
    assert given["others"]["order_book"] == {"rows": 0, "first": None, "last": None}


def test_days_that_are_not_final_and_failed_months_are_marked(page: str) -> None:
    january, february = answer(page, f"/api/symbols/{ODD}")["months"]
    short, last = (day.day for day in _days(MONTHS[0])[-2:])
    assert (january["provisional"], january["incomplete"]) == ([short], [last])
    assert (january["few"], january["none"], january["rejected"]) == ([short], [last], 3)
    assert (february["outcome"], february["loaded"]) == ("failed", 0)
    assert february["expected"] == february["missing"] == 241 * len(_days(MONTHS[1]))
    assert february["error"] == "the provider has no 000001.SZ"


@pytest.mark.parametrize(("text", "codes"), [("6000", [FULL]), ("示例", [FULL]), ("<img", [ODD]), ("9", [])])
def test_search_finds_symbols_by_code_and_name(page: str, text: str, codes: list[str]) -> None:
    given = answer(page, "/api/symbols", q=text)
    assert ([one["code"] for one in given["found"]], given["of"]) == (codes, 2)


def test_an_unknown_symbol_is_named(page: str) -> None:
    given = get(page, "/api/symbols/999999.SH")
    assert (given.status_code, "999999.SH" in given.json()["error"]) == (404, True)


def test_quality_counts_what_is_not_final_and_what_failed(page: str) -> None:
    periods = answer(page, "/api/quality/clickhouse")["periods"]
    january, february = (one for one in periods if one["dataset"] == "tick_data")
    rows = 241 * (2 * len(_days(MONTHS[0])) - 2) + 200
    assert january == {
        "domain": "ticks",
        "dataset": "tick_data",
        "period": "2025-01",
        "rows": rows,
        "rejected": 3,
        "provisional": 1,
        "incomplete": 1,
        "counted": True,
    }
    assert (february["period"], february["failed"], february["rows"]) == ("2025-02", 1, 241 * len(_days(MONTHS[1])))


def test_months_of_another_exchange_expect_its_days_and_half_days(clickhouse_server: str) -> None:
    """All of November 2024 but the last minute of its half day, the 29th, and all of the 27th; and an hour before each
    session, which makes up for no missing minute."""
    month, lost = "2024-11", dt.date(2024, 11, 27)
    days = [day for day in UNITED_STATES.open_days(Days.month(month).first, Days.month(month).last) if day != lost]
    times = [time for day in days for time in UNITED_STATES.starts(day)][:-1]
    times += [UNITED_STATES.starts(day)[0] - dt.timedelta(minutes=n) for day in days for n in range(1, 61)]
    local = pl.col("ts").dt.convert_time_zone(UNITED_STATES.timezone).dt.date()
    rows = _bars(FULL, NOW.date(), 1).drop("ts").join(pl.DataFrame({"ts": times}), how="cross")
    rows = rows.with_columns(symbol=pl.lit("AAPL.US"), label=pl.lit("start"), date=local)
    with fresh_clickhouse(clickhouse_server) as fresh, clickhouse.connect(fresh) as client:
        fill(client)
        rows = rows.select(tables.TICK_DATA.columns.names()).cast(dict(tables.TICK_DATA.columns))
        clickhouse.insert(client, "tick_data", rows, tables.TICK_DATA.dictionaries)
        load = _load("AAPL.US", month, rows.height)
        clickhouse_ledger.record(client, [load], clickhouse_ledger.next_version(client))
        with served(on(clickhouse=fresh)) as page:
            given = answer(page, "/api/symbols/AAPL.US")
            [found] = given["months"]
            assert given["currency"] == "USD"
            assert (found["expected"], found["loaded"]) == (19 * 390 + 210, 18 * 390 + 209)
            assert (found["missing"], found["none"], found["few"]) == (391, [27], [29])
            for text in ("aap", "AAPL", "105.AAPL", "ＡＡＰＬ", "ａapl.us"):
                assert [one["code"] for one in answer(page, "/api/symbols", q=text)["found"]] == ["AAPL.US"]
            for text in ("aapl", "ＡＡＰＬ", "105.AAPL"):
                assert answer(page, f"/api/symbols/{text}")["code"] == "AAPL.US"
            asked = {"source": "ticks", "adjust": "none", "freq": "60m", "start": "2024-11-29", "end": "2024-11-29"}
            candles = answer(page, "/api/stocks/AAPL.US/candles", **asked)["candles"]
            assert [one[0] for one in candles] == [
                f"2024-11-29T{end}:00" for end in ("10:30", "11:30", "12:30", "13:00")
            ]
