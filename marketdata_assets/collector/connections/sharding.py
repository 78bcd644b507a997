"""Which instruments this process follows, and which subscriptions share a socket."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Self

from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.exchanges.venue_adapter import Subscription

SHARD_FORM = "expected i/n with 1 <= i <= n, such as 1/2."


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `count`: each instrument belongs to exactly one part."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise CollectorError(f"shard '{self.index}/{self.count}': {SHARD_FORM}")

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse `i/n`; raises CollectorError."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        if match is None:
            raise CollectorError(f"shard {text!r}: {SHARD_FORM}")
        return cls(int(match[1]), int(match[2]))

    def takes(self, exchange: str, instrument: str) -> bool:
        """Whether an instrument belongs to this part; the same in every process and version."""
        digest = blake2b(f"{exchange}:{instrument}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.index - 1


def plan_sockets(subscriptions: Iterable[Subscription], limit: int) -> list[tuple[str, list[Subscription]]]:
    """Spread subscriptions evenly over sockets of at most `limit`; those of one instrument stay together.

    The URL and the subscriptions of each socket.
    """
    by_url: dict[str, dict[str, Subscription]] = {}
    for subscription in subscriptions:
        by_url.setdefault(subscription.url, {})[subscription.key] = subscription
    plans = []
    for url, by_key in sorted(by_url.items()):
        each, count = list(by_key.values()), -(-len(by_key) // limit)
        bounds = [len(each) * at // count for at in range(count + 1)]
        plans += [(url, each[begin:end]) for begin, end in pairwise(bounds)]
    return plans
