"""The replay server beside a direct read: equal records, in the order and at the pace of the clock, for one client."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from starlette.datastructures import QueryParams
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from marketdata_assets import read
from marketdata_assets.exchanges.records import FundingRate, Gap, Kline, OrderBook, Record, Ticker, Trade
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.stores import clickhouse
from marketdata_assets.ui.guard import Guard
from marketdata_assets.web.replay import Wanted, application, due, lines
from tests.collector.in_loop import in_loop
from tests.databases import fresh_clickhouse

NS = 1_000_000_000
BEGIN = 1_767_571_200 * NS  # 2026-01-05
KINDS: dict[str, Any] = {one.__struct_config__.tag: one for one in (Trade, OrderBook, Kline, Ticker, FundingRate, Gap)}
DAY = {"from": "2026-01-05", "to": "2026-01-06"}


def about(name: str) -> tuple[Any, ...]:
    return "binance", "spot", f"{name}-USDT", f"{name}USDT"


def made(seed: int = 7, count: int = 400) -> list[Record | Gap]:
    """Records of several types and instruments, of which many were received in the same moment."""
    rng = random.Random(seed)
    found: list[Record | Gap] = []
    at = BEGIN
    for number in range(count):
        at += rng.choice((0, 0, 1, 7, NS, 40 * NS))
        head, event = (*about(rng.choice(("ABC", "XYZ"))), at - rng.randrange(1, NS)), rng.randrange(1, 10**9)
        price = f"{event // 1000}.{event % 1000:03}7"
        match number % 5:
            case 0 | 1:
                found.append(Trade(*head, at, str(1000 + number), price, "2", None, "buy", sequence=number))
            case 2:
                levels = ((price, "1.50"), ("0.1", "0"))
                found.append(OrderBook(*head, at, "delta", levels, (), "base", number, number, number - 1))
            case 3:
                found.append(Ticker(*head, at, bid=price, bid_size="1", unit="base", update_id=number))
            case 4:
                opened, prices = at // (60 * NS) * 60 * NS, ("1", "3", "0.5", price)
                span = f"{number}m", opened, opened + number * 60 * NS
                found.append(Kline(*head, at, *span, *prices, "1", None, "2", 3, None, None, True))
    found.append(Gap(*about("ABC"), "trade", 1, 2, BEGIN + 5, BEGIN + NS, "reopened"))
    return found


def received(record: Record | Gap) -> int:
    return record.ts_from if isinstance(record, Gap) else record.ts_recv


def plain(record: Record | Gap) -> Any:
    """The record with its numbers as numbers."""

    def value(field: Any) -> Any:
        if isinstance(field, tuple):
            return tuple(map(value, field))
        try:
            return Decimal(field).normalize() if isinstance(field, str) else field
        except ArithmeticError:
            return field

    return type(record), tuple(value(getattr(record, name)) for name in record.__struct_fields__)


def decoded(found: Sequence[bytes | str]) -> list[Record | Gap]:
    kind = msgspec.json.Decoder(Trade | OrderBook | Kline | Ticker | FundingRate | Gap)
    return [kind.decode(line) for line in found]


@pytest.fixture(scope="module")
def url(clickhouse_server: str) -> Iterator[str]:
    with fresh_clickhouse(clickhouse_server) as fresh:
        with clickhouse.connect(fresh) as client:
            schema.ensure(client)
            insert_records(client, made())  # type: ignore[arg-type]
            insert_records(client, made()[::3])  # type: ignore[arg-type]  # as a redelivery
        yield fresh


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with clickhouse.connect(url) as connected:
        yield connected


@pytest.fixture
def browser(url: str) -> TestClient:
    return TestClient(Guard(application(url)), base_url="http://localhost")


def test_every_record_comes_once_in_the_order_of_its_receipt(browser: TestClient) -> None:
    answer = browser.get("/replay", params={**DAY, "speed": "0"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    got, expected = decoded(answer.text.splitlines()), made()
    assert [received(one) for one in got] == sorted(map(received, expected))
    assert sorted(map(repr, map(plain, got))) == sorted(map(repr, map(plain, expected)))


def test_a_socket_has_the_messages_of_http_and_ends_with_them(browser: TestClient) -> None:
    asked = {**DAY, "speed": "0", "types": "trade,gap", "instruments": "ABCUSDT"}
    told: list[str] = []
    with (
        browser.websocket_connect(f"ws://localhost/ws-replay?{urlencode(asked)}") as socket,
        pytest.raises(WebSocketDisconnect) as end,
    ):
        while True:
            told.append(socket.receive_text())
    assert end.value.code == 1000
    assert told == browser.get("/replay", params=asked).text.splitlines()
    ours = [one for one in made() if isinstance(one, Trade | Gap) and one.instrument == "ABCUSDT"]
    assert sorted(map(repr, map(plain, decoded(told)))) == sorted(map(repr, map(plain, ours)))


@pytest.mark.parametrize("kind", ["trade", "orderbook", "ticker", "kline"])
def test_by_the_venues_clock_it_is_what_is_read(client: Client, browser: TestClient, kind: Any) -> None:
    """The rows and the span of a reader, whose bounds are of the same clock."""
    span = "2026-01-05T00:10:00+00:00", "2026-01-05T01:00:00+00:00"
    asked = {"from": span[0], "to": span[1], "clock": "venue", "types": kind, "exchange": "binance", "speed": "0"}
    got = [msgspec.json.decode(line) for line in browser.get("/replay", params=asked).text.splitlines()]
    frame = read.records(kind, "binance", None, None, *span, connection=client).drop("time")
    assert frame.height > 10
    assert sorted(repr({name: number(row[name]) for name in frame.columns}) for row in got) == sorted(
        repr({name: number(row[name]) for name in frame.columns}) for row in frame.iter_rows(named=True)
    )


def number(value: Any) -> Any:
    """A number as it is compared, and levels as pairs of them."""
    if isinstance(value, list):
        return [number([*one.values()] if isinstance(one, dict) else one) for one in value]
    try:
        return Decimal(value).normalize() if isinstance(value, str | Decimal) else value
    except ArithmeticError:
        return value


@pytest.mark.parametrize("page", [pytest.param((3, 1 << 20), marks=pytest.mark.slow), (50, 2000)])
def test_pages_of_any_size_give_the_same_lines(client: Client, page: tuple[int, int]) -> None:
    wanted = Wanted.of(QueryParams({"from": "2026-01-05", "to": "2026-01-05T00:08:00Z"}))
    whole = list(lines(client, wanted))
    assert len(whole) > len({at for at, _ in whole}) > 20, "some of one moment"
    assert list(lines(client, wanted, page)) == whole


def test_bounds_are_half_open(client: Client) -> None:
    moments = sorted({received(one) for one in made() if isinstance(one, Trade)})[10:13]
    wanted = Wanted(["trade"], None, None, None, moments[0], moments[2], 0.0, "receipt")
    trades = [received(one) for one in made() if isinstance(one, Trade)]
    assert [at for at, _ in lines(client, wanted)] == [at for at in trades if at in moments[:2]]


def test_a_repeated_list_is_one_list_and_the_plus_of_an_offset_need_not_be_encoded(browser: TestClient) -> None:
    first, last = "2026-01-05T08:00:00+08:00", "2026-01-05T08:05+08:00"
    asked = {"from": first, "to": last, "speed": "0", "types": "trade,gap", "instruments": "ABCUSDT,XYZUSDT"}
    whole = browser.get("/replay", params=asked).text
    query = f"from={first}&to={last}&speed=0&types=trade&types=gap&instruments=ABCUSDT&instruments=XYZUSDT"
    assert browser.get(f"/replay?{query}").text == whole
    assert {one.instrument for one in decoded(whole.splitlines())} == {"ABCUSDT", "XYZUSDT"}


def test_each_record_is_live_or_of_a_history_wherever_the_replay_begins(clickhouse_client: Client) -> None:
    """A record received over an hour late is of a history; a clock of the venue may be a day ahead."""
    schema.ensure(clickhouse_client)
    delays = {"59m": 59 * 60, "61m": 61 * 60, "day": 86_400, "ahead": -86_400, "week ahead": -7 * 86_400}
    head, tail = about("ABC"), ("1", "2", None, "buy")
    insert_records(
        clickhouse_client,
        [
            Trade(*head, at - late * NS, at, f"{name} {at}", *tail)
            for name, late in delays.items()
            for at in range(BEGIN, BEGIN + 7200 * NS, 60 * NS)
        ],
    )
    prices = ("1", "3", "0.5", "2", "1", None, "2", 3, None, None)
    candles = [
        Kline(*head, event, BEGIN, interval, begin, begin + 60 * NS, *prices, True)
        for interval, event, begin in (("live", BEGIN, BEGIN - 40 * NS), ("history", None, BEGIN - 7200 * NS))
    ]
    insert_records(clickhouse_client, candles)

    def sent(kind: str, minute: int) -> list[bytes]:
        start = BEGIN + minute * 60 * NS
        wanted = Wanted([kind], None, None, None, start, BEGIN + 86_400 * NS, 0.0, "receipt")
        return [line for _, line in lines(clickhouse_client, wanted)]

    whole = sent("trade", 0)
    assert {msgspec.json.decode(line)["trade_id"].rpartition(" ")[0] for line in whole} == {"59m", "ahead"}
    for minute in (1, 55, 100):
        assert sent("trade", minute) == whole[2 * minute :]
    assert [msgspec.json.decode(line)["interval"] for line in sent("kline", 0)] == ["live"]


@pytest.mark.parametrize("clock", ["receipt", "venue"])
def test_years_without_records_take_few_queries(client: Client, monkeypatch: pytest.MonkeyPatch, clock: Any) -> None:
    """A replay from before the first record to a day to come, as of a client that takes all there is."""
    asked, stream = list[str](), client.raw_stream
    monkeypatch.setattr(
        client, "raw_stream", lambda sql, *more, **named: asked.append(sql) or stream(sql, *more, **named)
    )
    types = ["trade", "orderbook", "ticker", "kline", "gap"]
    spans = (BEGIN - 86_400 * NS, BEGIN + 2 * 86_400 * NS), (0, BEGIN + 3650 * 86_400 * NS)
    day, years = ([*lines(client, Wanted(types, None, None, None, *span, 0.0, clock))] for span in spans)
    assert (len(day), day) == (len(made()), years)
    assert len(asked) < 700


class Time:
    """A clock that only sleep moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@in_loop
