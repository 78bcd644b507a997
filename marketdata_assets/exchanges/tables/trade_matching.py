"""Which trades of a venue's history are not among those that stand, though a venue tells of trades in several ways.

Binance numbers single trades and those of one order at one price apart; its history has only the latter. OKX's channel
puts trades of one order at one price together under the number of the last one; its history has them one by one.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from msgspec.structs import replace

from marketdata_assets.exchanges.decimals import EXACT
from marketdata_assets.exchanges.records import Gap, Trade

SINGLES = "trade"
"""The stream of Binance's single trades, and what the collector calls trades of any kind that it could not keep."""


Span = tuple[int, int]
"""Numbers from the first to the last."""


@dataclass(frozen=True)
class StoredTrade:
    """A trade that stands."""

    trade_id: str
    time: int  # ns
    price: Decimal
    amount: Decimal  # contracts where there are any, else base units
    side: str
    first_id: str | None
    last_id: str | None


@dataclass(frozen=True)
class MatchResult:
    """What is to be added, how much of what stands the history knows, and what speaks against believing it.

    `doubtful` says that nothing should be added: trades could be there twice. `numbers` are the spans of Binance's
    numbers that either has, in order.
    """

    missing: list[Trade]
    known: int
    doubtful: bool
    objections: list[str]
    numbers: list[Span]


def match(gap: Gap, standing: Sequence[StoredTrade], history: Sequence[Trade]) -> MatchResult:
    """Hold the history of a span around a gap against what stands of the span."""
    if gap.exchange == "binance":
        missing, known = _by_number(gap, standing, history)
    elif gap.exchange == "okx":
        missing, known = _by_order(standing, history)
    else:
        missing, known = _by_id(standing, history)
    objections = []
    if len(standing) > known:
        objections.append(f"the history lacks {len(standing) - known} of {len(standing)} trades that stand around it")
    return MatchResult(missing, known, len(standing) > known, objections, _numbers(gap, standing, history))


def _by_id(standing: Sequence[StoredTrade], history: Sequence[Trade]) -> tuple[list[Trade], int]:
    ids, told = {one.trade_id for one in standing}, {one.trade_id for one in history}
    return [one for one in history if one.trade_id not in ids], sum(one.trade_id in told for one in standing)


def _by_number(gap: Gap, standing: Sequence[StoredTrade], history: Sequence[Trade]) -> tuple[list[Trade], int]:
    single = _single(gap, standing)
    whole = {one.trade_id for one in standing if one.first_id is not None}
    singles = {int(one.trade_id) for one in standing if one.first_id is None}
    told = {one.trade_id for one in history}
    known = sum(one.first_id is not None and one.trade_id in told for one in standing)
    missing: list[Trade] = []
    for one in history:
        inside = range(int(one.first_id or 0), int(one.last_id or 0) + 1)
        there = [number for number in inside if number in singles]
        known += len(there)
        if one.trade_id in whole or len(there) == len(inside):
            continue
        alone = len(inside) == 1 and single  # then it is the same row as the stream would have made
        missing.append(replace(one, trade_id=one.first_id, first_id=None, last_id=None) if alone else one)
    return missing, known


def _single(gap: Gap, standing: Sequence[StoredTrade]) -> bool:
    """Whether single trades are missing in a gap of Binance's: as around it, and where nothing stands, as on spot."""
    if gap.stream != SINGLES or any(one.first_id is not None for one in standing):
        return False
    return bool(standing) or gap.market_type == "spot"


def _by_order(standing: Sequence[StoredTrade], history: Sequence[Trade]) -> tuple[list[Trade], int]:
    """What stands may be several trades of one moment, price and side in one: the oldest of these add up to it."""
    stands: dict[tuple[int, Decimal, str], list[StoredTrade]] = defaultdict(list)
    for one in standing:
        stands[one.time, one.price, one.side].append(one)
    told: dict[tuple[int, Decimal, str], list[Trade]] = defaultdict(list)
    for trade in history:
        told[trade.ts_event or 0, Decimal(trade.price), trade.side].append(trade)
    missing: list[Trade] = []
    known = 0
    for about, trades in told.items():
        left = sorted(trades, key=lambda one: int(one.trade_id))
        for one in sorted(stands[about], key=lambda one: int(one.trade_id)):
            taken = _adding_up(one, left)
            known += bool(taken)
            left = [trade for trade in left if trade not in taken]
        missing += left
    return missing, known


def _adding_up(whole: StoredTrade, trades: Sequence[Trade]) -> list[Trade]:
    """The trades up to the number of `whole`, from the newest back, that are its amount; none when they are not."""
    taken: list[Trade] = []
    total = Decimal(0)
    for trade in reversed([one for one in trades if int(one.trade_id) <= int(whole.trade_id)]):
        taken.append(trade)
        total = EXACT.add(total, amount(trade))
        if total >= whole.amount:
            break
    return taken if total == whole.amount else []


def amount(trade: Trade) -> Decimal:
    """Contracts where there are any, else base units."""
    return Decimal(trade.contracts or trade.size or 0)


def numbers_lacking(gap: Gap, numbers: Sequence[Span]) -> str:
    """What is objected to when a gap of Binance's, whose ends are known, is not filled by these; else ""."""
    if gap.exchange != "binance" or gap.last_id is None or gap.next_id is None:
        return ""
    lacking, reached = 0, gap.last_id
    for first, last in joined(numbers):
        if first >= gap.next_id:
            break
        lacking += max(0, first - reached - 1)
        reached = max(reached, last)
    lacking += max(0, gap.next_id - reached - 1)
    return f"the history lacks {lacking} numbers between {gap.last_id} and {gap.next_id}" if lacking else ""


def joined(numbers: Sequence[Span]) -> list[Span]:
    """The same numbers in as few spans as can be, in order."""
    found: list[Span] = []
    for first, last in sorted(numbers):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _numbers(gap: Gap, standing: Sequence[StoredTrade], history: Sequence[Trade]) -> list[Span]:
    if gap.exchange != "binance":
        return []
    every: list[StoredTrade | Trade] = [*standing, *history]
    if _single(gap, standing):
        return joined([(int(one.first_id or one.trade_id), int(one.last_id or one.trade_id)) for one in every])
    return joined([(int(one.trade_id), int(one.trade_id)) for one in every if one.first_id is not None])
