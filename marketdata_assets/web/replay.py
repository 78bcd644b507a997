"""Stored records of exchanges at the pace at which they were received, for programs: lines of JSON over HTTP at
/replay, and a message for each over a WebSocket at /ws-replay, with the same parameters.

A client has a page of each type in memory, whatever the span is. The guard is around the application.
"""

import asyncio
import re
import time
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, closing
from dataclasses import dataclass
from functools import partial
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Literal, cast, get_args

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from marketdata_assets.errors import MarketDataError, did_you_mean
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.tables.schema import FINAL, TABLES, TRADES, Table
from marketdata_assets.read import bounds
from marketdata_assets.read.columnar import Where
from marketdata_assets.read.exchanges import about, own_names
from marketdata_assets.stores.clickhouse import naming_failures, quoted, read
from marketdata_assets.stores.clients import Client
from marketdata_assets.web.application import failed
from marketdata_assets.web.database import LONG, clickhouse
from marketdata_assets.web.errors import BadParameter

Clock = Literal["receipt", "venue"]
Line = tuple[int, bytes]
"""When a record is due, ns by the clock of the replay, and its JSON."""

SECOND, HOUR = 1_000_000_000, 3_600_000_000_000
DAY = 24 * HOUR
TIME = "toUnixTimestamp64Nano(time)"
EVENT = {"kline": "ifNull(ts_event, close_time)"}
"""When a record happened, if that is not its `time`. What was received an hour later is of a history."""
LONGEST = {"kline": 32 * DAY}
"""So long after its `time` a record may happen: a candle is sent until it closes."""
AHEAD = 2 * DAY
"""So much the venue's clock may be ahead of the recorder's."""
ORDER = {
    "trade": "ts_event, sequence, length(trade_id), trade_id",
    "orderbook": "last_id, kind = 'delta', ts_event",
    "ticker": "ts_event, update_id",
    "kline": "interval, open_time",
    "gap": "stream, ts_to",
}
"""What orders records of one moment and instrument; others by the venue's clock."""
PAGE = 20_000, 8 << 20  # rows and bytes of one type
FIRST_SPAN = 10 * SECOND  # of a page; the next ones are longer or shorter
TOGETHER = 1_000  # records that are taken from the pages at once
CHUNK = 1 << 18
CLOCK = b'{"clock":'  # how a row begins
JSON = "output_format_json_quote_decimals = 1, output_format_json_quote_64bit_integers = 0"
JSON += ", output_format_json_named_tuples_as_objects = 0, output_format_json_escape_forward_slashes = 0"
PARAMETERS = ("from", "to", "exchange", "market_type", "instruments", "types", "speed", "clock")
LISTS = ("types", "instruments")
PLUS = re.compile(r"(?<=T.{5}) (?=[0-9:]{5}$)|(?<=T.{8}) (?=[0-9:]{5}$)")  # of an offset: in an address it is a blank
POLICY_VIOLATION = 1008
LATEST = 9_214_646_400 * SECOND  # 2262, the last year of nanoseconds in 64 bits


@dataclass(frozen=True)
class Wanted:
    """What a client asks for. `instruments` are names of the venue or ours; `speed` 0 is as fast as it takes them."""

    types: Sequence[str]
    exchange: Exchange | None
    market_type: MarketType | None
    instruments: Sequence[str] | None
    start: int  # ns
    end: int  # ns, exclusive
    speed: float
    clock: Clock

    @classmethod
    def of(cls, query: QueryParams) -> "Wanted":
        """The parameters of an address. Raises BadParameter and ReadError."""
        for name in query:
            if name not in PARAMETERS:
                raise BadParameter(name, query[name], f"is an unknown parameter; {did_you_mean(name, PARAMETERS)}")
            if name not in LISTS and len(query.getlist(name)) > 1:
                raise BadParameter(name, query[name], "is the second value; give one")
        types, names = (_listed(query, name) for name in LISTS)
        for one in types:
            if one not in TABLES:
                raise BadParameter("types", one, f"is no type of record; {did_you_mean(one, TABLES)}")
        clock, speed = query.get("clock", "receipt"), query.get("speed", "1")
        if clock not in get_args(Clock):
            raise BadParameter("clock", clock, f"is none of {', '.join(get_args(Clock))}")
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", speed):
            raise BadParameter("speed", speed, "is no factor; 1 is recorded pace, 0 as fast as you read")
        start, end = (_instant(query, name) for name in ("from", "to"))
        if end < start:
            raise BadParameter("to", query["to"], "is before from")
        exchange, market_type = query.get("exchange"), cast(MarketType | None, query.get("market_type"))
        about(TRADES.name, exchange, market_type, None, None, None)  # raises where a name is wrong
        chosen = types or [*TABLES], exchange, market_type, names or None
        return cls(*chosen, start, end, float(speed), cast(Clock, clock))


