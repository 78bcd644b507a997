"""What the market page answers of stocks, over a real PostgreSQL: values, errors of requests, and to whom."""

import datetime as dt
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from marketdata_assets.web.finding import found, initials
from marketdata_assets.web.stocks import MOST_CANDLES, Stock
from tests.bars.bar_files import months
from tests.web.served_market import CODE, HOSTILE, NAME, TOKEN, answer, get, on, served


@pytest.fixture(scope="module")
def page(market: str) -> Iterator[str]:
    with served(on(market)) as url:
        yield url


def asked(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def test_status_has_the_counts_of_the_tables(page: str, market: str) -> None:
    bars, kline = answer(page, "/api/status/bars")["assets"]
    [(rows, last)] = asked(market, "SELECT count(*), to_char(max(time), 'YYYY-MM-DD') FROM stock_1min_qfq")
    [(klines,)] = asked(market, "SELECT count(*) FROM stock_monthly_kline")
    assert (bars["asset"], bars["rows"], bars["ok"], bars["newest"]) == ("stock_1min_qfq", rows, 15, last)
    assert (bars["failed"], bars["quarantine"]) == (0, 0)
    assert (kline["asset"], kline["rows"], kline["ok"], kline["newest"]) == (
        "stock_monthly_kline",
        klines,
        15,
        "2024-03-01",
    )


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("6000", [CODE]),
        ("sh600001", [CODE]),
        ("示例", [CODE]),
        ("<IMG", ["000001.SZ"]),
        ("30", ["300001.SZ"]),
        ("３００００１", ["300001.SZ"]),
        ("", ["000001.SZ", "300001.SZ", CODE]),
        ("%", []),
        ("999", []),
    ],
)
def test_search_finds_codes_and_names_by_their_beginning(page: str, text: str, codes: list[str]) -> None:
    listed = answer(page, "/api/stocks", q=text)
    assert [one["code"] for one in listed["found"]] == codes
    assert (listed["of"], listed["more"]) == (3, False)


@pytest.mark.parametrize(
    ("text", "codes"), [("slyh", [CODE]), ("SLY", [CODE]), ("ｓｌｙｈ", [CODE]), ("yh", []), ("sl1", [])]
)
def test_search_finds_chinese_names_by_the_initials_of_pinyin(page: str, text: str, codes: list[str]) -> None:
    assert [one["code"] for one in answer(page, "/api/stocks", q=text)["found"]] == codes


def test_a_syllable_is_read_as_in_its_word() -> None:
    assert (initials("浦发银行"), initials("长江电力"), initials("ST示例A")) == ("pfyh", "cjdl", "stsla")


def test_the_chart_library_is_served_from_its_package(page: str) -> None:
    given = get(page, "/static/charts.js")
    assert given.headers["content-type"].startswith("text/javascript")
    assert given.text.startswith("/*!\n * @license\n * TradingView Lightweight Charts")


def test_search_lists_codes_before_names() -> None:
    stocks = [Stock("000002.SZ", "600 group", "2000-01", "2000-02"), Stock("600000.SH", None, "2000-01", "2000-01")]
    assert [one.code for one in found(stocks, "600")] == ["600000.SH", "000002.SZ"]


def test_search_takes_letters_of_full_width_and_leaves_out_separators() -> None:
    stocks = [Stock("000002.SZ", "万科Ａ", "2000-01", "2000-02"), Stock("BTC-USD", None, "2000-01", "2000-01")]
    texts = ("万科A", "万科ａ", "btcusd", "ＢＴＣ－USD", "btc/usd", "btc-")
    assert [[one.code for one in found(stocks, text)] for text in texts] == [["000002.SZ"]] * 2 + [["BTC-USD"]] * 4


def test_search_finds_names_with_spaces_and_signs() -> None:
    names = {"000002.SZ": "万  科Ａ", "000858.SZ": "五 粮 液", "600001.SH": "*ST示例"}
    stocks = [Stock(code, name, "2000-01", "2000-02") for code, name in names.items()]
    texts = {"万科": "000002.SZ", "wka": "000002.SZ", "wly": "000858.SZ", "stsl": "600001.SH", "st示": "600001.SH"}
    texts |= {"*st": "600001.SH", "600001sh": "600001.SH"}
    assert {text: [one.code for one in found(stocks, text)] for text in texts} == {
        text: [code] for text, code in texts.items()
    }
    assert list(found(stocks, "*")) == []


