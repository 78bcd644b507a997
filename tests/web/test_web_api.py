"""What the market page answers of stocks, over a real PostgreSQL: values, errors of requests, and to whom."""

import datetime as dt
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from bar_files import months
from databases import fresh_postgres
from served_market import CODE, HOSTILE, NAME, TOKEN, answer, get, load_market, on, served

from marketdata_assets.reference.records import Days
from marketdata_assets.web import database
from marketdata_assets.web.finding import found
from marketdata_assets.web.stocks import MOST_CANDLES, Stock, candles, step


@pytest.fixture(scope="module")
def market(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fresh_postgres(server_dsn) as fresh:
        load_market(fresh, tmp_path_factory.mktemp("bars"))
        yield fresh


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
        ("", ["000001.SZ", "300001.SZ", CODE]),
        ("%", []),
        ("999", []),
    ],
)
def test_search_finds_codes_and_names_by_their_beginning(page: str, text: str, codes: list[str]) -> None:
    listed = answer(page, "/api/stocks", q=text)
    assert [one["code"] for one in listed["found"]] == codes
    assert (listed["of"], listed["more"]) == (3, False)


def test_search_lists_codes_before_names() -> None:
    stocks = [Stock("000002.SZ", "600 group", "2000-01", "2000-02"), Stock("600000.SH", None, "2000-01", "2000-01")]
    assert [one.code for one in found(stocks, "600")] == ["600000.SH", "000002.SZ"]


def test_a_long_span_is_drawn_from_the_kline(page: str, market: str) -> None:
    whole = get(page, f"/api/stocks/{CODE}/candles").json()
    rows = asked(
        market,
        f"""SELECT to_char(month, 'YYYY-MM-DD'), open::float8, high::float8, low::float8, close::float8,
                   volume::float8 * 100 FROM stock_monthly_kline WHERE code = '{CODE}' ORDER BY month""",
    )
    days = get(page, f"/api/stocks/{CODE}/candles?start=2023-01-01&end=2024-03-29").json()
    assert (days["step"], len(days["candles"])) == (
        "1d",
        len(asked(market, "SELECT DISTINCT time::date FROM stock_1min_qfq")),
    )
    assert whole == days, "without bounds the whole span is drawn"
    with database.postgres(market) as connection:
        assert candles(connection, CODE, Days(dt.date(2000, 1, 1), dt.date(2026, 1, 1))) == rows


def test_a_short_span_is_drawn_from_minutes(page: str, market: str) -> None:
    days = get(page, f"/api/stocks/{CODE}/candles?start=2024-03-28&end=2024-03-29").json()
    rows = asked(
        market,
        f"""SELECT to_char(time, 'YYYY-MM-DD"T"HH24:MI:SS'), close::float8 FROM stock_1min_qfq
            WHERE code = '{CODE}' AND time >= '2024-03-28' AND time::time > '09:31' ORDER BY time""",
    )
    assert days["step"] == "1m"
    assert [(one[0], one[4]) for one in days["candles"] if one[0][11:] > "09:31:00"] == rows
    assert (days["first"], days["last"]) == ("2023-01-02", "2024-03-29")


def test_no_span_has_more_candles_than_are_drawn() -> None:
    in_a_day = {"1m": 241, "5m": 49, "30m": 9, "1d": 1}
    weekdays = {days: days - 2 * (days // 7) for days in range(1, 1101)}
    assert all(weekdays[days] * in_a_day[step(days)] <= MOST_CANDLES for days in weekdays)
    assert step(1101) == "1mo"


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
        ("/api/stocks/999999.SH/candles", 404, ["999999.SH", "Search"]),
        ("/api/stocks/%3Cscript%3E/coverage", 404, ["<script>", "Search"]),
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
    "path", ["/", "/stock/600001.SH", "/quality", "/api/status/bars", "/api/stocks", "/static/ask.js"]
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
