"""Odd values in every parameter of the market page: 400 or 404 with the value named, and never an error of a server."""

import datetime as dt
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from marketdata_assets.exchanges.tables import ohlcv
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from marketdata_assets.ticks import tables
from marketdata_demo.venues.market import Plan
from tests.databases import fresh_clickhouse, fresh_postgres
from tests.exchanges.landed_market import land, records
from tests.web.served_market import CODE, get, load_market, on, served

BEGIN = dt.datetime(2025, 1, 5, 23, 55, tzinfo=dt.UTC)
MARKET = "exchange=okx&market_type=linear&instrument=SMPL-USDT-SWAP"


@pytest.fixture(scope="module")
def page(server_dsn: str, clickhouse_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        fresh_postgres(server_dsn) as dsn,
        fresh_clickhouse(clickhouse_server) as fresh,
        clickhouse.connect(fresh) as client,
    ):
        load_market(dsn, tmp_path_factory.mktemp("bars"))
        land(client, list(records(Plan(BEGIN, 10), ("okx",))))
        tables.ensure(client)
        clickhouse_ledger.ensure(client)
        for day in ohlcv.days_with_trades(client):
            ohlcv.compute(client, day, run_id="test", now=BEGIN + dt.timedelta(days=2))
        with served(on(dsn, fresh)) as url:
            yield url


TEXTS = (
    *("\0", "a\0b", "\x1b[2J", "\x9b", "\u202e", "\ufffd", "x" * 5000, "9" * 400),
    *("';--", "%", "_%", "\\", "{x:String}", "\U0001f600", "../.."),
)
DAYS = (
    *("0001-01-01", "9999-12-31", "1899-12-31", "1969-12-31", "2100-01-01", "2299-12-31", "2024-02-30", "0000-00-00"),
    *("99999999999999999999", "-1", "20240101T000000", "2024-01-01\0", "nan", "2024-W99-9"),
    "\u0662\u0660\u0662\u0664-01-01",
)
MOMENTS = (
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31T00:00:00Z", "2026-01-05T12:00:00"),
    *("now", "1e400", "-5", "9" * 19, "9" * 400, "\u0669" * 19, "2026-01-05T12:00:00.123456789123Z", "\0"),
    "2026-01-05T24:00:00Z",
)
PATHS = (
    *(("/api/servers/{}", TEXTS), ("/api/status/{}", TEXTS), ("/api/quality/{}", TEXTS), ("/api/symbols/{}", TEXTS)),
    ("/api/quality/{}/tick_data/2025-01", TEXTS),
    *((f"/api/stocks/{{}}/{what}", TEXTS) for what in ("candles", "coverage")),
    *((f"/api/stocks/{CODE}/candles?{name}={{}}", DAYS) for name in ("start", "end")),
    *((f"/api/instrument/candles?{MARKET}&{name}={{}}", DAYS) for name in ("start", "end")),
    *((f"/api/instrument/{what}?{MARKET}&day={{}}", DAYS) for what in ("gaps", "book")),
    (f"/api/instrument/book?{MARKET}&at={{}}", MOMENTS),
    *(
        (f"/api/{what}?" + MARKET.replace(value, "{}") + "&day=2025-01-05", TEXTS)
        for what in ("instrument", "instrument/candles", "instrument/gaps", "instrument/book")
        for value in ("okx", "linear", "SMPL-USDT-SWAP")
    ),
    *(("/stock/{}", ("\0", "\x1b")), ("/symbol/{}", ("\0", "\x1b")), ("/static/{}", ("\0", "\x1b", "x" * 5000))),
)


@pytest.mark.parametrize("every", [pytest.param(5, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("path", "number"), [(path, number) for number, (path, _) in enumerate(PATHS)])
def test_an_odd_value_is_an_error_of_the_request(page: str, path: str, number: int, every: int) -> None:
    values = PATHS[number][1][number % every :: every]  # other ones for each path
    given = {value: get(page, path.replace("{}", quote(value, safe=""))) for value in values}
    wrong = {value: (one.status_code, one.text) for value, one in given.items() if one.status_code not in (400, 404)}
    # A name that nothing has is no error where nothing is listed by it; it has no rows then.
    assert {value: said for value, said in wrong.items() if said[0] != 200 or "\0" in value} == {}
    assert not any(ord(letter) < 32 for one in given.values() for letter in one.text.rstrip("\n"))


@pytest.mark.parametrize("what", ["stocks", "symbols", "instruments"])
def test_a_search_of_odd_text_finds_nothing_or_is_rejected(page: str, what: str) -> None:
    for text in TEXTS:
        given = get(page, f"/api/{what}?q={quote(text, safe='')}")
        assert given.status_code in (200, 400), (text, given.text)
        assert given.status_code == 400 or "\0" not in text


def test_days_that_are_far_away_are_named(page: str) -> None:
    given = get(page, f"/api/instrument/gaps?{MARKET}&day=9999-12-31")
    assert (given.status_code, given.json()["error"]) == (
        400,
        "day='9999-12-31' is not a day from 1970-01-01 to 2099-12-31.",
    )
