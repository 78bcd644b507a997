"""The market page when servers are down, hung, empty, slow or forbid to read: what is left is shown, with a reason."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from psycopg.conninfo import make_conninfo

from marketdata_assets.local.process import free_port
from marketdata_assets.read.errors import CannotRead, NothingLoaded
from marketdata_assets.web import application, database
from marketdata_assets.web.database import LONG
from marketdata_assets.web.errors import NotCreated, QueryFailed, TooSlow
from tests.databases import fresh_clickhouse, fresh_postgres
from tests.read.small_demo import Servers, fill
from tests.web.served_market import CODE, answer, get, on, served

BOOK = {"exchange": "okx", "market_type": "linear", "instrument": "SMPL-USDT-SWAP"}
PARTS = {
    "postgres": ["/api/servers/postgres", "/api/stocks?q=6", "/api/quality/postgres"],
    "clickhouse": ["/api/servers/clickhouse", "/api/instruments?q=smpl", "/api/symbols?q=6", "/api/quality/clickhouse"],
    "mongo": ["/api/servers/mongo", "/api/quality/mongo"],
}
DOMAINS = {
    "postgres": ["bars", "flows", "reconciliation"],
    "clickhouse": ["reference", "ticks", "exchanges"],
    "mongo": ["alphas"],
}
QUICK = {("postgres", "refuses"), ("clickhouse", "hangs"), ("mongo", "is not named")}
"""Each server and each way once; `make test-slow` tries all of them."""


@pytest.fixture(scope="module")
def demo(
    server_dsn: str, clickhouse_server: str, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    with fresh_postgres(server_dsn) as postgres, fresh_clickhouse(clickhouse_server) as clickhouse:
        loaded = Servers(postgres, mongo_uri, clickhouse)
        fill(loaded, tmp_path_factory.mktemp("demo"))
        yield loaded


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MARKETDATA_TICKS_MONTHS", "1200")  # the months of the demo, whenever this runs


@contextmanager
def hung() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


def addresses(port: int) -> dict[str, str]:
    return {
        "postgres": f"postgresql://127.0.0.1:{port}/x",
        "clickhouse": f"http://127.0.0.1:{port}/x",
        "mongo": f"mongodb://127.0.0.1:{port}/",
    }


@pytest.mark.parametrize(
    ("down", "how"),
    [
        (down, how) if (down, how) in QUICK else pytest.param(down, how, marks=pytest.mark.slow)
        for down in ("postgres", "clickhouse", "mongo")
        for how in ("refuses", "hangs", "is not named")
    ],
)
def test_one_server_down_is_named_and_the_rest_is_shown(
    demo: Servers, down: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "REQUEST_SECONDS", 1.0 if how == "hangs" else 8.0)
    with ExitStack() as stack:
        port = stack.enter_context(hung()) if how == "hangs" else free_port()
        bad = None if how == "is not named" else addresses(port)[down]
        known: dict[str, str | None] = {
            "postgres": demo.postgres,
            "clickhouse": demo.clickhouse,
            "mongo": demo.mongo,
            down: bad,
        }
        if how == "hangs" and down != "postgres":
            monkeypatch.setattr(database, "CONNECT_SECONDS", 1)
        with served(on(**known)) as url:
            for store, paths in PARTS.items():
                for path in [*paths, *(f"/api/status/{domain}" for domain in DOMAINS[store])]:
                    given = get(url, path)
                    if store == down:
                        assert given.status_code == 503, (path, given.text)
                        assert "MARKETDATA_" in given.json()["error"] or "marketdata doctor" in given.json()["error"]
                    elif how != "hangs":  # its short limits are for the one that hangs
                        assert given.status_code == 200, (path, given.text)


def test_status_has_the_rows_of_every_domain(demo: Servers) -> None:
    with served(on(demo.postgres, demo.clickhouse, demo.mongo)) as url:
        found = {
            domain: {one["asset"]: one for one in answer(url, f"/api/status/{domain}")["assets"]}
            for domains in DOMAINS.values()
            for domain in domains
        }
        stores = [answer(url, f"/api/servers/{name}") for name in PARTS]
    assert {one["store"] for one in stores} == {"PostgreSQL", "ClickHouse", "MongoDB"}
    assert all(one["version"][0].isdigit() for one in stores)
    assert found["bars"]["stock_1min_qfq"]["rows"] == found["bars"]["stock_1min_qfq"]["codes"] * 482
    assert found["ticks"]["tick_data"]["ok"] == 2
    assert found["exchanges"]["exchange_trades"]["rows"] > 1000
    assert found["alphas"]["regular_alphas"]["documents"] == 60
    assert found["flows"]["stock_daily"]["rows"] == 120
    assert found["reference"] == found["reconciliation"] == {}


@pytest.mark.parametrize("domain", [domain for domains in DOMAINS.values() for domain in domains])
def test_empty_databases_have_nothing_loaded_and_get_no_table(
    domain: str, dsn: str, clickhouse_url: str, clickhouse_client: Client, mongo_uri: str
) -> None:
    with served(on(dsn, clickhouse_url, f"{mongo_uri}&appName=empty")) as url:
        given = answer(url, f"/api/status/{domain}")
    assert given["assets"] == [] or domain == "alphas"
    with psycopg.connect(dsn) as connection:
        made = connection.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        assert made.fetchone() == (0,)
    assert clickhouse_client.command("SELECT count() FROM system.tables WHERE database = currentDatabase()") == 0


def test_an_empty_database_says_what_to_load(dsn: str, clickhouse_url: str) -> None:
    with served(on(dsn, clickhouse_url)) as url:
        stocks, instruments = get(url, "/api/stocks"), get(url, "/api/instruments")
        symbols = get(url, "/api/symbols")
    for given, table in ((stocks, "stock_1min_coverage"), (instruments, "exchange_ohlcv_1m"), (symbols, "symbols")):
        assert (given.status_code, table in given.json()["error"]) == (503, True), given.text


@pytest.mark.usefixtures("server_with_password")
def test_a_missing_permission_is_a_message_with_the_remedy(market: str) -> None:
    with psycopg.connect(market) as connection:
        connection.execute("DROP ROLE IF EXISTS page_without_rights")
        connection.execute("CREATE ROLE page_without_rights LOGIN PASSWORD 'none'")
    stranger = make_conninfo(market, user="page_without_rights", password="none")
    wrong = make_conninfo(market, user="page_without_rights", password="other")
    with served(on(stranger)) as url:
        for path in ("/api/stocks", f"/api/stocks/{CODE}/coverage", "/api/status/bars", "/api/quality/postgres"):
            given = get(url, path)
            error = given.json()["error"]
            assert given.status_code == 503, (path, error)
            assert "permission denied" in error and "MARKETDATA_POSTGRES_DSN" in error, (path, error)
    with served(on(wrong)) as url:
        error = get(url, "/api/stocks").json()["error"]
    assert "Correct user, password and database in MARKETDATA_POSTGRES_DSN" in error
    with psycopg.connect(market) as connection:
        connection.execute("DROP ROLE page_without_rights")


def test_wrong_passwords_of_other_servers_are_messages(clickhouse_url: str, mongo_uri: str) -> None:
    if not urlsplit(clickhouse_url).password:
        pytest.skip("needs a ClickHouse that asks for a password, and the password in its address")
    at, _, host = clickhouse_url.rpartition("@")
    clickhouse = f"{at.rpartition(':')[0]}:wrong@{host}"
    at, _, host = mongo_uri.rpartition("@")
    mongo = f"{at.rpartition(':')[0]}:wrong@{host}"
    with served(on(None, clickhouse, mongo)) as url:
        given = {name: get(url, f"/api/servers/{name}") for name in ("clickhouse", "mongo")}
    for name, one in given.items():
        assert one.status_code == 503, one.text
        assert f"MARKETDATA_{ {'clickhouse': 'CLICKHOUSE_URL', 'mongo': 'MONGO_URI'}[name] }" in one.json()["error"]


def test_another_table_of_the_same_name_is_a_message(dsn: str, clickhouse_url: str, clickhouse_client: Client) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE stock_1min_coverage (something text)")
    clickhouse_client.command("CREATE TABLE exchange_ohlcv_1m (something String) ENGINE = Memory")
    with served(on(dsn, clickhouse_url)) as url:
        for path, store in (("/api/stocks", "Postgres"), ("/api/instruments", "ClickHouse")):
            given = get(url, path)
            assert given.status_code == 503
            assert f"{store} rejected the query" in given.json()["error"], given.text
            assert "marketdata create-tables" in given.json()["error"], given.text


def test_a_user_who_only_reads_suffices(market: str) -> None:
    with psycopg.connect(market) as connection:
        connection.execute("DROP OWNED BY page_reader" if _has_role(connection, "page_reader") else "SELECT 1")
        connection.execute("DROP ROLE IF EXISTS page_reader")
        connection.execute("CREATE ROLE page_reader LOGIN PASSWORD 'look'")
        connection.execute("ALTER ROLE page_reader SET default_transaction_read_only = on")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO page_reader")
    with served(on(make_conninfo(market, user="page_reader", password="look"))) as url:
        assert answer(url, "/api/stocks", q=CODE)["found"][0]["code"] == CODE
        assert answer(url, f"/api/stocks/{CODE}/coverage")["months"]
        assert {one["asset"] for one in answer(url, "/api/status/bars")["assets"]} >= {"stock_1min_qfq"}
        assert answer(url, "/api/quality/postgres")["periods"]


def _has_role(connection: psycopg.Connection, name: str) -> bool:
    return connection.execute("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)", [name]).fetchone() == (True,)


def test_a_connection_only_reads(market: str, clickhouse_url: str) -> None:
    with pytest.raises(NotCreated), database.postgres(market) as connection:
        connection.execute("DELETE FROM stock_1min_coverage")
    with pytest.raises(NotCreated), database.postgres(market, autocommit=True) as connection:
        connection.execute("CREATE TABLE more (n int)")
    with pytest.raises(NotCreated), database.clickhouse(clickhouse_url) as client:
        client.command("CREATE TABLE more (n Int64) ENGINE = Memory")
    with pytest.raises(NotCreated), database.clickhouse(clickhouse_url) as client:
        client.command("SET readonly = 0")


def test_a_pooled_client_is_reused_until_it_expires_or_a_query_fails(clickhouse_url: str) -> None:
    clients, short = database.ClientPool(), database.ClientPool(0)
    with database.clickhouse(clickhouse_url, clients) as first, database.clickhouse(clickhouse_url, clients) as second:
        assert first is not second
    with database.clickhouse(clickhouse_url, clients) as again:
        assert again in (first, second)
    with database.clickhouse(clickhouse_url, clients, patience=LONG) as patient:
        assert patient not in (first, second)
    for _ in range(2):
        with pytest.raises(NothingLoaded), database.clickhouse(clickhouse_url, clients) as failed:
            failed.query("SELECT * FROM nowhere")
    with database.clickhouse(clickhouse_url, clients) as new, database.clickhouse(clickhouse_url, short) as brief:
        assert new not in (first, second, brief)
        assert new.command("SELECT 1") == brief.command("SELECT 1") == 1
    with database.clickhouse(clickhouse_url, short) as other:
        assert other is not brief


def test_a_long_statement_is_ended(market: str, clickhouse_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "STATEMENT_SECONDS", 0.05)
    with pytest.raises(TooSlow, match=r"0\.05 s"), database.postgres(market) as connection:
        connection.execute("SELECT pg_sleep(60)")
    monkeypatch.setattr(database, "STATEMENT_SECONDS", 0.5)
    with pytest.raises(TooSlow, match=r"0\.5 s"), database.clickhouse(clickhouse_url) as client:
        client.query("SELECT count() FROM numbers_mt(1000000000000) WHERE NOT ignore(sipHash64(number))")


def test_an_answer_of_too_many_rows_is_a_message(clickhouse_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MOST_ROWS", 1000)
    with pytest.raises(QueryFailed, match="Ask for less"), database.clickhouse(clickhouse_url) as client:
        client.query("SELECT number FROM numbers(100000)")


def test_missing_tables_are_named(market: str, clickhouse_url: str) -> None:
    with pytest.raises(NothingLoaded, match="table nowhere does not exist"), database.postgres(market) as connection:
        connection.execute("SELECT * FROM nowhere")
    with (
        pytest.raises(NothingLoaded, match="table nowhere does not exist"),
        database.clickhouse(clickhouse_url) as client,
    ):
        client.query("SELECT * FROM nowhere")


def test_a_query_without_an_answer_is_not_waited_for(market: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "REQUEST_SECONDS", 0.3)
    with served(on(market)) as url, psycopg.connect(market) as holder:
        holder.execute("LOCK TABLE stock_1min_coverage")
        given = get(url, f"/api/stocks/{CODE}/coverage")
    error = given.json()["error"]
    assert (given.status_code, "is not answering" in error, "marketdata doctor" in error) == (503, True, True), error


def test_a_request_of_many_queries_ends(market: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "ANSWER_SECONDS", 0.3)
    with served(on(market)) as url, psycopg.connect(market) as holder:
        holder.execute("LOCK TABLE stock_1min_coverage")
        given = get(url, f"/api/stocks/{CODE}/coverage")
        assert (given.status_code, "no answer within 0.3 s" in given.json()["error"]) == (503, True), given.text
        assert get(url, "/").status_code == 200


def test_a_server_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "REQUEST_SECONDS", 1.0)
    with hung() as port, pytest.raises(CannotRead), database.clickhouse(addresses(port)["clickhouse"]):
        pass
