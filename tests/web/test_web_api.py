"""What the market page answers, over a real PostgreSQL: values, limits, errors with their remedies, and to whom."""

import datetime as dt
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from bar_files import months
from databases import fresh_postgres
from served_market import CODE, HOSTILE, NAME, TOKEN, get, load_market, served

from marketdata_assets.local.errors import NoServer
from marketdata_assets.reference.records import Days
from marketdata_assets.web import database
from marketdata_assets.web.database import reading
from marketdata_assets.web.errors import TooSlow
from marketdata_assets.web.stocks import MOST_CANDLES, Stock, candles, found, step


@pytest.fixture(scope="module")
def market(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fresh_postgres(server_dsn) as fresh:
        load_market(fresh, tmp_path_factory.mktemp("bars"))
        yield fresh


@pytest.fixture(scope="module")
def page(market: str) -> Iterator[str]:
    with served(lambda: market) as url:
        yield url


def asked(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def test_state_has_the_counts_of_the_tables(page: str, market: str) -> None:
    tables = {one["table"]: one for one in get(page, "/api/state").json()["tables"]}
    [(rows, last)] = asked(market, "SELECT count(*), to_char(max(time), 'YYYY-MM-DD HH24:MI') FROM stock_1min_qfq")
    [(klines,)] = asked(market, "SELECT count(*) FROM stock_monthly_kline")
    bars, kline = tables["stock_1min_qfq"], tables["stock_monthly_kline"]
    assert (bars["rows"], bars["parts"], bars["last"], bars["failed"], bars["quarantined"]) == (rows, 15, last, 0, 0)
    assert (kline["rows"], kline["parts"], kline["last"]) == (klines, 15, "2024-03")


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
    answer = httpx.get(
        f"{page}/api/stocks", params={"q": text}, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
    ).json()
    assert [one["code"] for one in answer["stocks"]] == codes
    assert (answer["of"], answer["more"]) == (3, False)


def test_search_lists_codes_before_names() -> None:
    stocks = [Stock("000002.SZ", "600 group", "2000-01", "2000-02"), Stock("600000.SH", None, "2000-01", "2000-01")]
    assert [one.code for one in found(stocks, "600")] == ["600000.SH", "000002.SZ"]


def test_a_long_span_is_drawn_from_the_kline(page: str, market: str) -> None:
    answer = get(page, f"/api/stocks/{CODE}/candles").json()
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
    assert answer == days, "without bounds the whole span is drawn"
    with reading(market) as connection:
        assert candles(connection, CODE, Days(dt.date(2000, 1, 1), dt.date(2026, 1, 1))) == rows


def test_a_short_span_is_drawn_from_minutes(page: str, market: str) -> None:
    answer = get(page, f"/api/stocks/{CODE}/candles?start=2024-03-28&end=2024-03-29").json()
    rows = asked(
        market,
        f"""SELECT to_char(time, 'YYYY-MM-DD"T"HH24:MI:SS'), close::float8 FROM stock_1min_qfq
            WHERE code = '{CODE}' AND time >= '2024-03-28' AND time::time > '09:31' ORDER BY time""",
    )
    assert answer["step"] == "1m"
    assert [(one[0], one[4]) for one in answer["candles"] if one[0][11:] > "09:31:00"] == rows
    assert (answer["first"], answer["last"]) == ("2023-01-02", "2024-03-29")


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
    answer = get(page, "/api/stocks/300001.SZ/coverage").json()
    december = answer["months"][11]
    assert [one["month"] for one in answer["months"]] == months(2023) + months(2024)[:3]
    assert (december["none"], december["few"]) == ([4], [5])
    assert december["expected"] == 21 * 241
    assert (december["loaded"], december["missing"]) == (19 * 241 + 200, 241 + 41)
    november = answer["months"][10]
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
    answer = get(page, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert all(part in answer.json()["error"] for part in says), answer.text


@pytest.mark.parametrize("path", ["/", "/stock/600001.SH", "/api/state", "/api/stocks", "/static/ask.js"])
def test_nothing_is_shown_without_token_or_to_a_foreign_host(page: str, path: str) -> None:
    nobody = httpx.get(page + path, trust_env=False)
    assert (nobody.status_code, NAME in nobody.text) == (401, False)
    assert get(page, path, Host="rebound.example").status_code == 421
    answer = get(page, path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert (answer.headers["x-content-type-options"], answer.headers["x-frame-options"]) == ("nosniff", "SAMEORIGIN")


def test_nothing_can_be_sent(page: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    for path in ("/", "/api/state", f"/api/stocks/{CODE}/candles"):
        assert httpx.post(page + path, headers=headers, trust_env=False).status_code == 405


def test_pages_have_no_name_in_their_html(page: str) -> None:
    assert HOSTILE not in get(page, "/stock/000001.SZ").text
    assert get(page, "/api/stocks/000001.SZ/coverage").json()["name"] == HOSTILE
    assert get(page, "/static/../application.py").status_code == 404


def test_a_connection_only_reads(market: str) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), reading(market) as connection:
        connection.execute("DELETE FROM stock_1min_coverage")


def test_a_long_statement_is_ended(market: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "STATEMENT_SECONDS", 0.05)
    with pytest.raises(TooSlow, match=r"0\.05 s"), reading(market) as connection:
        connection.execute("SELECT pg_sleep(60)")


def test_a_query_without_an_answer_is_not_waited_for(market: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "REQUEST_SECONDS", 0.3)
    with served(lambda: market) as url, psycopg.connect(market) as holder:
        holder.execute("LOCK TABLE stock_1min_coverage")
        answer = get(url, f"/api/stocks/{CODE}/coverage")
    error = answer.json()["error"]
    assert (answer.status_code, "is not answering" in error, "marketdata doctor" in error) == (503, True, True), error


def test_without_a_server_the_answer_says_how_to_start_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/x"
        with served(lambda: dead) as url:
            unanswered = get(url, "/api/state")
    with served(lambda: dead) as url:
        refused = get(url, "/api/stocks?q=6")

    def nobody() -> str:
        raise NoServer("Postgres", "MARKETDATA_POSTGRES_DSN")

    with served(nobody) as url:
        unnamed = get(url, f"/api/stocks/{CODE}/coverage")
        assert get(url, "/").status_code == 200
    for answer in (unanswered, refused):
        assert (answer.status_code, "marketdata doctor" in answer.json()["error"]) == (503, True), answer.text
    assert (unnamed.status_code, "MARKETDATA_POSTGRES_DSN" in unnamed.json()["error"]) == (503, True)


def test_an_empty_database_says_what_to_load(dsn: str) -> None:
    with served(lambda: dsn) as url:
        assert get(url, "/api/state").json() == {"tables": []}
        answer = get(url, "/api/stocks")
    assert (answer.status_code, "stock_1min_coverage" in answer.json()["error"]) == (503, True)