@pytest.mark.parametrize("speed", [0.5, 1.0, 60.0])
async def test_each_record_comes_when_it_is_due(speed: float) -> None:
    rng, at = random.Random(5), BEGIN
    found = []
    for number in range(2500):
        at += rng.choice((0, 0, 3, NS // 2, 20 * NS))
        found.append((at, b"%d" % number))
    clock, came = Time(), list[tuple[float, bytes]]()
    async for batch in due(iter(found), speed, clock, clock.sleep):
        came += [(clock.now, line) for line in batch]
    assert [line for _, line in came] == [line for _, line in found]
    for (moment, _), (stamp, _) in zip(came, found, strict=True):
        assert moment == pytest.approx(100.0 + (stamp - found[0][0]) / NS / speed, abs=1e-4)


@in_loop
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_replay_ends_with_its_client(url: str, kind: str) -> None:
    """At this pace the day takes years; the client has gone after the first records."""
    gone, sent = asyncio.Event(), list[bytes]()
    connects = ["websocket.connect"] if kind == "websocket" else []

    async def receive() -> dict[str, Any]:
        if connects:
            return {"type": connects.pop()}
        await gone.wait()
        return {"type": f"{kind}.disconnect"}

    async def send(message: Any) -> None:
        if body := message.get("body") or message.get("text"):
            sent.append(body)
            gone.set()

    path = "/replay" if kind == "http" else "/ws-replay"
    scope = {
        "type": kind, "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "", "scheme": kind[:4],
        "query_string": urlencode({**DAY, "speed": "0.001"}).encode(), "headers": [(b"host", b"localhost")],
        "server": ("localhost", 80), "client": ("localhost", 1), "http_version": "1.1", "asgi": {"spec_version": "2.3"},
        "subprotocols": [],
    }  # fmt: skip
    async with asyncio.timeout(60):  # only against hanging
        await application(url)(scope, receive, send)
    assert 0 < len(sent) < 100


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "from='' is needed"),
        ({"from": "2026-01-05"}, "to='' is needed"),
        ({**DAY, "to": "2026-01-04"}, "is before from"),
        ({**DAY, "from": "2026-01-05T00:00"}, "has no time zone"),
        ({**DAY, "from": "2026-01-05T00:00:00.0000000001Z"}, "has digits after those of microseconds"),
        ({**DAY, "types": "trade,book"}, "did you mean 'orderbook'"),
        ({**DAY, "speed": "-1"}, "speed='-1' is no factor"),
        ({**DAY, "speed": "nan"}, "is no factor"),
        ({**DAY, "clock": "mine"}, "is none of receipt, venue"),
        ({**DAY, "exchange": "binanse"}, "did you mean 'binance'"),
        ({**DAY, "instruments": "ABCUSD"}, "did you mean 'ABCUSDT'"),
        ({**DAY, "symbol": "ABCUSDT"}, "unknown parameter"),
        ({**DAY, "types": ","}, "types=',' names nothing; leave it out for all"),
        ({**DAY, "instruments": ""}, "instruments='' names nothing"),
        ({**DAY, "speed": ["0", "1"]}, "speed='1' is the second value; give one"),
    ],
)
def test_a_wrong_question_says_what_is_meant(browser: TestClient, query: dict[str, Any], words: str) -> None:
    answer = browser.get("/replay", params=query)
    assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text
    with browser.websocket_connect(f"ws://localhost/ws-replay?{urlencode(query, doseq=True)}") as socket:
        assert words in socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_text()
    assert end.value.code == 1008


@pytest.mark.parametrize(
    ("headers", "status"), [({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403)]
)
def test_pages_of_other_sites_and_foreign_names_are_rejected(
    browser: TestClient, headers: dict[str, str], status: int
) -> None:
    if "Host" in headers:
        assert browser.get("/replay", params=DAY, headers=headers).status_code == status
    with pytest.raises(WebSocketDisconnect), browser.websocket_connect("ws://localhost/ws-replay", headers=headers):
        pass
