"""Captures into the tables: each file through the code that live traffic goes through, and noted by its content.

What a file goes on from, which are those before it in `series`, is read as well, and nothing of it inserted.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from marketdata_assets.exchanges.captures.capture import Capture, Venue, open_capture
from marketdata_assets.exchanges.errors import BadCapture, UnknownVenue
from marketdata_assets.exchanges.records import AnyRecord, DeadLetter, Exchange, Gap, MarketType, Record
from marketdata_assets.exchanges.replay import Feed, feed_of, outcomes
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import Reject, insert_json, quarantine
from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.clickhouse_ledger import Load

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

import re
from collections.abc import Iterator

from marketdata_assets.exchanges.captures.native_format import SUFFIX

DATASET = "exchange_captures"
UNIT = "capture"
CODE_VERSION = "captures-1"

BATCH_ROWS = 100_000
BATCH_BYTES = 64 << 20
"""Records are inserted when so many are there, or so much of their JSON."""

KEPT_LETTERS = 1000
"""So many messages of a file that could not be read are kept whole; all are counted, and stand in the file."""

CHUNK = 1 << 20

LOOK_BACK = dt.timedelta(hours=25)
"""A venue ends a connection after 24 hours, and lists of instruments are read daily."""

_NAME = re.compile(
    rf"(?P<market>.+)[-_](?P<day>\d{{8}})(?:T(?P<time>\d{{6}}))?(?:-(?P<again>\d+))?(?:{re.escape(SUFFIX)}|\.txt\.gz)"
)
"""Of our captures, and of recordings by day of others."""


@dataclass(frozen=True)
class Step:
    """A file of a series: its records are wanted, or it is only read for what comes after it."""

    path: Path
    wanted: bool


@dataclass(frozen=True)
class _Place:
    path: Path
    market: str
    moment: dt.datetime
    again: int

    @classmethod
    def of(cls, path: Path) -> "_Place | None":
        found = _NAME.fullmatch(path.name)
        if found is None:
            return None
        try:
            moment = dt.datetime.strptime(found["day"] + (found["time"] or "000000") + "+0000", "%Y%m%d%H%M%S%z")
        except ValueError:
            return None
        return cls(path, found["market"], moment, int(found["again"] or 0))


def runs(wanted: Iterable[Path]) -> list[list[Step]]:
    """The files that are wanted, and those before them, in runs; within a run no file that is there is left out."""
    alone: list[list[Step]] = []
    series: dict[tuple[Path, str], list[Path]] = {}
    for path in wanted:
        place = _Place.of(path)
        if place is None:
            alone.append([Step(path, True)])
        else:
            series.setdefault((path.parent, place.market), []).append(path)
    return alone + [run for (folder, market), paths in series.items() for run in _of_series(folder, market, paths)]


def _of_series(folder: Path, market: str, wanted: Sequence[Path]) -> Iterator[list[Step]]:
    names = {path.name for path in wanted}
    places = [place for path in folder.iterdir() if (place := _Place.of(path)) and place.market == market]
    run: list[Step] = []
    next_wanted: dt.datetime | None = None
    for place in sorted(places, key=lambda one: (one.moment, one.again), reverse=True):
        if place.path.name in names:
            next_wanted = place.moment
            run.append(Step(place.path, True))
        elif next_wanted and next_wanted - place.moment <= LOOK_BACK:
            run.append(Step(place.path, False))
        elif run:
            yield run[::-1]
            run = []
    if run:
        yield run[::-1]


Ending = Literal["ok", "empty", "unchanged", "failed"]


@dataclass(frozen=True)
class FileLoaded:
    """What became of one capture. `rows` are by type of record, and may have been in the tables before."""

    path: Path
    outcome: Ending
    rows: dict[str, int] = field(default_factory=dict)
    rejected: int = 0  # records that do not fit into their table
    dead_letters: int = 0  # messages that are not as documented
    notes: tuple[str, ...] = ()  # what had to be left out of the file
    error: str | None = None


@dataclass(frozen=True)
class CapturesReport:
    """What became of each file, in the order in which they were given."""

    files: tuple[FileLoaded, ...]

    @property
    def failed(self) -> tuple[FileLoaded, ...]:
        """Files that could not be read to their end."""
        return tuple(one for one in self.files if one.outcome == "failed")

    @property
    def rows(self) -> dict[str, int]:
        """Rows by type of record."""
        return dict(sorted(sum((Counter(one.rows) for one in self.files), Counter[str]()).items()))


def load_captures(
    client: "Client",
    paths: Iterable[Path],
    *,
    exchange: Exchange | None = None,
    market_type: MarketType | None = None,
    run_id: str = "",
    force: bool = False,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> CapturesReport:
    """Load captures; those whose content the ledger has cost a hash, unless `force`.

    A file that cannot be read fails alone, and what was read of it stays. `exchange` and `market_type` are for files
    that do not say them. Loading again gives the same rows. Raises StoreAway and StoreFull.
    """
    schema.ensure(client)
    clickhouse_ledger.ensure(client)
    given = list(dict.fromkeys(paths))
    done, hashes = _sorted_out(client, given, force)
    for run in runs(hashes):
        loading = _Run(client, (exchange, market_type), force)
        for step in run:
            began = now()
            loaded = loading.take(step)
            if loaded is not None:
                _note(client, loaded, hashes[step.path], run_id, began, now())
                done[step.path] = loaded
    return CapturesReport(tuple(done[path] for path in given))


def _sorted_out(client: "Client", paths: Sequence[Path], force: bool) -> tuple[dict[Path, FileLoaded], dict[Path, str]]:
    """The files that need no loading, and the hashes of the others."""
    loads = clickhouse_ledger.entries(client, DATASET)
    known = {load.content_hash for load in loads if load.outcome in ("ok", "empty")}
    done, hashes = {}, {}
    for path in paths:
        try:
            digest = _digest(path)
        except OSError as error:
            done[path] = FileLoaded(path, "failed", error=f"{path}: {error.strerror or error}")
            continue
        if digest in known and not force:
            done[path] = FileLoaded(path, "unchanged")
        else:
            hashes[path] = digest
    return done, hashes


class _Run:
    """Files that follow one another, through one feed."""

    def __init__(self, client: "Client", told: tuple[Exchange | None, MarketType | None], force: bool) -> None:
        self._client, self._told, self._force = client, told, force
        self._feed: Feed | None = None

    def take(self, step: Step) -> FileLoaded | None:
        """Read a file; what became of it, when it is wanted."""
        into = _Into(self._client, step.path.name, self._force) if step.wanted else None
        notes: list[str] = []
        error = None
        try:
            capture = open_capture(step.path)
            notes = capture.notes
            self._read(capture, into)
        except (BadCapture, UnknownVenue, OSError) as failure:
            error = str(failure)
        if into is None:
            return None
        into.flush()
        ending: Ending = "failed" if error else ("ok" if into.rows else "empty")
        return FileLoaded(
            step.path, ending, dict(sorted(into.rows.items())), into.rejected, into.letters, tuple(notes), error
        )

    def _read(self, capture: Capture, into: "_Into | None") -> None:
        for entry in capture.entries():
            if self._feed is None:
                self._feed = feed_of(*self._venue(capture), str(capture.path))
            made = outcomes(self._feed, entry)
            if into is not None:
                for one in made:
                    if isinstance(one, Record | Gap):
                        into.add(one)
                    elif isinstance(one, DeadLetter):
                        into.add_letter(one)

    def _venue(self, capture: Capture) -> tuple[Exchange | None, MarketType | None]:
        exchange, market_type = self._told
        if exchange and (market_type or exchange != "binance"):
            return exchange, market_type
        venue: Venue = Capture(capture.path, capture.exchange, capture.market_type).venue()
        return venue[0], market_type or venue[1]


class _Into:
    """Records of one file on their way into the tables."""

    def __init__(self, client: "Client", source: str, force: bool) -> None:
        self.rows: Counter[str] = Counter()
        self.rejected = self.letters = 0
        self._client, self._source, self._force = client, source, force
        self._batches: dict[str, list[bytes]] = {}
        self._letters: list[Reject] = []
        self._count = self._bytes = 0
        self._encode = msgspec.json.Encoder().encode

    def add(self, record: AnyRecord | Gap) -> None:
        payload = self._encode(record)
        self._batches.setdefault(str(record.__struct_config__.tag), []).append(payload)
        self._count += 1
        self._bytes += len(payload)
        if self._count >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
            self.flush()

    def add_letter(self, letter: DeadLetter) -> None:
        self.letters += 1
        if self.letters <= KEPT_LETTERS:
            self._letters.append(Reject(letter.cause, letter.raw))

    def flush(self) -> None:
        """Insert what has come so far."""
        for name, payloads in self._batches.items():
            made = insert_json(self._client, name, payloads, source=self._source)
            self.rows[name] += made.rows
            self.rejected += len(made.rejects)
        quarantine(self._client, "message", self._letters, self._source)
        self._batches, self._letters = {}, []
        self._count = self._bytes = 0


def _note(
    client: "Client", loaded: FileLoaded, digest: str, run_id: str, began: dt.datetime, ended: dt.datetime
) -> None:
    total = sum(loaded.rows.values())
    load = Load(
        dataset=DATASET,
        source=loaded.path.name,
        unit=UNIT,
        content_hash=digest,
        previous_hash=None,
        slices=[],
        read=total + loaded.rejected,
        skipped=loaded.dead_letters,
        rows=total,
        rejected=loaded.rejected,
        outcome="failed" if loaded.outcome == "failed" else ("ok" if total else "empty"),
        attempted_hash=digest,
        error=loaded.error,
        code_version=CODE_VERSION,
        run_id=run_id,
        started=began,
        finished=ended,
        origin="",
    )
    if loaded.outcome == "failed":
        clickhouse_ledger.record_attempts(client, [load])
    else:
        clickhouse_ledger.record(client, [load], clickhouse_ledger.next_version(client))


def _digest(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
