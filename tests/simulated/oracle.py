"""What the simulated venues know themselves, beside what is read from the tables.

A book of an instant is the venue's first one and every change up to then, applied here; no code of the package is
used. Instants are by the venue's clock, gaps by ours.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables.gaps import CLOCKS_DIFFER_NS, is_book_gap
from marketdata_assets.read import books
from marketdata_demo.venues.live_market import Change
from tests.collector.whole import At, gaps
from tests.simulated.simulation import HOUR, MINUTE, START, World
from tests.simulated.virtual_loop import SECOND

Sides = tuple[Mapping[Decimal, Decimal], Mapping[Decimal, Decimal]]
Levels = tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]]
MS = 1_000_000


def true_books(first: Levels, changes: Sequence[Change], instants: Sequence[int]) -> Iterator[Sides]:
    """The book at each of the ascending instants."""
    bids, asks = ({Decimal(price): Decimal(size) for price, size in side} for side in first)
    done = 0
    for instant in instants:
        while done < len(changes) and changes[done].ts * MS <= instant:
            for side, levels in ((bids, changes[done].bids), (asks, changes[done].asks)):
                for level in levels:
                    side.pop(Decimal(level.price), None)
                    if level.action != "delete":
                        side[Decimal(level.price)] = Decimal(level.size)
            done += 1
        yield dict(bids), dict(asks)


@dataclass
class Verdict:
    """How many instants of a book were right, how many are in a recorded gap, and which are neither."""

    known: int = 0
    in_gaps: int = 0
    wrong: list[str] = field(default_factory=list)


def instants_of(world: World, random: Random, many: int, recorded: Sequence[Gap]) -> list[int]:
    """Random ones, and those next to everything that happened and to the ends of gaps."""
    end = world.clock.now - 12 * MINUTE
    chosen = [random.randrange(START + MINUTE, end) for _ in range(many)]
    edges = [moment for began, ended, _ in world.happened for moment in (began, ended)]
    edges += [moment for gap in recorded for moment in (gap.ts_from, gap.ts_to)]
    edges += range(START - START % HOUR + HOUR, end, HOUR)  # another capture file, and a checkpoint
    chosen += [edge + around for edge in edges for around in (-1, SECOND)]
    return sorted({one for one in chosen if START + MINUTE < one < end})


def judged(world: World, client: Client, at: At, name: str, random: Random, many: int) -> Verdict:
    """Every instant of a book is the venue's, or in a recorded gap."""
    recorded = [
        gap
        for gap in gaps(client)
        if (gap.exchange, gap.market_type, gap.instrument) == (at.exchange, at.market_type, name) and is_book_gap(gap)
    ]
    first, changes = world.first[at.exchange, at.market_type, name], at.venue.source().changes[name]
    instants = instants_of(world, random, many, recorded)
    told = books(at.exchange, at.market_type, name, instants, connection=client)  # type: ignore[arg-type]
    sent = times_of_messages(first, changes, at.best)
    spans = [_span(gap, sent) for gap in recorded]
    verdict = Verdict()
    for row, instant, true in zip(
        told.iter_rows(named=True), instants, true_books(first, changes, instants), strict=True
    ):
        where = f"{at.exchange} {at.market_type} {name} {(instant - START) / SECOND:.9f} s"
        if row["known"]:
            if _sides(row) == _best(true, at.best):
                verdict.known += 1
            else:
                verdict.wrong.append(f"{where}: not the venue's book; last_id {row['last_id']}, {row['time']}")
        elif any(begin <= instant <= end for begin, end in spans):
            verdict.in_gaps += 1
        else:
            verdict.wrong.append(f"{where}: in no gap: {row['why']}")
    return verdict


def times_of_messages(first: Levels, changes: Sequence[Change], depth: int) -> list[int]:
    """When one of the best levels changed, in ns: a change of deeper ones alone is not sent."""
    times, shown = [change.ts * MS for change in changes], None
    sent = []
    for time, book in zip(times, true_books(first, changes, times), strict=True):
        if (best := _best(book, depth)) != shown:
            sent.append(time)
        shown = best
    return sent


def _span(gap: Gap, sent: Sequence[int]) -> tuple[int, int]:
    """When a book was out of sync, by the venue's clock: from its last message before the gap until it was healed."""
    begin, end = gap.ts_from - CLOCKS_DIFFER_NS, max(gap.ts_to, gap.healed_at or 0) + CLOCKS_DIFFER_NS
    before = bisect_right(sent, begin) - 1
    return (sent[before] if before >= 0 else begin), end


def _best(book: Sides, depth: int) -> Sides:
    bids, asks = (sorted(side.items(), reverse=number == 0)[:depth] for number, side in enumerate(book))
    return dict(bids), dict(asks)


def _sides(row: Mapping[str, Any]) -> Sides:
    bids, asks = ({level["price"]: level["size"] for level in row[side]} for side in ("bids", "asks"))
    return bids, asks
