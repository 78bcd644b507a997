"""Yahoo against a server with its reach, its nulls and its faults, and its recorded answers."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.reference.records import Days
from marketdata_assets.ticks import records
from marketdata_assets.ticks.errors import BadResponse, UnknownSymbol
from marketdata_assets.ticks.providers_file import SymbolMapping
from marketdata_assets.ticks.records import ACTIONS, BARS, Delivery
from marketdata_assets.ticks.yahoo import Yahoo
from marketdata_demo.servers.yahoo import YahooServer
from tests.ticks.tick_clients import JUNE, SYMBOL, Clients, flag_names, week, yahoo_config

MONDAY = dt.date(2025, 6, 2)


async def june(client: Yahoo) -> Delivery:
    return await client.bars(SYMBOL, JUNE)


def span(line: str) -> tuple[int, int]:
    query = dict(pair.split("=") for pair in line.partition("?")[2].split("&"))
    return int(query["period1"]), int(query["period2"])


def chart(folder: Path, name: str) -> tuple[int, bytes]:
    """Status and body of a recorded answer, in either form."""
    recorded = json.loads((folder / "yahoo" / name).read_bytes())
    if "chart" in recorded:
        return 200, json.dumps(recorded).encode()
    answer = recorded["response"]
    return answer["status"], json.dumps(answer["bodyJson"]).encode() if "bodyJson" in answer else answer[
        "body"
    ].encode()


def test_a_month_comes_in_slices_of_7_days_that_meet(yahoo_server: YahooServer, clients: Clients) -> None:
    delivery = clients.with_yahoo(yahoo_server, june)
    bars = delivery.rows
    assert (delivery.outcome, delivery.label, delivery.currency, bars.schema) == ("ok", "start", "CNY", BARS)
    assert (bars.height, bars["ts"].n_unique(), yahoo_server.requests) == (21 * 240, 21 * 240, 5)
    assert bars["ts"].min() == dt.datetime(2025, 6, 2, 1, 30, tzinfo=dt.UTC)
    assert bars["ts"].max() == dt.datetime(2025, 6, 30, 6, 59, tzinfo=dt.UTC)
    assert bars["turnover"].null_count() == bars.height
    assert "/v8/finance/chart/600000.SS?interval=1m" in yahoo_server.lines[0]
    spans = [span(line) for line in yahoo_server.lines]
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]


def test_days_before_the_reach_are_unsupported_without_a_request(yahoo_server: YahooServer, clients: Clients) -> None:
    may = clients.with_yahoo(yahoo_server, lambda one: one.bars(SYMBOL, Days.month("2025-05")))
    assert (may.outcome, may.rows.height, yahoo_server.requests) == ("unsupported", 0, 0)
    assert may.reason == "1-minute bars go back 30 days, 2025-05-01 is earlier"


def test_of_a_month_that_it_reaches_in_part_the_days_in_reach_are_delivered(
    yahoo_server: YahooServer, clients: Clients
) -> None:
    yahoo_server.now = dt.datetime(2025, 7, 14, 8, tzinfo=dt.UTC)
    delivery = clients.with_yahoo(yahoo_server, june)
    assert (delivery.outcome, delivery.days) == ("ok", Days(dt.date(2025, 6, 15), dt.date(2025, 6, 30)))
    assert (yahoo_server.requests, delivery.rows.height) == (3, 11 * 240)
    yahoo_server.holes = {*Days.month("2025-06")}
    assert clients.with_yahoo(yahoo_server, june).outcome == "unsupported"


def test_the_servers_own_word_on_its_reach_counts(yahoo_server: YahooServer, clients: Clients) -> None:
    said = "1m data not available for startTime=1 and endTime=2. The requested range must be within the last 30 days."
    body = {"chart": {"result": None, "error": {"code": "Unprocessable Entity", "description": said}}}
    yahoo_server.say(json.dumps(body).encode(), status=422)
    assert clients.with_yahoo(yahoo_server, june).outcome == "unsupported"


def test_time_to_come_is_not_asked_for(yahoo_server: YahooServer, clients: Clients) -> None:
    yahoo_server.now = dt.datetime(2025, 6, 10, 2, tzinfo=dt.UTC)
    delivery = clients.with_yahoo(yahoo_server, june)
    assert (yahoo_server.requests, delivery.rows.height) == (2, 6 * 240 + 30)


def test_a_bar_null_in_all_arrays_is_no_bar(yahoo_server: YahooServer, clients: Clients) -> None:
    first = int(dt.datetime(2025, 6, 2, 1, 30, tzinfo=dt.UTC).timestamp())
    yahoo_server.nulls = {first, first + 60}
    delivery = clients.with_yahoo(yahoo_server, lambda one: one.bars(SYMBOL, Days(MONDAY, MONDAY)))
    assert (delivery.rows.height, delivery.rejected) == (238, ())


def test_the_running_price_is_no_minute(yahoo_server: YahooServer, clients: Clients) -> None:
    yahoo_server.extra = [int(dt.datetime(2025, 6, 2, 2, 0, 17, tzinfo=dt.UTC).timestamp())]
    delivery = clients.with_yahoo(yahoo_server, lambda one: one.bars(SYMBOL, Days(MONDAY, MONDAY)))
    assert delivery.rows.height == 240
    assert [reject.reason for reject in delivery.rejected] == ["not on a whole minute"]
    assert delivery.rejected[0].raw.startswith("600000.SS,1748829617,")


def test_an_empty_window_and_no_data_are_empty(yahoo_server: YahooServer, clients: Clients, fixtures: Path) -> None:
    yahoo_server.holes = {*JUNE}
    assert clients.with_yahoo(yahoo_server, june).outcome == "empty"
    status, body = chart(fixtures, "chart_http/chart-BEKE-2020-01-01-to-2020-01-03.json")
    assert status == 400
    yahoo_server.holes = set()
    yahoo_server.say(body, status=status)
    assert clients.with_yahoo(yahoo_server, lambda one: one.bars(SYMBOL, week())).outcome == "empty"


def test_an_unknown_symbol_is_said_so(yahoo_server: YahooServer, clients: Clients, fixtures: Path) -> None:
    status, body = chart(fixtures, "chart_http/historical-via-chart-SI-2020-01-01-to-2020-01-03.json")
    yahoo_server.say(body, status=status)
    with pytest.raises(UnknownSymbol, match=r"does not know 600000\.SS \(No data found, symbol may be delisted\)"):
        clients.with_yahoo(yahoo_server, june)
    with pytest.raises(UnknownSymbol, match="symbol_mapping"):
        clients.with_yahoo(yahoo_server, lambda one: one.bars("600001.SH", JUNE))
    with pytest.raises(UnknownSymbol, match="no rule of the symbol mapping fits"):
        clients.with_yahoo(yahoo_server, lambda one: one.bars("920000.BJ", JUNE))
    assert yahoo_server.requests == 2


def test_plain_text_429_is_asked_again(yahoo_server: YahooServer, clients: Clients, fixtures: Path) -> None:
    yahoo_server.fail(429, text=(fixtures / "yahoo/error/http429_body.txt").read_text())
    yahoo_server.drop()
    yahoo_server.say(b'{"chart": {"result"')
    assert clients.with_yahoo(yahoo_server, june).rows.height == 21 * 240
    assert yahoo_server.requests == 8


def test_retry_after_holds_for_everyone(yahoo_server: YahooServer, clients: Clients) -> None:
    yahoo_server.fail(429, 1, text="Too Many Requests", retry="1")
    started = dt.datetime.now(dt.UTC)
    assert clients.with_yahoo(yahoo_server, lambda one: one.bars(SYMBOL, week())).outcome == "ok"
    assert dt.datetime.now(dt.UTC) - started > dt.timedelta(seconds=0.95)


def changed(**changes: Any) -> bytes:
    result: dict[str, Any] = {
        "meta": {"symbol": "600000.SS", "dataGranularity": "1m"},
        "timestamp": [1748827800],
        "indicators": {"quote": [{name: [1.0] for name in ("open", "high", "low", "close", "volume")}]},
    }
    return json.dumps({"chart": {"result": [result | changes], "error": None}}).encode()


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"timestamp": [1748827800, 1748827860]}, "2 times and 1 values of 'open'"),
        ({"indicators": {"quote": [{"open": [1.0]}]}}, "1 times and no values of 'high'"),
        ({"indicators": {"quote": []}}, "1 times and no values of 'open'"),
        ({"meta": {"symbol": "600001.SS"}}, r"it is about 600001\.SS"),
        ({"meta": {"dataGranularity": "1d"}}, "its bars are of 1d"),
        ({"timestamp": [1]}, "it has a bar of 1970-01-01"),
    ],
)
def test_an_answer_that_does_not_fit_is_named(
    yahoo_server: YahooServer, clients: Clients, changes: dict[str, Any], cause: str
) -> None:
    yahoo_server.say(changed(**changes))
    with pytest.raises(BadResponse, match=cause):
        clients.with_yahoo(yahoo_server, lambda one: one.bars(SYMBOL, week()))


def test_recorded_splits_and_dividends_are_read(yahoo_server: YahooServer, clients: Clients, fixtures: Path) -> None:
    mapping = SymbolMapping(suffixes={}, symbols={"AAPL.US": "AAPL"})
    session = yahoo_config().session
    config = yahoo_config(
        symbol_mapping=mapping, session=type(session)(timezone="America/New_York", hours=["09:30-16:00"])
    )
    yahoo_server.say(chart(fixtures, "chart_http/chart-AAPL-2020-08-31-to-2020-11-07.json")[1])
    days = Days(dt.date(2020, 8, 1), dt.date(2020, 11, 30))
    actions = clients.with_yahoo(yahoo_server, lambda one: one.actions("AAPL.US", days), config=config)
    assert actions.schema == ACTIONS
    assert actions.rows() == [
        ("yahoo", "AAPL.US", dt.date(2020, 8, 31), "split", 4.0, 1.0, None, None),
        ("yahoo", "AAPL.US", dt.date(2020, 11, 6), "dividend", None, None, 0.205, "USD"),
    ]
    quiet = clients.with_yahoo(yahoo_server, lambda one: one.actions(SYMBOL, JUNE))
    assert (quiet.schema, quiet.height) == (ACTIONS, 0)


@pytest.mark.parametrize(
    "name",
    [
        "chart/gold_null_bar.json",
        "chart/history_chart_AAPL.json",
        "chart/history_chart_GS2C.DE.json",
        "chart_http/chart-AAPL-2025-02-01-to-2025-02-02-includePrePost-false-interval-1m.json",
        "chart_http/chart-WSU.DE-2023-08-04-to-2023-08-09.json",
        "chart_http/chart-notimestamp-weird-quote.fake.json",
    ],
)
def test_every_recorded_chart_is_read(yahoo_server: YahooServer, clients: Clients, fixtures: Path, name: str) -> None:
    """Most are of days, so their first four bars are given out as minutes."""
    document = json.loads(chart(fixtures, name)[1])
    result = document["chart"]["result"][0]
    result["meta"].pop("dataGranularity", None)
    quote = result["indicators"]["quote"][0]
    expected = 0
    start = int(dt.datetime(2025, 6, 2, 1, 30, tzinfo=dt.UTC).timestamp())
    if times := result.get("timestamp"):
        count = min(len(times), 4)
        result["timestamp"] = [start + 60 * number for number in range(count)]
        result["indicators"]["quote"] = [{key: values[:count] for key, values in quote.items()}]
        expected = sum(any(values[number] is not None for values in quote.values()) for number in range(count))
    yahoo_server.say(json.dumps(document).encode())
    config = yahoo_config(symbol_mapping=SymbolMapping(suffixes={}, symbols={"600000.SH": result["meta"]["symbol"]}))
    days = Days(MONDAY, MONDAY)
    delivery = clients.with_yahoo(yahoo_server, lambda one: one.bars("600000.SH", days), config=config)
    assert (delivery.rows.height, delivery.rejected) == (expected, ())
    if expected:
        first = next(value for value in quote["close"] if value is not None)
        assert (delivery.rows["close"][0], delivery.currency) == (first, result["meta"]["currency"])
    assert expected == {"gold_null_bar": 2, "history_chart_AAPL": 4}.get(Path(name).stem, expected)


@given(
    st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)),
    st.integers(0, 400),
    st.integers(1, 40),
)
def test_slices_cover_the_days_exactly_once(first: dt.date, length: int, size: int) -> None:
    days = Days(first, first + dt.timedelta(days=length))
    slices = days.slices(size)
    assert [day for piece in slices for day in piece] == list(days)
    assert all(len(piece) <= size for piece in slices)


@pytest.mark.parametrize(
    ("times", "flag"),
    [
        ({}, False),
        ({"turnover": 100.0}, True),  # volume in lots, or money in cents
        ({"turnover": 0.001}, True),  # thousands of yuan
        ({"volume": 100.0}, True),
        ({"open": 100.0, "high": 100.0, "low": 100.0, "close": 100.0}, True),  # prices in cents
        ({"turnover": 1.2}, False),  # a bar that was rounded
        ({"turnover": 0.0}, False),  # not sent
        ({"volume": 0.0, "turnover": 0.0}, False),
    ],
)
def test_a_day_whose_turnover_and_volume_make_no_price_of_it_is_flagged(times: dict[str, float], flag: bool) -> None:
    config = yahoo_config()
    monday = dt.datetime(2025, 6, 2, 1, 31, tzinfo=dt.UTC)
    names = ("open", "high", "low", "close", "volume", "turnover")
    prices = [(10.0, 10.2, 9.9, 10.1, 500.0 + minute, (500.0 + minute) * 10.05) for minute in range(9)]
    rows = [
        {"ts": monday + dt.timedelta(days=later, minutes=minute), "later": later, **dict(zip(names, bar, strict=True))}
        for later in (0, 1)
        for minute, bar in enumerate(prices)
    ]
    wrong = [row | {name: row[name] * by for name, by in times.items() if row["later"]} for row in rows]
    raw = pl.DataFrame(wrong).with_columns(pl.col("ts").cast(pl.Datetime("ms", "UTC")), raw=pl.lit(""))
    found = records.bars(raw.with_row_index("line", 1), "x", SYMBOL, week(), "end", None, config)
    assert found.rejected == ()
    assert [bool(flags & records.FLAGS["units"]) for flags in found.rows["flags"]] == [False] * 9 + [flag] * 9


def test_bars_are_the_same_however_rows_come() -> None:
    config = yahoo_config()
    moment = dt.datetime(2025, 6, 2, 1, 30, tzinfo=dt.UTC)
    rows = [
        {"line": number, "raw": "", "ts": moment + dt.timedelta(minutes=number), "open": 10.0, "high": high, "low": 9.0,
         "close": close, "volume": volume, "turnover": None}
        for number, (high, close, volume) in enumerate([(11.0, 10.0, 1.0), (8.0, 14.0, 0.0), (20000.0, 9.0, 2e9)])
    ]  # fmt: skip
    rows.append({**rows[0], "line": 9, "ts": moment + dt.timedelta(hours=3)})
    raw = pl.DataFrame(rows, schema_overrides={"turnover": pl.Float64, "ts": pl.Datetime("ms", "UTC")})
    found = records.bars(raw, "yahoo", SYMBOL, week(), "start", None, config)
    again = records.bars(pl.concat([raw, raw]).reverse(), "yahoo", SYMBOL, week(), "start", None, config)
    assert found.rejected == ()
    assert found.rows.equals(again.rows)
    assert [flag_names(flags) for flags in found.rows["flags"]] == [
        [],
        ["zero_volume", "ohlc_order", "return_bound"],
        ["price_bounds", "volume_bound", "return_bound"],
        ["outside_session"],
    ]
