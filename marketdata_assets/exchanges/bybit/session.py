"""What a client of Bybit's public sockets has to keep to: addresses, limits, keepalive, subscriptions, their answers.

https://bybit-exchange.github.io/docs/v5/ws/connect. Nothing is sent here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import msgspec

from marketdata_assets.exchanges.bybit.wire import Answer

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


@dataclass
class Session:
    """The requests of one socket that are not answered yet, by our number of them."""

    pending: dict[str, list[str]] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def subscribe(self, topics: Sequence[str]) -> list[bytes]:
        """Requests for these topics, in their order."""
        return [self._request("subscribe", part) for part in _parts(topics)]

    def unsubscribe(self, topics: Sequence[str]) -> list[bytes]:
        """Requests to end these topics; their answers say nothing that we need."""
        return [_encoded("unsubscribe", part, "") for part in _parts(topics)]

    def answered(self, answer: Answer) -> "Settled":
        """What an answer to `subscribe` settles. Bybit takes all topics of a request or none."""
        topics = self.pending.pop(answer.req_id, [])
        if answer.success:
            return Settled(confirmed=tuple(topics))
        found = _TOPIC.search(answer.ret_msg)
        named = (found["after"] or found["within"]) if found else ""
        if named not in topics:
            cause = answer.ret_msg or "no reason given"
            return Settled(rejected=((topics[0], cause),) if len(topics) == 1 else ())
        rest = [topic for topic in topics if topic != named]
        again = self._request("subscribe", rest) if rest else None
        if ALREADY in answer.ret_msg:
            return Settled(confirmed=(named,), again=again)
        return Settled(rejected=((named, answer.ret_msg),), again=again)

    def _request(self, op: Literal["subscribe"], topics: Sequence[str]) -> bytes:
        number = str(next(self._numbers))
        self.pending[number] = list(topics)
        return _encoded(op, topics, number)


@dataclass(frozen=True)
class Settled:
    """Topics that are confirmed, or rejected with the reason, and the request for those that were rejected with one."""

    confirmed: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    again: bytes | None = None


def _parts(topics: Sequence[str]) -> list[Sequence[str]]:
    return [topics[at : at + TOPICS_PER_REQUEST] for at in range(0, len(topics), TOPICS_PER_REQUEST)]


def _encoded(op: str, topics: Sequence[str], number: str) -> bytes:
    request = {"req_id": number} if number else {}
    return msgspec.json.encode({**request, "op": op, "args": list(topics)})
