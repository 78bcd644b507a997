"""Books that sums prove: every change after a whole book is on record, and something after the instant shows it.

It is the fast way, of one whole book and what followed it, summed up by ClickHouse. What is not proven so is checked
record by record in `chains`, which also knows the reasons.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import msgspec
import polars as pl

from marketdata_assets.exchanges.records import Exchange, Gap, MarketType
from marketdata_assets.exchanges.tables.gaps import CLOCKS_DIFFER_NS, is_book_gap
from marketdata_assets.exchanges.tables.schema import FINAL_SETTINGS, GAPS, ORDERBOOKS
from marketdata_assets.read import columnar
from marketdata_assets.read.chains import WHOLE_DEPTH, Position, Standing, Whole
from marketdata_assets.read.exchanges import about
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.postgres import statement

NONE: Mapping[str, str] = {}
HOUR_NS = 3_600_000_000_000
AHEAD_NS = HOUR_NS  # so long after an instant, a record may show that nothing is missing before it
FIRST_SPAN_NS = HOUR_NS // 30  # whole books are queried so far back, then 6 times as far, and again: over an hour
NEXT_SPANS_NS = 60_000_000_000, AHEAD_NS  # the next change is queried so far ahead
CANDIDATES = 3  # of the whole books before an instant: a newer one may hold more than was received until then


_statement = cache(partial(statement, __package__))


@dataclass(frozen=True)
class BookMarket:
    """The book of one instrument in the tables."""

    client: Client
    exchange: Exchange
    market_type: MarketType
    instrument: str

    def ask(self, sql: str, first: int, end: int, *, texts: Mapping[str, str] = NONE, **more: Any) -> pl.DataFrame:
        """The answer to one of our statements about a span in ns; `texts` replace parts of it."""
        values = {"exchange": self.exchange, "market_type": self.market_type, "instrument": self.instrument}
        text = _statement(f"{sql}.sql")
        span = {"first": time_text(first), "end": time_text(end)}
        for name, part in texts.items():
            text = text.replace(f"{{{name}}}", part)
        return columnar.ask(self.client, ORDERBOOKS.name, text, values | span | more)

    def gaps(self) -> list[Gap]:
        """The gaps of the book, healed ones too."""
        where = about(GAPS.name, self.exchange, self.market_type, self.instrument, None, None)
        found = columnar.read(self.client, GAPS.name, GAPS.columns, where, ("time",), final=FINAL_SETTINGS)
        gaps = [msgspec.convert(row, Gap) for row in found.with_columns(type=pl.lit("gap")).iter_rows(named=True)]
        return [gap for gap in gaps if is_book_gap(gap)]


@dataclass(frozen=True)
class _Change:
    at: int
    last_id: int
    begin: int


def whole_books(market: BookMarket, instants: Sequence[int], oldest: Callable[[], int]) -> list[Whole]:
    """The whole books from one before the first instant to the last one, by time.

    `oldest`, the time of the oldest record, is queried only where none is near.
    """
    span, end = FIRST_SPAN_NS, instants[-1] + 1
    while True:
        first = instants[0] - span
        if span > FIRST_SPAN_NS:
            first = max(first, oldest())
        wholes = _wholes(market, first, end)
        settled = instants[0] - CLOCKS_DIFFER_NS
        if any(whole.at <= settled and _is_base(whole) for whole in wholes) or first <= oldest():
            return wholes
        span *= 6


def _wholes(market: BookMarket, first: int, end: int) -> list[Whole]:
    fields = ("at", "ts_recv", "last_id", "depth", "unit", "content", "ours")
    found = market.ask("book_wholes", first, end).to_dicts()
    return [Whole(row["kind"] == "checkpoint", *(row[name] for name in fields)) for row in found]


def proven(market: BookMarket, wholes: Sequence[Whole], instants: Sequence[int]) -> dict[int, Standing]:
    """The books of those instants of which all is proven."""
    found: dict[int, Standing] = {}
    due = list(instants)
    for number in range(CANDIDATES):
        groups: dict[Whole, list[int]] = {}
        for instant in due:
            before = [whole for whole in wholes if whole.at <= instant and _is_base(whole)]
            if len(before) > number:
                groups.setdefault(before[-1 - number], []).append(instant)
        for base, group in groups.items():
            found |= _after(market, base, group)
        due = [instant for instant in due if instant not in found]
        if not due:
            break
    return found


def _is_base(whole: Whole) -> bool:
    return whole.last_id is not None and (whole.checkpoint or whole.depth > WHOLE_DEPTH)


def _after(market: BookMarket, base: Whole, instants: Sequence[int]) -> dict[int, Standing]:
    """The proven ones of some instants, with this whole book below them."""
    assert base.last_id is not None
    following = _next(market, instants[-1])
    later_wholes = [] if following else _wholes(market, instants[0], instants[-1] + AHEAD_NS)
    found: dict[int, Standing] = {}
    for final in (False, True):
        steps = _steps(market, base, instants, final)
        held_until = max((step["held_until"] for step in steps.values()), default=0)
        if held_until > base.at + 2 * CLOCKS_DIFFER_NS:
            break  # the venue has restarted its numbering
        settled = base.settled(max((step["held_id"] or 0 for step in steps.values()), default=None))
        steps = {at: step for at, step in steps.items() if step["irregular"] or step["newest_id"] is not None}
        first, reached, position = None, base.last_id, Position(base.at, base.last_id)
        for place, (instant, before) in enumerate(zip(instants, [0, *instants], strict=False)):
            step = steps.get(before)
            if step is not None:
                if not _continues(step, base, reached):
                    break
                first = first or Position(step["first_at"], step["first_id"])
                position = Position(step["last_at"], step["last_id"])
                reached = step["newest_id"]
            if instant < held_until or (first is None and instant < settled):
                continue  # the whole book is newer, by the venue's clock
            changed = next((steps[at] for at in instants[place:] if at in steps), None)
            later = _Change(*(changed[f"first_{name}"] for name in ("at", "id", "begin"))) if changed else following
            if later is not None and later.begin <= reached < later.last_id:
                found[instant] = Standing(base, first, position if first else None, later.at, proven=True)
            elif later is None and _alive(later_wholes, instant, reached):
                found[instant] = Standing(base, first, position if first else None, proven=True)
        if len(found) == len(instants):
            break
    return found


def _steps(market: BookMarket, base: Whole, instants: Sequence[int], final: bool) -> Mapping[int, dict[str, Any]]:
    rows = market.ask(
        "book_steps",
        base.at - CLOCKS_DIFFER_NS,
        instants[-1] + 1,
        texts={"final": "FINAL" if final else ""},
        base_id=base.last_id,
        steps=[0, *instants[:-1]],
    )
    return {row["step"]: row for row in rows.to_dicts()}


def _continues(step: Mapping[str, Any], base: Whole, reached: int) -> bool:
    """Whether the changes of a step follow one another, and the first of them what was reached."""
    begin, newest = step["begin"], step["newest_id"]
    if step["irregular"] or step["first_begin"] != begin or step["last_id"] != newest:
        return False
    joined = begin <= reached if reached == base.last_id else begin == reached
    return bool(joined and step["numbers"] == newest - begin)


def _next(market: BookMarket, instant: int) -> _Change | None:
    for span in NEXT_SPANS_NS:
        found = market.ask("book_next", instant + 1, instant + span).to_dicts()
        if found and (found[0]["last_id"] is None or found[0]["begin"] is None):
            return _Change(found[0]["at"], -1, 0)  # without numbers it proves nothing
        if found:
            return _Change(found[0]["at"], found[0]["last_id"], found[0]["begin"])
    return None


def _alive(wholes: Sequence[Whole], instant: int, last_id: int) -> bool:
    """Whether a later whole book has the same position, so that nothing came between, whichever clock is ahead."""
    return any(whole.at >= instant + CLOCKS_DIFFER_NS and whole.last_id == last_id for whole in wholes)


def time_text(nanoseconds: int) -> str:
    """A time as ClickHouse reads it, with all its digits."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S}.{rest:09d}"
