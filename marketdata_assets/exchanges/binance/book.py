"""How Binance's diffs follow one another and meet a snapshot: one book's way from waiting to live and back.

Diffs are kept until a snapshot comes over REST that one of them reaches over; then each has to follow the one before.
What is kept follows one another already: a hole among diffs that wait is a hole as well, and what was before it goes.

spot: drop `u <= lastUpdateId`, begin with `U <= lastUpdateId + 1 <= u`, then `U` is the `u` before plus 1.
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#how-to-manage-a-local-order-book-correctly

futures, whose ids jump: drop `u < lastUpdateId`, begin with `U <= lastUpdateId <= u`, then `pu` is the `u` before.
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/How-to-manage-a-local-order-book-correctly
"""

from collections import deque
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from marketdata_assets.exchanges import checkpoints
from marketdata_assets.exchanges.binance.instruments import NS, head_of
from marketdata_assets.exchanges.binance.rest import Depth
from marketdata_assets.exchanges.books import Book, BookState
from marketdata_assets.exchanges.checkpoints import BookCheckpoint
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Gap, Level, OrderBook, Ticker

KEPT_DIFFS = 20_000
"""So many diffs wait for a snapshot; of more, the oldest go, and the snapshot has to be a younger one."""

KEPT_TICKERS = 2_000  # so many best prices wait for the diff that ends with their update
STRAYS = 50  # so many messages in a row from before the known position: the venue has restarted its numbering


class Diff(Struct, frozen=True, gc=False):
    """One depthUpdate, spot's or futures'."""

    first: int  # U
    last: int  # u
    prev: int | None  # pu
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    ts_event: int  # ns
    ts_recv: int
    numbers: Any = None  # BothNumbers: the levels once more, where they were read as numbers


class Pending(Struct, frozen=True):
    """What a chain keeps besides its book, in a checkpoint. The fields are those of Chain."""

    position: int | None
    waiting: list[Diff] = []
    early: tuple[Depth, int] | None = None
    ahead: Depth | None = None
    best: dict[int, tuple[str, str]] = {}


_pending = msgspec.json.Decoder(Pending | None).decode


