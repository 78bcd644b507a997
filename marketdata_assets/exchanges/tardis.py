"""Files of tardis.dev: a CSV for each exchange, type, UTC day and symbol, with the columns of its documentation.

    binance-futures_trades_2024-01-01_BTCUSDT.csv.gz     (as its clients name them; by folders, as its server does, too)

Sizes are the venue's own; times are microseconds, and one that equals the time of arrival is none of the venue's. Books
have no numbers of updates: within a file each change follows the one before it, from a snapshot on. Changes without a
snapshot are a gap. https://docs.tardis.dev/downloadable-csv-files/data-types
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple, TypeVar

from marketdata_assets.exchanges.decimals import decimal, plain
from marketdata_assets.exchanges.errors import UNREADABLE, ExchangesError, UnknownVenue
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import (
    DAY,
    AnyRecord,
    DeadLetter,
    Exchange,
    FundingRate,
    Gap,
    Level,
    Liquidation,
    MarketType,
    OpenInterest,
    OrderBook,
    Outcome,
    Side,
    Ticker,
    Trade,
    recorded_at,
)

T = TypeVar("T")
US = 1000  # ns
EPOCH = dt.date(1970, 1, 1)
NO_SNAPSHOT, UNREADABLE_ROW, RECONNECTED = "no snapshot", "unreadable row", "reopened"
BOOK_CHANGES, BOOK_SNAPSHOTS = "incremental_book_L2", "book_snapshot_"
ABOUT = ("exchange", "symbol", "timestamp", "local_timestamp")
TRADED = ("id", "side", "price", "amount")
QUOTED = ("ask_amount", "ask_price", "bid_price", "bid_amount")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "trades": TRADED,
    "liquidations": TRADED,
    BOOK_CHANGES: ("is_snapshot", "side", "price", "amount"),
    **{
        f"{BOOK_SNAPSHOTS}{depth}": tuple(
            f"{side}[{level}].{value}"
            for level in range(depth)
            for side in ("asks", "bids")
            for value in ("price", "amount")
        )
        for depth in (5, 25)
    },
    "quotes": QUOTED,
    "book_ticker": QUOTED,
    "derivative_ticker": (
        *("funding_timestamp", "funding_rate", "predicted_funding_rate", "open_interest"),
        *("last_price", "index_price", "mark_price"),
    ),
}
"""By type of file, the columns that are read beside those of ABOUT."""

_KINDS = "|".join(COLUMNS)
_TYPE = re.compile(
    rf"(?:.*/)?(?:[a-z0-9-]+_(?P<name>{_KINDS})_(?P<day>\d{{4}}-\d\d-\d\d)_|(?P<folder>{_KINDS})/(?P<days>\d{{4}}/\d\d/\d\d)/)[^/]+\.csv(?:\.gz)?"
)
_SIDES: dict[str, Side] = {"buy": "buy", "sell": "sell"}
_TRUTH = {"true": True, "false": False}

Find = Callable[[str, str], Instrument]
"""The instrument of an exchange, as tardis.dev names it, and symbol. Raises UnknownInstrument, and UnknownVenue."""


class Row(NamedTuple):
    """One line: its instrument, its times in ns, and its cells by column."""

    number: int
    instrument: Instrument
    ts_event: int | None
    ts_recv: int
    cells: Mapping[str, str]
    raw: bytes

    @property
    def begin(self) -> tuple[Exchange, MarketType, str, str, int | None, int]:
        """The first fields of its record."""
        return *self.instrument.key, self.ts_event, self.ts_recv


def type_of(path: str) -> str | None:
    """The type of a file by its path with slashes; None for a file of another origin."""
    found = _TYPE.fullmatch(path)
    return found["name"] or found["folder"] if found else None


def day_of(path: str) -> dt.date | None:
    """The day of a file by its path; None where it is no day."""
    found = _TYPE.fullmatch(path)
    try:
        return dt.date.fromisoformat((found["day"] or found["days"]).replace("/", "-")) if found else None
    except ValueError:
        return None


def depth_of(kind: str) -> int:
    """How many levels a file of snapshots has; 0 for another file."""
    return int(kind.rpartition("_")[2]) if kind.startswith(BOOK_SNAPSHOTS) else 0


def records(kind: str, lines: Iterable[bytes], find: Find, day: dt.date | None = None) -> Iterator[Outcome]:
    """The records of a file of a day in its order; a row that cannot be read, or was received on another day, is a dead
    letter. Raises ExchangesError.

    A file without a line is one of a day without data.
    """
    rows = _rows(kind, iter(lines), find, day)
    if kind == BOOK_CHANGES:
        yield from _books(rows)
        return
    parser = _parser(kind)
    for row in rows:
        if isinstance(row, DeadLetter):
            yield row
            continue
        try:
            yield from parser(row)
        except UNREADABLE as error:
            yield _unreadable(row.number, row.raw, error)


def _rows(kind: str, lines: Iterator[bytes], find: Find, day: dt.date | None) -> Iterator[Row | DeadLetter]:
    header = next(lines, b"").decode(errors="replace").strip()
    if not header:
        return
    names = header.split(",")
    missing = [name for name in (*ABOUT, *COLUMNS[kind]) if name not in names]
    if missing:
        raise ExchangesError(
            f"files of {kind} of tardis.dev have a column {missing[0]!r}; this one has {', '.join(names[:12])}"
        )
    for number, line in enumerate(lines, 2):
        text = line.strip()
        if not text:
            continue
        try:
            cells = dict(zip(names, text.decode().split(","), strict=True))
            event, received = _time(cells["timestamp"]), _time(cells["local_timestamp"])
            if day and received // DAY != (day - EPOCH).days:
                raise ValueError(f"a row of another day in a file of {day}: local_timestamp {cells['local_timestamp']}")
            instrument = find(cells["exchange"], cells["symbol"])
            yield Row(number, instrument, None if event == received else event, received, cells, text)
        except UnknownVenue:
            raise
        except UNREADABLE as error:
            yield _unreadable(number, text, error)


def _time(text: str) -> int:
    return recorded_at(int(text) * US, text, "microseconds")


def _unreadable(number: int, raw: bytes, error: Exception) -> DeadLetter:
    cause = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
    return DeadLetter(raw, f"line {number}: {cause}", 0)


def _number(row: Row, name: str) -> str:
    """A decimal of a cell, without an exponent."""
    text = decimal(name, row.cells[name])
    return plain(Decimal(text)) if "e" in text.lower() else text


def _word(row: Row, name: str, known: Mapping[str, T]) -> T:
    """What the word of a cell means. Raises ValueError."""
    if row.cells[name] not in known:
        raise ValueError(f"{name} is {row.cells[name][:40]!r}, and none of {', '.join(known)}")
    return known[row.cells[name]]


def _optional(row: Row, name: str) -> str | None:
    return _number(row, name) if row.cells[name] else None


def _parser(kind: str) -> Callable[[Row], Iterator[AnyRecord]]:
    if kind.startswith(BOOK_SNAPSHOTS):
        return _book_snapshot
    if kind == "derivative_ticker":
        return DerivativeTickers().read
    return {"trades": _trade, "liquidations": _liquidation, "quotes": _quote, "book_ticker": _quote}[kind]


def _trade(row: Row) -> Iterator[AnyRecord]:
    """bybit,BTCUSD,1704067200123000,1704067200130411,281234567,sell,42330.5,1000"""
    if not row.cells["id"]:
        raise ValueError("a trade without an id cannot be distinguished from another one")
    price, amount = _number(row, "price"), _number(row, "amount")
    yield Trade(*row.begin, row.cells["id"], price, *row.instrument.sizes(amount, price), _word(row, "side", _SIDES))


def _liquidation(row: Row) -> Iterator[AnyRecord]:
    """binance-futures,BTCUSDT,1704067200123000,1704067200130411,,buy,42330.5,0.2: a short position is closed"""
    price, amount = _number(row, "price"), _number(row, "amount")
    sizes = row.instrument.sizes(amount, price)
    yield Liquidation(*row.begin, _word(row, "side", _SIDES), price, *sizes, row.cells["id"] or None)


def _quote(row: Row) -> Iterator[AnyRecord]:
    """bybit,BTCUSD,1704067200123000,1704067200130411,18940,42331.0,42330.5,3300"""
    bid, ask = _optional(row, "bid_price"), _optional(row, "ask_price")
    bid_size, ask_size = _optional(row, "bid_amount"), _optional(row, "ask_amount")
    yield Ticker(*row.begin, bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size, unit=row.instrument.unit)


@dataclass
class DerivativeTickers:
    """Rows of the state of derivatives. Every row repeats funding and open interest: recorded is when they change."""

    _last: dict[tuple[str, str], tuple[str | None, ...]] = field(default_factory=dict)

    def read(self, row: Row) -> Iterator[AnyRecord]:
        """bybit,BTCUSD,1704067200123000,1704067200130411,1704096000000000,0.0001,,403816700,42330.5,42331.18,42330.12"""
        last, index, mark = (_optional(row, f"{name}_price") for name in ("last", "index", "mark"))
        rate, predicted = _optional(row, "funding_rate"), _optional(row, "predicted_funding_rate")
        paid, amount = row.cells["funding_timestamp"], _optional(row, "open_interest")
        at = int(paid) * US if paid else None
        if last or index or mark:
            yield Ticker(*row.begin, last=last, index_price=index, mark_price=mark)
        if rate is not None and self._changed(row, "funding", rate, predicted, paid):
            yield FundingRate(*row.begin, rate, at, predicted)
        if amount is not None and self._changed(row, "open interest", amount):
            one = row.instrument
            size = one.base_size(amount, "1") if one.market_type != "inverse" and one.unit != "quote" else None
            yield OpenInterest(*row.begin, one.contracts(amount), size, amount if one.unit == "quote" else None)

    def _changed(self, row: Row, what: str, *values: str | None) -> bool:
        key = row.instrument.name, what
        if self._last.get(key) == values:
            return False
        self._last[key] = values
        return True


def _book_snapshot(row: Row) -> Iterator[AnyRecord]:
    """The best levels, whole each time; where the book has fewer, cells are empty."""
    sides: dict[str, list[Level]] = {"bids": [], "asks": []}
    for name, price in row.cells.items():
        side, bracket, _ = name.partition("[")
        if bracket and name.endswith(".price") and price:
            sides[side].append((_number(row, name), _number(row, name.removesuffix("price") + "amount")))
    bids, asks = tuple(sides["bids"]), tuple(sides["asks"])
    yield OrderBook(*row.begin, "snapshot", bids, asks, row.instrument.unit, None, None)


@dataclass
class _Book:
    """What is known of one book of a file: whether changes have a base, and since when they have none."""

    instrument: Instrument
    based: bool = False
    seen: int = 0  # receive time of the last record with a base
    changed: bool = False  # since the last snapshot
    cause: str = NO_SNAPSHOT
    since: int | None = None  # receive times of the first and the last message without a base
    until: int = 0

    def lose(self) -> None:
        """A change is unreadable: what follows, up to a snapshot, has no base."""
        if self.based:
            self.based, self.cause, self.since, self.until = False, UNREADABLE_ROW, self.seen, self.seen

    def skip(self, ts_recv: int) -> None:
        """A message without a base."""
        self.since, self.until = ts_recv if self.since is None else self.since, ts_recv

    def take(self, ts_recv: int, *, changed: bool) -> None:
        """A record with a base: itself, if it is a snapshot."""
        self.based, self.seen, self.changed, self.since = True, ts_recv, changed, None

    def closed(self, ts_recv: int) -> Iterator[Gap]:
        """The gap that a snapshot closes: of messages without a base, or of a connection that was lost."""
        if self.since is not None:
            yield self._gap(self.cause, self.since, ts_recv, ts_recv)
        elif self.changed:
            yield self._gap(RECONNECTED, self.seen, ts_recv, ts_recv)

    def open(self) -> Iterator[Gap]:
        """The gap that the end of the file leaves open."""
        if self.since is not None:
            yield self._gap(self.cause, self.since, self.until, None)

    def _gap(self, cause: str, first: int, last: int, healed: int | None) -> Gap:
        return Gap(*self.instrument.key, BOOK_CHANGES, None, None, first, last, cause, healed)


def _books(rows: Iterator[Row | DeadLetter]) -> Iterator[Outcome]:
    """Rows of one arrival are one message: a snapshot, or a change.

    bybit,BTCUSD,1704067200123000,1704067200130411,false,bid,42330.5,3300

    A row that cannot be read may be of the message before it or of the one after it: neither is a base.
    """
    books: dict[str, _Book] = {}
    before: _Book | None = None
    doubtful = False
    for key, group in groupby(rows, _message):
        message = list(group)
        if key is None:
            yield from (row for row in message if isinstance(row, DeadLetter))
            if before:
                before.lose()
            doubtful = True
            continue
        of_book = [row for row in message if isinstance(row, Row)]
        name, ts_recv, _ = key
        before = book = books.setdefault(name, _Book(of_book[0].instrument))
        try:
            record = _book_record(of_book)
        except UNREADABLE as error:
            yield from (_unreadable(row.number, row.raw, error) for row in of_book)
            doubtful = True
        if doubtful:
            book.lose()
        if doubtful or not (book.based or record.kind == "snapshot"):
            book.skip(ts_recv)
            doubtful = False
            continue
        if record.kind == "snapshot":
            yield from book.closed(ts_recv)
        book.take(ts_recv, changed=record.kind == "delta")
        yield record
    for book in books.values():
        yield from book.open()


def _message(row: Row | DeadLetter) -> tuple[str, int, str] | None:
    """What the rows of one message have in common; None of an unreadable row."""
    return None if isinstance(row, DeadLetter) else (row.instrument.name, row.ts_recv, row.cells["is_snapshot"])


def _book_record(message: list[Row]) -> OrderBook:
    first = message[0]
    whole = _word(first, "is_snapshot", _TRUTH)
    sides: dict[str, list[Level]] = {"bid": [], "ask": []}
    for row in message:
        _word(row, "side", sides).append((_number(row, "price"), _number(row, "amount")))
    if whole:
        sides["bid"].sort(key=lambda level: -Decimal(level[0]))
        sides["ask"].sort(key=lambda level: Decimal(level[0]))
    bids, asks = tuple(sides["bid"]), tuple(sides["ask"])
    return OrderBook(*first.begin, "snapshot" if whole else "delta", bids, asks, first.instrument.unit, None, None)