def test_another_spelling_in_the_address_is_that_stock(page: str) -> None:
    codes = ("sh600001", "600001.ss", "６００００１.sh")
    assert [answer(page, f"/api/stocks/{code}/coverage")["code"] for code in codes] == [CODE] * 3


@pytest.mark.parametrize(
    ("path", "colour"),
    [
        *((f"/stock/{code}", "red") for code in (CODE, "000001.SZ")),
        *((f"/symbol/{code}", "red") for code in ("430047.BJ", "7203.T")),
        *((f"/symbol/{code}", "green") for code in ("AAPL.US", "0700.HK", "VOD.L", "BTC-USD", "BTC-JPY", "BTC-CNY")),
        ("/instrument", "green"),
    ],
)
def test_the_colour_of_rising_prices_is_that_of_the_market(page: str, path: str, colour: str) -> None:
    assert f'data-market="{colour}"' in get(page, path).text


def test_months_are_those_of_the_kline_and_what_is_drawn_without_a_frequency(page: str, market: str) -> None:
    whole = answer(page, f"/api/stocks/{CODE}/candles")
    rows = asked(
        market,
        f"""SELECT to_char(month, 'YYYY-MM-DD'), open::float8, high::float8, low::float8, close::float8,
                   volume::float8 * 100 FROM stock_monthly_kline WHERE code = '{CODE}' ORDER BY month""",
    )
    assert (whole["step"], whole["start"], whole["end"]) == ("1mo", "2023-01-02", "2024-03-29")
    assert [tuple(one) for one in whole["candles"]] == rows
    assert answer(page, f"/api/stocks/{CODE}/candles", freq="1mo", start="2000-01-01", end="2026-01-01") == whole


def test_days_and_weeks_are_made_of_minutes(page: str, market: str) -> None:
    sql = f"""
        SELECT to_char(time, 'YYYY-MM-DD'), (array_agg(open ORDER BY time))[1]::float8, max(high)::float8,
               min(low)::float8, (array_agg(close ORDER BY time DESC))[1]::float8, sum(volume)::float8 * 100
        FROM stock_1min_qfq WHERE code = '{CODE}' GROUP BY 1 ORDER BY 1
    """
    rows = asked(market, sql)
    days = answer(page, f"/api/stocks/{CODE}/candles", freq="1d", start="2023-01-01", end="2024-03-29")
    assert (days["step"], [tuple(one) for one in days["candles"]]) == ("1d", rows)
    weeks = answer(page, f"/api/stocks/{CODE}/candles", freq="1w", start="2023-01-01", end="2024-03-29")
    of_week = {dt.date.fromisoformat(str(row[0])).isocalendar()[:2]: row for row in rows}
    assert [one[4] for one in weeks["candles"]] == [row[4] for row in of_week.values()]


def test_the_week_and_month_in_which_a_stock_stopped_are_drawn(dsn: str) -> None:
    """They have the date of their last trading day, which is after the last day of the stock."""
    days = [dt.date(2024, 1, 2), dt.date(2024, 1, 9), dt.date(2024, 2, 6), dt.date(2024, 2, 7)]
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "CREATE TABLE stock_daily (code text, trade_date date, open numeric(16,4), high numeric(16,4),"
            " low numeric(16,4), close numeric(16,4), volume bigint, amount numeric(20,4))"
        )
        for number, day in enumerate(days, 1):
            values = ["sh600001", day, *[number] * 6]
            connection.execute("INSERT INTO stock_daily VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", values)
    with served(on(dsn)) as url:
        found = {
            freq: answer(url, f"/api/stocks/{CODE}/candles", source="daily", adjust="none", freq=freq)["candles"]
            for freq in ("1d", "1w", "1mo")
        }
    assert [one[0] for one in found["1d"]] == [str(day) for day in days]
    assert [(one[0], one[5]) for one in found["1w"]] == [("2024-01-05", 1), ("2024-01-12", 2), ("2024-02-08", 7)]
    assert [(one[0], one[5]) for one in found["1mo"]] == [("2024-01-31", 3), ("2024-02-29", 7)]


def test_of_many_candles_the_newest_are_drawn(page: str) -> None:
    many = answer(page, f"/api/stocks/{CODE}/candles", freq="1m", start="2023-01-01", end="2024-03-29")["candles"]
    assert (len(many), many[-1][0]) == (MOST_CANDLES, "2024-03-29T15:00:00")


