"""Which part of the instruments is ours, and which subscriptions share a socket."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby, pairwise
from typing import Self

from marketdata_assets.collector.connections.errors import BadShard
from marketdata_assets.collector.connections.speaking import Subscription


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, the first is 1: all parts together take every instrument, and none takes another's."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise BadShard(f"{self.index}/{self.count}")

    @classmethod
    def read(cls, text: str) -> Self:
        """What `i/n` says; raises BadShard."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        if match is None:
            raise BadShard(text)
        return cls(int(match[1]), int(match[2]))

    def takes(self, exchange: str, instrument: str) -> bool:
        """Whether an instrument is of this part; the same in every process and version."""
        digest = blake2b(f"{exchange}:{instrument}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.index - 1


@dataclass(frozen=True)
class Part:
    """What one socket is for."""

    url: str
    subscriptions: tuple[Subscription, ...]


def parts(subscriptions: Iterable[Subscription], most: int) -> list[Part]:
    """One part a socket, of at most `most` subscriptions, as even as can be; those of an instrument are neighbours."""
    unique = {(one.url, one.key): one for one in subscriptions}
    ordered = sorted(unique.values(), key=lambda one: one.url)
    return [
        Part(url, tuple(chunk))
        for url, group in groupby(ordered, key=lambda one: one.url)
        for chunk in _even(list(group), most)
    ]


def _even(subscriptions: Sequence[Subscription], most: int) -> list[list[Subscription]]:
    count = -(-len(subscriptions) // most)
    bounds = [len(subscriptions) * at // count for at in range(count + 1)]
    return [list(subscriptions[begin:end]) for begin, end in pairwise(bounds)]
