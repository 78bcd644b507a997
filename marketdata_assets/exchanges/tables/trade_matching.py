"""Which trades of a venue's history are not stored yet, although a venue publishes trades in several forms.

The descriptor of a venue says which forms its trades have (`venue.TradeForms`). Aggregates are trades of one order at
one price. Numbered ones have ids of their own besides those of the single trades in them, and a history of aggregates
only; summed ones are sent under the id of the last single trade, and the history has single ones.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from msgspec.structs import replace

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.decimals import EXACT
from marketdata_assets.exchanges.records import Gap, Trade

SINGLES = "trade"
"""The stream of single trades beside numbered aggregates, and of trades of any form that the collector had to drop."""

Span = tuple[int, int]  # sequence numbers from the first to the last


@dataclass(frozen=True)
class StoredTrade:
    """A trade of the table."""

    trade_id: str
    time: int  # ns
    price: Decimal
    amount: Decimal  # contracts where there are any, else base units
    side: str
    first_id: str | None
    last_id: str | None


@dataclass(frozen=True)
class MatchResult:
    """Trades to insert, how many stored ones the history has, and objections to closing the gap.

    With an objection nothing may be inserted, because trades could be duplicated. `numbers` are the spans of sequence
    numbers that are stored or fetched, in order, where the venue numbers its trades.
    """

    missing: list[Trade]
    known: int
    objections: list[str]
    numbers: list[Span]


def match_trades(gap: Gap, stored: Sequence[StoredTrade], history: Sequence[Trade]) -> MatchResult:
    """Compare the history of a span around a gap with the stored trades of the span."""
    forms = venues.find(gap.exchange).trades
    if forms == "numbered_aggregates":
        missing, known = _by_number(gap, stored, history)
    elif forms == "summed_by_order":
        missing, known = _by_order(stored, history)
    else:
        stored_ids, fetched_ids = {trade.trade_id for trade in stored}, {trade.trade_id for trade in history}
        missing = [trade for trade in history if trade.trade_id not in stored_ids]
        known = sum(trade.trade_id in fetched_ids for trade in stored)
    objections = []
    if len(stored) > known:
        objections.append(f"the history lacks {len(stored) - known} of {len(stored)} trades stored around the gap")
    return MatchResult(missing, known, objections, _numbers(gap, stored, history))


def _by_number(gap: Gap, stored: Sequence[StoredTrade], history: Sequence[Trade]) -> tuple[list[Trade], int]:
    wants_singles = _singles_missing(gap, stored)
    aggregates = {trade.trade_id for trade in stored if trade.first_id is not None}
    singles = {int(trade.trade_id) for trade in stored if trade.first_id is None}
    fetched = {trade.trade_id for trade in history}
    known = sum(trade.first_id is not None and trade.trade_id in fetched for trade in stored)
    missing: list[Trade] = []
    for trade in history:
        numbers = range(int(trade.first_id or 0), int(trade.last_id or 0) + 1)
        stored_numbers = [number for number in numbers if number in singles]
        known += len(stored_numbers)
        if trade.trade_id in aggregates or len(stored_numbers) == len(numbers):
            continue
        if len(numbers) == 1 and wants_singles:  # then it is the same row as the stream would have made
            trade = replace(trade, trade_id=trade.first_id, first_id=None, last_id=None)
        missing.append(trade)
    return missing, known


def _singles_missing(gap: Gap, stored: Sequence[StoredTrade]) -> bool:
    """Whether a gap lacks single trades: as stored around it, or, where none are stored, as on spot."""
    if gap.stream != SINGLES or any(trade.first_id is not None for trade in stored):
        return False
    return bool(stored) or gap.market_type == "spot"


def _by_order(stored: Sequence[StoredTrade], history: Sequence[Trade]) -> tuple[list[Trade], int]:
    """A stored trade may aggregate several of one time, price and side: the oldest of these add up to it."""
    stored_by: dict[tuple[int, Decimal, str], list[StoredTrade]] = defaultdict(list)
    for row in stored:
        stored_by[row.time, row.price, row.side].append(row)
    fetched_by: dict[tuple[int, Decimal, str], list[Trade]] = defaultdict(list)
    for trade in history:
        fetched_by[trade.ts_event or 0, Decimal(trade.price), trade.side].append(trade)
    missing: list[Trade] = []
    known = 0
    for key, trades in fetched_by.items():
        left = sorted(trades, key=lambda trade: int(trade.trade_id))
        for aggregate in sorted(stored_by[key], key=lambda trade: int(trade.trade_id)):
            parts = _adding_up(aggregate, left)
            known += bool(parts)
            left = [trade for trade in left if trade not in parts]
        missing += left
    return missing, known


def _adding_up(aggregate: StoredTrade, trades: Sequence[Trade]) -> list[Trade]:
    """The trades up to the aggregate's number, newest first, whose sum is its amount; none if there are none."""
    parts: list[Trade] = []
    total = Decimal(0)
    for trade in reversed([trade for trade in trades if int(trade.trade_id) <= int(aggregate.trade_id)]):
        parts.append(trade)
        total = EXACT.add(total, Decimal(trade.contracts or trade.size or 0))
        if total >= aggregate.amount:
            break
    return parts if total == aggregate.amount else []


def missing_numbers(gap: Gap, numbers: Sequence[Span]) -> str:
    """The objection when the numbers do not fill a gap of numbered trades whose ends are known; else empty."""
    if not _numbered(gap) or gap.last_id is None or gap.next_id is None:
        return ""
    missing, reached = 0, gap.last_id
    for first, last in merge_spans(numbers):
        if first >= gap.next_id:
            break
        missing += max(0, first - reached - 1)
        reached = max(reached, last)
    missing += max(0, gap.next_id - reached - 1)
    return f"the history lacks {missing} numbers between {gap.last_id} and {gap.next_id}" if missing else ""


def _numbered(gap: Gap) -> bool:
    return venues.find(gap.exchange).trades == "numbered_aggregates"


def merge_spans(numbers: Sequence[Span]) -> list[Span]:
    """The same numbers in as few spans as possible, in order."""
    merged: list[Span] = []
    for first, last in sorted(numbers):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _numbers(gap: Gap, stored: Sequence[StoredTrade], history: Sequence[Trade]) -> list[Span]:
    if not _numbered(gap):
        return []
    trades: list[StoredTrade | Trade] = [*stored, *history]
    if _singles_missing(gap, stored):
        spans = [(int(trade.first_id or trade.trade_id), int(trade.last_id or trade.trade_id)) for trade in trades]
    else:
        spans = [(int(trade.trade_id), int(trade.trade_id)) for trade in trades if trade.first_id is not None]
    return merge_spans(spans)