def _listed(query: QueryParams, name: str) -> list[str]:
    given = query.getlist(name)
    found = [*dict.fromkeys(one.strip() for one in ",".join(given).split(",") if one.strip())]
    if given and not found:
        raise BadParameter(name, query[name], "names nothing; leave it out for all")
    return found


def _instant(query: QueryParams, name: str) -> int:
    if not query.get(name):
        raise BadParameter(name, "", "is needed; give a day or an instant, as 2026-01-05 or 2026-01-05T09:00:00Z")
    instant = bounds.nanoseconds(PLUS.sub("+", query[name]), TRADES.name)
    if not 0 <= instant < LATEST:
        raise BadParameter(name, query[name], "is not from 1970 to 2261")
    return instant


def lines(client: Client, wanted: Wanted, page: tuple[int, int] = PAGE) -> Iterator[Line]:
    """The records in the order of the clock; those of one moment by type, instrument and the venue's number.

    `page` is how many rows and bytes of one type are in memory, or as many as are of one moment. Raises UnknownName,
    AmbiguousName, NothingLoaded, and what the store raises.
    """
    own: list[str] | None = None
    if wanted.instruments is not None:
        market = about(TRADES.name, wanted.exchange, wanted.market_type, None, None, None)
        own = own_names(client, TRADES.name, market, wanted.instruments)
    by_type = [chain.from_iterable(_pages(client, TABLES[name], wanted, own, page)) for name in wanted.types]
    return merge(*by_type, key=itemgetter(0)) if len(by_type) > 1 else iter(by_type[0])


