"""What a client of Bybit's public sockets has to keep to: addresses, limits, keepalive, subscriptions, their answers.

https://bybit-exchange.github.io/docs/v5/ws/connect. Nothing is sent here.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import count

import msgspec

from marketdata_assets.exchanges.bybit.wire import Answer, answer
from marketdata_assets.exchanges.records import Control, Outcome, VenueError
from marketdata_assets.exchanges.venue_adapter import SocketSession, SubscriptionReply

HOST = "wss://stream.bybit.com"
PATH = "/v5/public/"  # followed by the market: spot, linear, inverse
PING = b'{"op":"ping"}'
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

    ping = PING

    def __init__(self) -> None:
        self.pending: dict[str, list[str]] = {}
        self._numbers = count(1)

    def subscribe(self, keys: Sequence[str]) -> list[bytes]:
        """Requests for these topics, in their order."""
        return [self._request(part) for part in _parts(keys)]

    def unsubscribe(self, keys: Sequence[str]) -> list[bytes]:
        """Requests to end these topics; their answers say nothing that we need."""
        return [_encoded("unsubscribe", part, "") for part in _parts(keys)]

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


def _parts(topics: Sequence[str]) -> list[Sequence[str]]:
    return [topics[at : at + TOPICS_PER_REQUEST] for at in range(0, len(topics), TOPICS_PER_REQUEST)]


def _encoded(op: str, topics: Sequence[str], number: str) -> bytes:
    request = {"req_id": number} if number else {}
    return msgspec.json.encode({**request, "op": op, "args": list(topics)})