class Chain(BookState):
    """The diffs of one instrument, in order, into its book.

    Sockets may overlap: a diff that another one brought already is passed over.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.agreed = 0  # best prices that were those of the book after the same update
        self._position: int | None = None  # `u` of the last diff that was taken, into the book or to wait
        self._waiting: deque[Diff] = deque(maxlen=KEPT_DIFFS)
        self._early: tuple[Depth, int] | None = None  # a snapshot that came before the first diff, and when
        self._ahead: Depth | None = None  # the book's snapshot, as long as diffs come that it holds already
        self._strays = 0
        self._best: dict[int, tuple[str, str]] = {}  # by update, of updates that the book has not reached

    @property
    def live(self) -> bool:
        """Whether the book is whole and every diff goes into it."""
        return self.status == "live"

    def diff(self, diff: Diff, connection: int) -> list[OrderBook | Gap]:
        """Take a diff, into the book or to wait for a snapshot. Raises BadMessage or BadLevel, then it was not."""
        position = self._position
        if position is not None:
            begin = diff.first - 1 if diff.prev is None else diff.prev
            alone = not self._best and not self._ahead and connection == self.connection
            if alone and begin == position < diff.last and self.status == "live":
                applied = self._applied(diff)
                self._position, self._strays = diff.last, 0
                return [applied]
            if diff.last <= position:
                return self._stray(diff, connection)
            if begin != position and (begin > position or connection == self.connection):  # sockets may overlap
                return self._hole(diff, connection)
        outcomes = self._take(diff) if self.live else self._wait(diff, connection)
        self._position, self.connection, self._strays = diff.last, connection, 0
        return outcomes

    def meet(self, snapshot: Depth, ts_recv: int) -> list[OrderBook | Gap] | None:
        """Begin with a snapshot and all that waits; None when it is of no use, being too old or not needed."""
        if self.live:
            return None
        if self._position is None:
            self._early = snapshot, ts_recv
            return []
        if not self._reaches(snapshot.lastUpdateId, self._position):
            return None
        known = self._best.pop(snapshot.lastUpdateId, None)
        if known and not _same_best(snapshot, *known):
            return self.broken("best prices", snapshot.lastUpdateId, ts_recv)
        moment = None if snapshot.T is None else snapshot.T * NS
        outcomes = self.snapshot(snapshot.bids, snapshot.asks, snapshot.lastUpdateId, moment, ts_recv)
        self._ahead = snapshot
        waiting = list(self._waiting)
        self._waiting.clear()
        for diff in waiting:
            if self.status == "live":
                outcomes += self._take(diff)
            else:
                self._waiting.append(diff)
        return outcomes

    def best(self, ticker: Ticker) -> list[OrderBook | Gap]:
        """Compare the best prices after an update with the book after the same update."""
        update, bid, ask = ticker.update_id or 0, ticker.bid or "", ticker.ask or ""
        if self.live and update <= (self.last_id or 0):
            wrong = self._differs(bid, ask, ticker.ts_recv) if update == self.last_id else []
            if wrong:
                self._best[update] = (bid, ask)  # a snapshot of this update has to agree with them
            return wrong
        if len(self._best) >= KEPT_TICKERS:
            self._best.clear()
        self._best[update] = (bid, ask)
        return []

    def pending(self) -> bytes:
        plain = self.live and self._position == self.last_id and not self._best and not self._ahead
        if plain or (self._position is None and self._early is None):
            return super().pending()
        waiting = [msgspec.structs.replace(diff, numbers=None) for diff in self._waiting]
        return checkpoints.encode(Pending(self._position, waiting, self._early, self._ahead, self._best))

    def restore(self, point: BookCheckpoint, ts_recv: int) -> list[OrderBook | Gap]:
        pending = _pending(point.pending) or Pending(point.last_id if point.status == "live" else None)
        outcomes = super().restore(point, ts_recv)
        self._start_over()
        self._position, self._early, self._ahead = pending.position, pending.early, pending.ahead
        self._waiting.extend(pending.waiting)
        self._best.update(pending.best)
        return outcomes

    def reopened(self, ts_recv: int) -> list[OrderBook | Gap]:
        self._start_over()
        return super().reopened(ts_recv)

    def _reaches(self, last: int, position: int) -> bool:
        """Whether a snapshot reaches the first diff that waits; where none waits, the last diff that was taken."""
        if not self._waiting:
            return last >= position
        first = self._waiting[0]
        return first.first <= last + (first.prev is None) or first.prev == last

    def _take(self, diff: Diff) -> list[OrderBook | Gap]:
        if self._ahead:
            held = self._ahead.lastUpdateId
            if diff.last < held or (diff.prev is None and diff.last == held):
                self.dropped += 1
                return []
            self._ahead = None
        applied = self._applied(diff)
        if not self._best or not self.live:
            return [applied]
        best = self._best.pop(diff.last, None)
        self._best = {later: prices for later, prices in self._best.items() if later > diff.last}
        wrong = self._differs(*best, diff.ts_recv) if best else []
        if wrong:
            self._waiting.append(diff)
        return wrong or [applied]

    def _applied(self, diff: Diff) -> OrderBook | Gap:
        """Take a diff into the book; one that breaks it waits for the next snapshot."""
        outcome = self.delta(
            diff.bids, diff.asks, diff.first, diff.last, diff.prev, diff.ts_event, diff.ts_recv, None, diff.numbers
        )
        if self.status != "live":
            self._waiting.append(diff)
        return outcome

    def _wait(self, diff: Diff, connection: int) -> list[OrderBook | Gap]:
        Book().apply(diff.bids, diff.asks)  # raises where a level is no numbers
        self._waiting.append(diff)
        self.without_base(diff.first, diff.ts_recv, connection)
        early, self._early = self._early, None
        if early is None:
            return []
        self._position = diff.last
        return self.meet(*early) or []

    def _stray(self, diff: Diff, connection: int) -> list[OrderBook | Gap]:
        """A diff from before what is known: a repeat, unless another socket brought it."""
        if connection != self.connection:
            return []
        self._strays += 1
        if self._strays > STRAYS:
            return self._hole(diff, connection)
        return [] if self.open_gap else [self.repeated(diff.first, diff.ts_recv)]

    def _hole(self, diff: Diff, connection: int) -> list[OrderBook | Gap]:
        """A diff that does not follow: it waits for a snapshot, and those that come after it."""
        Book().apply(diff.bids, diff.asks)  # raises where a level is no numbers
        outcomes = self.broken("sequence", diff.first, diff.ts_recv)
        self._start_over()
        self._waiting.append(diff)
        self._position, self.connection = diff.last, connection
        return outcomes

    def _start_over(self) -> None:
        self._waiting.clear()
        self._best.clear()
        self._position = self._early = self._ahead = None
        self._strays = 0

    def _differs(self, bid: str, ask: str, ts_recv: int) -> list[OrderBook | Gap]:
        """Nothing when these are the best prices of the book."""
        best_bid, best_ask = self.book.bbo()
        if _same(bid, best_bid) and _same(ask, best_ask):
            self.agreed += 1
            return []
        return self.broken("best prices", self.last_id, ts_recv)


def _same(price: str, best: Level | None) -> bool:
    if best is None:
        return not Decimal(price)  # the venue's word for an empty side
    return price == best[0] or Decimal(price) == Decimal(best[0])


def _same_best(snapshot: Depth, bid: str, ask: str) -> bool:
    """Whether a snapshot has these best prices. Raises BadLevel."""
    book = Book()
    book.replace(snapshot.bids, snapshot.asks)
    best_bid, best_ask = book.bbo()
    return _same(bid, best_bid) and _same(ask, best_ask)


def best_levels(
    instrument: Instrument,
    moment: int | None,
    ts_recv: int,
    bids: tuple[Level, ...],
    asks: tuple[Level, ...],
    last_id: int,
) -> OrderBook:
    """The best levels of a book as a snapshot of so many; they are no part of a chain.

        {"lastUpdateId": 160, "bids": [["1.23", "31.2"]], "asks": [["1.24", "40.6"]]}

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#partial-book-depth-streams
    """
    Book().apply(bids, asks)  # raises where a level is no numbers
    return OrderBook(*head_of(instrument, moment, ts_recv), "snapshot", bids, asks, instrument.unit, None, last_id)
