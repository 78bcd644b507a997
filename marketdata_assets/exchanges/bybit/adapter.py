"""The adapter of Bybit: topics, confirmations by request, pings as messages and paged lists of instruments.

https://bybit-exchange.github.io/docs/v5/ws/connect
"""

import re
from collections.abc import Iterable, Sequence
from itertools import count

import msgspec

from marketdata_assets.exchanges.bybit.feed import BEGIN, BOOK, FORCED, TICKERS, TRADES
from marketdata_assets.exchanges.bybit.history import API, LISTED
from marketdata_assets.exchanges.bybit.parse import INTERVALS
from marketdata_assets.exchanges.bybit.wire import Answer, Response, answer
from marketdata_assets.exchanges.records import Control, Outcome, VenueError
from marketdata_assets.exchanges.venue_adapter import (
    MessageRate,
    Request,
    SocketSession,
    SubscriptionReply,
    VenueAdapter,
    parts,
)
from marketdata_assets.exchanges.wire import decoded

PATH = "/v5/public/"  # followed by the market: spot, linear, inverse
PING_SECONDS = 20.0
CONNECTIONS, CONNECTIONS_SECONDS = 500, 300.0  # by address
ARGS_CHARACTERS = 21_000  # of all subscriptions of a connection
TOPICS = 400  # ours, of a connection: that many of the longest names stay within those characters
REQUESTS_PER_SECOND = 20  # ours
TOPICS_PER_REQUEST = 10  # the limit of spot; on all markets, as one unknown topic makes Bybit reject the request

ALREADY = "already subscribed"
_TOPIC = re.compile(r"topic:\s*(?P<after>\S+)|\[(?P<within>[^\]]+)\]")


class Session(SocketSession):
    """The requests of one socket that are not answered yet, by our number of them."""

    ping = b'{"op":"ping"}'

    def __init__(self) -> None:
        self.pending: dict[str, list[str]] = {}
        self._numbers = count(1)

    def subscribe(self, keys: Sequence[str]) -> list[bytes]:
        """Requests for these topics, in their order."""
        return [self._request(part) for part in parts(keys, TOPICS_PER_REQUEST)]

    def unsubscribe(self, keys: Sequence[str]) -> list[bytes]:
        """Requests to end these topics; their answers say nothing that we need."""
        return [_encoded("unsubscribe", part, "") for part in parts(keys, TOPICS_PER_REQUEST)]

    def read_reply(self, raw: bytes, outcomes: Iterable[Outcome]) -> SubscriptionReply:
        for outcome in outcomes:
            if isinstance(outcome, VenueError) or (isinstance(outcome, Control) and outcome.kind == "ack"):
                told = answer(raw)
                return self.answered(told) if told.op == "subscribe" else SubscriptionReply()
        return SubscriptionReply()

    def answered(self, told: Answer) -> SubscriptionReply:
        """What an answer to `subscribe` settles. Bybit takes all topics of a request or none: those that were rejected
        with another are requested again."""
        topics = self.pending.pop(told.req_id, [])
        if told.success:
            return SubscriptionReply(confirmed=tuple(topics))
        found = _TOPIC.search(told.ret_msg)
        named = (found["after"] or found["within"]) if found else ""
        if named not in topics:
            cause = told.ret_msg or "no reason given"
            return SubscriptionReply(rejected=((topics[0], cause),) if len(topics) == 1 else ())
        rest = [topic for topic in topics if topic != named]
        again = self._request(rest) if rest else None
        if ALREADY in told.ret_msg:
            return SubscriptionReply(confirmed=(named,), reply=again)
        return SubscriptionReply(rejected=((named, told.ret_msg),), reply=again)

    def _request(self, topics: Sequence[str]) -> bytes:
        number = str(next(self._numbers))
        self.pending[number] = list(topics)
        return _encoded("subscribe", topics, number)


def _encoded(op: str, topics: Sequence[str], number: str) -> bytes:
    request = {"req_id": number} if number else {}
    return msgspec.json.encode({**request, "op": op, "args": list(topics)})


DEPTH = 200
"""Levels of a book on each side where none are chosen. Bybit sends 1, 50, 200 and 1000 of them every 10, 20, 100 and
200 ms."""

STREAMS: dict[str, tuple[tuple[str, ...], float | None]] = {
    TRADES: (("trade",), 600.0),
    BOOK: (("orderbook",), 150.0),
    TICKERS: (("ticker", "funding_rate", "open_interest"), 300.0),
    FORCED: (("liquidation",), None),
}
"""The record types of each topic, and our choice of seconds of silence after which it is suspicious."""

CANDLES = {interval: f"kline.{word}" for interval, word in INTERVALS.items()}

_page = msgspec.json.Decoder(Response[msgspec.Raw]).decode


class BybitAdapter(VenueAdapter):
    """One market of Bybit."""

    data_prefix = BEGIN
    host, path = "wss://stream.bybit.com", PATH
    candles, candle_silence = CANDLES, 600.0
    trade_stream = TRADES
    sequential_trade_ids = False
    book_per_socket = True
    max_subscriptions = TOPICS
    connects_per_second = 0.9 * CONNECTIONS / CONNECTIONS_SECONDS
    ping_after = ping_every = PING_SECONDS
    message_rates = (MessageRate(REQUESTS_PER_SECOND, 1.0),)
    socket_session = Session

    def prepare(self) -> None:
        super().prepare()
        self._url += self.market_type
        book = f"{BOOK}.{self._depth or DEPTH}"
        self.streams = {book if topic == BOOK else topic: about for topic, about in STREAMS.items()}

    def key(self, stream: str, instrument: str) -> str:
        return f"{stream}.{instrument}"

    def channel_of(self, raw: bytes) -> bytes:
        return raw[len(BEGIN) : raw.find(b'"', len(BEGIN))]

    def listings(self) -> list[Request]:
        return [Request(f"{API}instruments-info", {"category": self.market_type, "limit": LISTED})]

    def next_listing(self, request: Request, raw: bytes) -> Request | None:
        page = decoded(_page, raw)  # the feed reports one that cannot be read
        if page is None or not page.result.list:
            return None
        cursor = page.result.next_cursor
        if not cursor or cursor == request.params.get("cursor"):
            return None
        return Request(request.path, {**request.params, "cursor": cursor})
