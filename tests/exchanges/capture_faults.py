"""A recorded capture in memory, and faults put into it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from marketdata_assets.exchanges import replay
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.records import Gap, OrderBook, Outcome
from marketdata_assets.exchanges.replay import Replay, feed_of
from marketdata_assets.exchanges.venue import Source

Levels = list[list[Any]]


@dataclass
class Recording:
    """A capture whose entries can be changed; `updates` are the places of the deltas of each book, in order."""

    venue: Source
    entries: list[Entry]
    updates: dict[str, list[int]]
    records: dict[int, OrderBook]  # of the updates, by place
    books: dict[str, Any]  # as the summary has them

    @classmethod
    def of(cls, path: Path) -> "Recording":
        capture = open_capture(path)
        venue, entries = capture.venue(), [*capture.entries()]
        one = cls(venue, entries, {}, {}, replayed(venue, entries).as_dict()["books"])
        for place, made in enumerate(outcomes(venue, entries)):
            for record in made:
                if isinstance(record, OrderBook) and record.kind == "delta" and entries[place].kind == "in":
                    one.updates.setdefault(record.instrument, []).append(place)
                    one.records[place] = record
        return one

    def busy(self, least: int) -> list[str]:
        """The instruments with so many updates at least."""
        return [name for name, places in self.updates.items() if len(places) >= least]


def replayed(venue: Source, entries: list[Entry]) -> Replay:
    run = Replay(feed_of(*venue, "here"))
    run.take(entries)
    return run


def outcomes(venue: Source, entries: list[Entry]) -> list[list[Outcome]]:
    """What came of each entry."""
    feed = feed_of(*venue, "here")
    return [replay.outcomes(feed, one) for one in entries]


def gaps_of(venue: Source, entries: list[Entry]) -> list[Gap]:
    return [one for made in outcomes(venue, entries) for one in made if isinstance(one, Gap)]


def changed(entry: Entry, change: Callable[[Levels, Levels], None]) -> Entry:
    """The entry with its levels changed in place."""
    message = json.loads(entry.raw)
    body = message
    if "params" in message:
        body = message["params"]["data"]
    elif "data" in message:
        body = message["data"][0] if isinstance(message["data"], list) else message["data"]
    short = "b" in body
    change(body["b" if short else "bids"], body["a" if short else "asks"])
    return msgspec.structs.replace(entry, raw=json.dumps(message, separators=(",", ":")).encode())