def _pages(
    client: Client, table: Table, wanted: Wanted, own: Sequence[str] | None, most: tuple[int, int]
) -> Iterator[list[Line]]:
    begin, span, times = wanted.start, FIRST_SPAN, 1
    ahead, until = 0, begin
    while begin < wanted.end:
        if begin == until:
            begin = min(max(begin, _next(client, table, wanted, begin)), wanted.end)
            until = min(begin + DAY, wanted.end)
            ahead = _ahead(client, table, wanted, own, begin, until)
        end = min(begin + span, until)
        rows, size = most[0] * times, most[1] * times
        page, cut = _page(client, _query(table, wanted, own, begin, end, ahead), rows, size)
        if not cut:
            yield page
            begin, times = end, 1
            span = 2 * span if 4 * len(page) < rows else span
            continue
        last = page[-1][0]  # of this moment there may be more
        if whole := page[: bisect_right(page, last - 1, key=itemgetter(0))]:
            yield whole
            begin, span, times = last, max(span // 2, SECOND), 1
        else:
            times *= 2


def _page(client: Client, query: tuple[str, Mapping[str, Any]], rows: int, size: int) -> tuple[list[Line], bool]:
    """The first rows of a query, and whether there may be more: at most so many, and of about so many bytes."""
    sql, values = query
    found: list[Line] = []
    rest, taken = b"", 0
    sql = f"{sql} LIMIT {rows} SETTINGS {FINAL}, {JSON}"
    with naming_failures(), closing(cast(Any, client.raw_stream(sql, dict(values), fmt="JSONEachRow"))) as stream:
        while (taken < size or not found) and (chunk := stream.read(CHUNK)):
            taken += len(chunk)
            *whole, rest = (rest + chunk).split(b"\n")
            for row in whole:
                clock, _, others = row.removeprefix(CLOCK).partition(b",")
                found.append((int(clock), b"{" + others))
    return found, len(found) == rows or taken >= size


def _next(client: Client, table: Table, wanted: Wanted, begin: int) -> int:
    """The earliest that a record from `begin` on may be due, as parts say it, but for 1970; the end without any."""
    ahead, late = (AHEAD, HOUR + LONGEST.get(table.type, 0)) if wanted.clock == "receipt" else (0, 0)
    sql = (
        "SELECT toInt64(count()) AS parts, toInt64(toUnixTimestamp(min(min_time))) AS first FROM system.parts"
        " WHERE active AND rows > 0 AND database = currentDatabase() AND table = {table:String}"
        " AND (toUnixTimestamp(max_time) = 0 OR toUnixTimestamp(max_time) >= {first:Int64})"
    )
    [found] = read(client, sql, {"table": table.name, "first": (begin - late) // SECOND}).to_dicts()
    return found["first"] * SECOND - ahead if found["parts"] else wanted.end


def _ahead(client: Client, table: Table, wanted: Wanted, own: Sequence[str] | None, begin: int, end: int) -> int:
    """How much `time` is later than the receipt at most, of records received in a span."""
    if wanted.clock == "venue":
        return 0
    where, received = _received(table, wanted, own, begin, end, AHEAD)
    sql = f"SELECT toInt64(max({TIME} - {received})) AS ahead FROM {table.name} WHERE {where}"
    return max(0, int(read(client, sql, where.values)["ahead"].item()))


def _received(
    table: Table, wanted: Wanted, own: Sequence[str] | None, begin: int, end: int, ahead: int
) -> tuple[Where, str]:
    """What was received live in a span, each record by its own times, and the column of its receipt."""
    where = about(table.name, wanted.exchange, wanted.market_type, own, None, None)
    received = "ts_recv" if "ts_recv" in table.columns else "ts_from"  # of a gap
    where.add(received, ">=", "Int64", begin)
    where.add(received, "<", "Int64", end)
    where.conditions += [f"{received} - {EVENT.get(table.type, TIME)} <= {HOUR}", f"{TIME} - {received} <= {AHEAD}"]
    _within(where, begin - HOUR - LONGEST.get(table.type, 0), end + ahead)
    return where, received


def _within(where: Where, first: int, last: int) -> None:
    for sign, name, bound in ((">=", "first", first), ("<", "last", last)):
        where.conditions.append(f"time {sign} fromUnixTimestamp64Nano({{{name}:Int64}}, 'UTC')")
        where.values[name] = bound


def _query(
    table: Table, wanted: Wanted, own: Sequence[str] | None, begin: int, end: int, ahead: int
) -> tuple[str, Mapping[str, Any]]:
    if wanted.clock == "receipt":
        where, clock = _received(table, wanted, own, begin, end, ahead)
    else:
        where, clock = about(table.name, wanted.exchange, wanted.market_type, own, None, None), TIME
        _within(where, begin, end)
    order = f"clock, exchange, market_type, instrument, {ORDER.get(table.type, 'ts_event')}"
    sql = (
        f"SELECT {clock} AS clock, '{table.type}' AS type, {', '.join(map(quoted, table.columns))}"
        f" FROM {table.name} FINAL WHERE {where} ORDER BY {order}"
    )
    return sql, where.values


async def due(
    found: Iterator[Line],
    speed: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[list[bytes]]:
    """The records that are due together, when they are; the first ones at once."""
    first, began = 0, 0.0
    while batch := await to_thread.run_sync(lambda: [*islice(found, TOGETHER)]):
        if not speed:
            yield [line for _, line in batch]
            continue
        first, began = (first, began) if first else (batch[0][0], clock())
        at = 0
        while at < len(batch):
            now = first + int((clock() - began) * SECOND * speed)
            if end := bisect_right(batch, now, lo=at, key=itemgetter(0)) - at:
                yield [line for _, line in batch[at : at + end]]
                at += end
            else:
                await sleep((batch[at][0] - now) / SECOND / speed)


async def _batches(url: str, wanted: Wanted) -> AsyncGenerator[list[bytes]]:
    async with AsyncExitStack() as opened:
        client = await to_thread.run_sync(opened.enter_context, clickhouse(url, patience=LONG))
        found = await to_thread.run_sync(lines, client, wanted)
        async for batch in due(found, wanted.speed):
            yield batch


async def _over_http(url: str, request: Request) -> Response:
    batches = _batches(url, Wanted.of(request.query_params))
    first: list[bytes] = await anext(batches, [])  # an error becomes a status before anything is sent

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(batches):
            yield b"".join(line + b"\n" for line in first)
            async for batch in batches:
                yield b"".join(line + b"\n" for line in batch)

    return StreamingResponse(body(), media_type="application/x-ndjson")


async def _over_socket(url: str, socket: WebSocket) -> None:
    """Ends with the records, with an error as the last message, or with the client."""
    await socket.accept()
    code = 1000
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_until_gone, socket, group.cancel_scope)
            async with aclosing(_batches(url, Wanted.of(socket.query_params))) as batches:
                async for batch in batches:
                    for line in batch:
                        await socket.send({"type": "websocket.send", "text": line.decode()})
            group.cancel_scope.cancel()
    except* WebSocketDisconnect:
        pass
    except* MarketDataError as errors:
        code = POLICY_VIOLATION
        await socket.send_json({"error": str(errors.exceptions[0])})
    if socket.client_state is WebSocketState.CONNECTED:
        await socket.close(code)


async def _until_gone(socket: WebSocket, sending: anyio.CancelScope) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    sending.cancel()


def application(url: str) -> Starlette:
    """The server over a ClickHouse."""
    routes = [
        Route("/replay", partial(_over_http, url), methods=["GET"]),
        WebSocketRoute("/ws-replay", partial(_over_socket, url)),
    ]
    return Starlette(routes=routes, exception_handlers={MarketDataError: failed})