def test_minutes_are_those_of_the_table(page: str, market: str) -> None:
    days = answer(page, f"/api/stocks/{CODE}/candles", freq="1m", start="2024-03-28", end="2024-03-29")
    rows = asked(
        market,
        f"""SELECT to_char(time, 'YYYY-MM-DD"T"HH24:MI:SS'), close::float8 FROM stock_1min_qfq
            WHERE code = '{CODE}' AND time >= '2024-03-28' AND time::time > '09:31' ORDER BY time""",
    )
    assert days["step"] == "1m"
    assert [(one[0], one[4]) for one in days["candles"] if one[0][11:] > "09:31:00"] == rows
    assert (days["first"], days["last"]) == ("2023-01-02", "2024-03-29")


def test_coverage_counts_loaded_against_expected_minutes(page: str, market: str) -> None:
    with psycopg.connect(market) as connection:
        connection.execute(
            "UPDATE stock_1min_days SET bars[4] = 0, bars[5] = 200 WHERE code = '300001.SZ' AND month = '2023-12-01'"
        )
    covered = answer(page, "/api/stocks/300001.SZ/coverage")["months"]
    december = covered[11]
    assert [one["month"] for one in covered] == months(2023) + months(2024)[:3]
    assert (december["none"], december["few"]) == ([4], [5])
    assert december["expected"] == 21 * 241
    assert (december["loaded"], december["missing"]) == (19 * 241 + 200, 241 + 41)
    november = covered[10]
    assert (november["loaded"], november["expected"], november["missing"]) == (22 * 241, 22 * 241, 0)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/nothing", 404, ["nothing is at this address"]),
        ("/api/stocks/999999.SH/candles", 404, ["999999.SH", "Search"]),
        ("/api/stocks/%3Cscript%3E/coverage", 404, ["<script>", "Search"]),
        (f"/api/stocks/{CODE}/candles?freq=2m", 400, ["'2m' is no frequency", "1mo"]),
        (f"/api/stocks/{CODE}/candles?source=floppies", 400, ["'floppies' is no source", "minutes"]),
        (f"/api/stocks/{CODE}/candles?adjust=none", 400, ['adjust="none"']),
        (f"/api/stocks/{CODE}/candles?source=daily&freq=1m", 400, ["'1m' is no frequency of daily bars", "1d"]),
        (f"/api/stocks/{CODE}/candles?source=daily", 503, ["stock_daily"]),
        (f"/api/stocks/{CODE}/suspensions", 503, ["MARKETDATA_CLICKHOUSE_URL"]),
        (f"/api/stocks/{CODE}/candles?start=yesterday", 400, ["start='yesterday'", "2024-01-31"]),
        (f"/api/stocks/{CODE}/candles?start=2024-02-01&end=2024-01-01", 400, ["end='2024-01-01'", "earlier"]),
    ],
)
def test_errors_name_the_value_and_the_remedy(page: str, path: str, status: int, says: list[str]) -> None:
    given = get(page, path)
    assert given.status_code == status
    assert given.headers["content-type"] == "application/json"
    assert all(part in given.json()["error"] for part in says), given.text


@pytest.mark.parametrize(
    "path",
    ["/", "/stock/600001.SH", "/quality", "/api/status/bars", "/api/stocks", "/static/page.js", "/static/charts.js"],
)
def test_nothing_is_shown_without_token_or_to_a_foreign_host(page: str, path: str) -> None:
    nobody = httpx.get(page + path, trust_env=False)
    assert (nobody.status_code, NAME in nobody.text) == (401, False)
    assert get(page, path, Host="rebound.example").status_code == 421
    given = get(page, path)
    assert given.status_code == 200
    assert given.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert (given.headers["x-content-type-options"], given.headers["x-frame-options"]) == ("nosniff", "SAMEORIGIN")


def test_nothing_can_be_sent(page: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    for path in ("/", "/api/status/bars", f"/api/stocks/{CODE}/candles", "/api/instrument/book"):
        assert httpx.post(page + path, headers=headers, trust_env=False).status_code == 405


def test_pages_have_no_name_in_their_html(page: str) -> None:
    assert HOSTILE not in get(page, "/stock/000001.SZ").text
    assert answer(page, "/api/stocks/000001.SZ/coverage")["name"] == HOSTILE
    assert get(page, "/static/../application.py").status_code == 404
