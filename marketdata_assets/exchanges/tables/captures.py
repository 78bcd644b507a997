"""Captures into the tables: each file goes through the code that live traffic goes through, and into the ledger.

A file continues where the one before it ended: books are built on earlier messages, and sizes on an instrument list
that may be hours old. A file that begins with a checkpoint has all of that. For any other one, files of the same folder
and market that began up to LOOK_BACK earlier are read first, from the last one with a checkpoint on, and nothing of
those is inserted. Changes of a book that has no snapshot then are a gap.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from marketdata_assets.exchanges.books import BookState, Feed, Unbased
from marketdata_assets.exchanges.capture_session import CaptureSession
from marketdata_assets.exchanges.captures.capture import Capture, open_capture
from marketdata_assets.exchanges.captures.native_format import SUFFIX
from marketdata_assets.exchanges.records import Exchange, Gap, MarketType, OrderBook, Outcome
from marketdata_assets.exchanges.replay import feed_of
from marketdata_assets.exchanges.tables.loaded_files import FileLedger, FileReport, FilesReport, KnownFiles, error_of
from marketdata_assets.exchanges.tables.rows import RecordBatches
from marketdata_assets.exchanges.venue import Source
from marketdata_assets.loading.file_ledger import FileEntry, state_of, unsettled
from marketdata_assets.loading.files import Delivered, everything
from marketdata_assets.loading.watch import Scan, compare
from marketdata_assets.logs import get_logger
from marketdata_assets.stores.clients import Client

LEDGER = FileLedger("exchange_captures", "capture", "captures-1", (SUFFIX, ".ndjson", ".txt.gz"))
LOOK_BACK = dt.timedelta(hours=25)  # a venue ends a connection after 24 hours, and instrument lists are read daily
CHECKPOINT_UPDATES = 20_000  # after so many updates a book is recorded whole, as the collector does
NO_SNAPSHOT = "no snapshot"  # the cause of a gap: changes of a book came, and no snapshot before them is known

_NAME = re.compile(
    rf"(?P<market>.+)[-_](?P<day>\d{{8}})(?:T(?P<time>\d{{6}}))?(?:-(?P<again>\d+))?(?:{re.escape(SUFFIX)}|\.txt\.gz)",
    re.IGNORECASE,
)
"""Names of our captures, and of daily recordings of other tools."""

log = get_logger(__name__)


def captures_in(folder: Path) -> list[Path]:
    """The captures of a folder and the folders below it, by name."""
    return [file.path for file in LEDGER.files(folder)]


def entries(client: Client, folder: Path) -> list[FileEntry]:
    """The state of every file of a folder and the folders below it, by name. The ledger must exist."""
    return _states(LEDGER.known(client), everything(folder))


def due(client: Client, folder: Path) -> list[Path]:
    """The captures of a folder that a run would load; where loaded contents have moved to is recorded."""
    known, files = LEDGER.known(client), everything(folder)
    paths = [path for one in unsettled(_states(known, files)) if (path := folder / one.file).is_file()]
    LEDGER.record_compared(client, known, files)
    return paths


def _states(known: KnownFiles, files: Sequence[Delivered]) -> list[FileEntry]:
    return [
        state_of(file, None, not_taken=reason) if (reason := LEDGER.not_taken(file.name)) else known.state(file)
        for file in files
    ]


def scan(folder: Path, cursor: str | None, now_ns: int, quiet_seconds: float) -> Scan:
    """Compare the captures of a folder, by relative name, with the cursor of the scan before."""
    states = {file.name: [file.size, file.changed_ns] for file in LEDGER.files(folder)}
    return compare(cursor, states, now_ns=now_ns, quiet_seconds=quiet_seconds)


def load_captures(
    client: Client,
    paths: Iterable[Path],
    *,
    exchange: Exchange | None = None,
    market_type: MarketType | None = None,
    lists: Sequence[Path] = (),
    run_id: str = "",
    force: bool = False,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> FilesReport:
    """Load captures. A file whose content is in the ledger is skipped after a hash check, unless `force`.

    Any error in one file, of whatever class, fails that file only; rows read before the error stay. `exchange` and
    `market_type` are for files that do not name them, `lists` have the instruments of a venue, see `replay`. Missing
    tables are created. Idempotent. Raises StoreAway and StoreFull.
    """

    def read(due: Iterable[Path]) -> Iterator[FileReport]:
        for series in series_of(due):
            loading = _SeriesLoad(client, exchange, market_type, lists)
            yield from filter(None, (loading.load(path, wanted) for path, wanted in series))

    return LEDGER.load(client, paths, read, run_id=run_id, force=force, now=now)


Step = tuple[Path, bool]
"""A file of a series, and whether it is wanted; another one is only read for the files after it."""


def _position(path: Path) -> tuple[str, dt.datetime, int] | None:
    name = _NAME.fullmatch(path.name)
    if name is None:
        return None
    try:
        moment = dt.datetime.strptime(name["day"] + (name["time"] or "000000") + "+0000", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None
    return name["market"], moment, int(name["again"] or 0)


def series_of(wanted: Iterable[Path]) -> list[list[Step]]:
    """The wanted files and those before them, in series without a break; a file of unknown position is alone."""
    alone: list[list[Step]] = []
    by_market: dict[tuple[Path, str], list[Path]] = {}
    for path in wanted:
        position = _position(path)
        if position is None:
            alone.append([(path, True)])
        else:
            by_market.setdefault((path.parent, position[0]), []).append(path)
    return alone + [steps for (folder, market), paths in by_market.items() for steps in _series(folder, market, paths)]


def _series(folder: Path, market: str, wanted: Sequence[Path]) -> Iterator[list[Step]]:
    names = {path.name for path in wanted}
    positions = [(*at[1:], path) for path in folder.iterdir() if (at := _position(path)) and at[0] == market]
    steps: list[Step] = []
    needed_by: dt.datetime | None = None  # the file that needs the one before it
    for moment, _, path in sorted(positions, reverse=True):
        if path.name in names:
            needed_by = None if _begins_with_checkpoint(path) else moment
            steps.append((path, True))
        elif needed_by and needed_by - moment <= LOOK_BACK:
            steps.append((path, False))
            needed_by = None if _begins_with_checkpoint(path) else needed_by
        elif steps:
            yield steps[::-1]
            steps = []
    if steps:
        yield steps[::-1]


def _begins_with_checkpoint(path: Path) -> bool:
    try:
        return open_capture(path).begins == "checkpoint"
    except Exception:  # border: whatever it is, the load of this file reports it
        return False


class _SeriesLoad:
    """Loads the files of one series through one feed."""

    def __init__(
        self, client: Client, exchange: Exchange | None, market_type: MarketType | None, lists: Sequence[Path]
    ) -> None:
        self._client, self._lists = client, lists
        self._exchange, self._market_type = exchange, market_type
        self._feed: Feed | None = None
        self._session: CaptureSession | None = None  # of the feed
        self._source: Source | None = None  # of the feed
        self._updates: Counter[str] = Counter()  # of books, by instrument
        self._opened: set[int] = set()  # connections that were opened in what was read

    def load(self, path: Path, wanted: bool) -> FileReport | None:
        """Read a file and insert its records; None for one that is only read for those after it."""
        notes: list[str] = []
        sink = RecordBatches(self._client, path.name) if wanted else None
        error = error_of(lambda: self._read(path, sink, notes))
        if error:
            log.warning("capture_failed", file=path.name, error=error)
        if sink is None:
            self._take_unbased()
            return None
        notes += self._add_unbased(sink)
        error = error_of(sink.flush) or error
        return FileReport.of(path, sink, error, notes)

    def _read(self, path: Path, sink: "RecordBatches | None", notes: list[str]) -> None:
        capture, source = open_capture(path), None
        try:
            for entry in capture.entries():
                made: list[Outcome] = []
                if source is None:
                    source = capture.venue(self._exchange, self._market_type)
                    made = self._continue(capture, source, entry.ts_recv)
                assert self._session
                made += self._session.take(entry, recorded=capture.records)
                if entry.kind == "open":
                    self._opened.add(entry.connection)
                if sink is not None:
                    for outcome in (*made, *self._busy_books(made, entry.ts_recv)):
                        sink.add(outcome, entry.raw)
            if unknown := self._without_value():
                cause = "no list of instruments has their contracts, name one with --instruments"
                notes.append(f"{path}: sizes of {unknown} in base units are not known: {cause}")
        finally:
            for gap in self._session.ended() if self._session else ():
                if sink is not None:
                    sink.add(gap)
            self._updates.clear()
            notes += capture.notes

    def _continue(self, capture: Capture, source: Source, ts_recv: int) -> list[Outcome]:
        """Keep the books of the file before, or none where that was of another market, or of an earlier run.

        Gaps of the sockets of an earlier run, where the collector does not say what it missed.
        """
        same = source == self._source
        if not same or capture.begins in ("run", "resumed"):
            self._opened.clear()
        if same and self._session and capture.begins == "run":
            return self._session.restarted(ts_recv)
        if not same or capture.begins == "resumed":
            self._feed, self._source = feed_of(*source, str(capture.path), self._lists), source
            self._session = CaptureSession(self._feed, source)
        return []

    def _busy_books(self, made: Iterable[Outcome], ts_recv: int) -> list[OrderBook]:
        """The whole books of instruments with many updates since the file began, or since this was done."""
        books: list[OrderBook] = []
        for outcome in made:
            if isinstance(outcome, OrderBook) and outcome.kind == "delta":
                self._updates[outcome.instrument] += 1
                if self._updates[outcome.instrument] >= CHECKPOINT_UPDATES and self._feed:
                    self._updates[outcome.instrument] = 0
                    states = [one for one in self._feed.books.values() if one.instrument.name == outcome.instrument]
                    books += filter(None, (state.record(ts_recv) for state in states))
        return books

    def _without_value(self) -> str:
        """The first instruments whose contracts no list has."""
        instruments = self._feed.instruments if self._feed else None
        if instruments is None:
            return ""
        named = sorted(instruments.keys() - instruments.known.keys())
        found = (name for name in named if (one := instruments[name]).unit == "contracts" and not one.contract_value)
        return ", ".join(islice(found, 5))

    def _take_unbased(self) -> list[tuple[BookState, Unbased]]:
        books = list(self._feed.books.values()) if self._feed else []
        taken = [(state, state.unbased) for state in books]
        for state in books:
            state.unbased = None
        return [(state, changes) for state, changes in taken if changes]

    def _add_unbased(self, sink: RecordBatches) -> list[str]:
        """Add gaps of the changes of this file that no snapshot is below of; what to say of them.

        A book whose socket was opened in these files begins with its first snapshot, and lacks nothing.
        """
        never = 0
        for state, changes in self._take_unbased():
            based = state.status != "waiting"  # a snapshot has come since
            if based and changes.connection in self._opened:
                continue
            never += not based
            ids = None, changes.first_id, changes.ts_from, changes.ts_to
            sink.add(Gap(*state.instrument.key, state.stream, *ids, NO_SNAPSHOT, changes.ts_to if based else None))
        return [f"{never} books without a snapshot: their changes are recorded as gaps"] if never else []
