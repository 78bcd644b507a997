"""Downloaded files into the tables: those of tardis.dev, and those of venues' public archives, each into the ledger.

The records are under the keys of the streams, so a trade that the collector recorded as well is there once. The book of
an instrument and day is of one source: changes without numbers cannot be put in order with those of another one.
"""

import asyncio
import datetime as dt
import re
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from marketdata_assets.exchanges import tardis, venues
from marketdata_assets.exchanges.archive import csv_lines, verify
from marketdata_assets.exchanges.errors import BadInstruments, ExchangesError, UnknownInstrument, UnknownVenue
from marketdata_assets.exchanges.history_clients import HistoryHosts, open_history
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Exchange, Liquidation, MarketType, OrderBook, Outcome, Trade
from marketdata_assets.exchanges.replay import feed_of
from marketdata_assets.exchanges.tables.loaded_files import FileLedger, FileReport, FilesReport, error_of, hash_of
from marketdata_assets.exchanges.tables.rows import RecordBatches
from marketdata_assets.exchanges.tables.schema import day_span, sql
from marketdata_assets.exchanges.venue import Venue
from marketdata_assets.input_limits import lines
from marketdata_assets.loading.archives import gzip_lines
from marketdata_assets.loading.file_ledger import FileEntry, FileState, state_of
from marketdata_assets.loading.files import everything
from marketdata_assets.progress import report as progress
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clients import Client

LEDGER = FileLedger("exchange_dumps", "dump", "dumps-1", (".csv.gz", ".csv", ".zip"))
CHECKSUM = ".CHECKSUM"
UNIT_PARTS = 7  # of a path name a file in the ledger: names alone are not unique among folders by market, type and day


def dumps_in(folder: Path) -> list[Path]:
    """The files of a folder and the folders below it that may be dumps, by name."""
    return [file.path for file in LEDGER.files(folder)]


def others_in(folder: Path) -> list[FileEntry]:
    """What else there is, with the reason for which it is not loaded."""
    others = [
        state_of(one, None, not_taken=LEDGER.not_taken(one.name))
        for one in everything(folder)
        if not one.name.endswith(CHECKSUM)
    ]
    return [one for one in others if one.state is not FileState.DUE]


def _lower_suffix(place: str) -> str:
    """A path whose suffixes are as downloads have them."""
    return re.sub(r"(\.csv)?(\.gz|\.zip)?$", lambda found: found[0].lower(), place, count=1, flags=re.IGNORECASE)


def load_dumps(
    client: Client,
    paths: Iterable[Path],
    hosts: HistoryHosts | None,
    *,
    exchange: Exchange | None = None,
    market_type: MarketType | None = None,
    lists: Sequence[Path] = (),
    run_id: str = "",
    force: bool = False,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> FilesReport:
    """Load files. One whose content is in the ledger is skipped after a hash check, unless `force`.

    An error in one file fails that file only; rows read before it stay. `hosts` give the values of contracts,
    where sizes count contracts; without, such sizes in base units are null. `exchange` and `market_type` are for files
    of public archives that do not name them, `lists` have instruments of a venue whose names alone do not say what they
    are, see `replay`. Idempotent. Raises StoreAway and StoreFull.
    """
    loading = _Load(client, Catalogue(hosts, lists), exchange, market_type)

    def read(due: Sequence[Path]) -> Iterator[FileReport]:
        for done, path in enumerate(due):
            progress(done, len(due), path.name)
            yield loading.file(path)

    return LEDGER.load(client, paths, read, run_id=run_id, force=force, now=now)


@dataclass
class Catalogue:
    """Instruments by name, and with the values of contracts from the venues' lists, each requested once."""

    hosts: HistoryHosts | None
    lists: Sequence[Path] = ()
    _found: dict[tuple[str, str], Instrument] = field(default_factory=dict)
    _listed: dict[tuple[Exchange, MarketType], dict[str, Instrument]] = field(default_factory=dict)

    def of_tardis(self, exchange: str, name: str) -> Instrument:
        """By the name that tardis.dev gives an exchange. Raises UnknownVenue and UnknownInstrument."""
        key = exchange, name
        if key not in self._found:
            for venue in venues.every():
                if exchange in venue.tardis:
                    self._found[key] = self.find(venue, venue.tardis[exchange], name)
                    break
            else:
                known = ", ".join(one for venue in venues.every() for one in venue.tardis)
                raise UnknownVenue(exchange, "its files of tardis.dev are not read", f"Those of {known} are.")
        return self._found[key]

    def find(self, venue: Venue, markets: Iterable[MarketType | None], name: str) -> Instrument:
        """The instrument of the first of some markets that may have the name. Raises UnknownInstrument."""
        for market in markets:
            try:
                derived = venue.feed(market, None, strict=False).instruments[name]
            except UnknownInstrument:
                continue
            if derived.unit != "contracts" or derived.contract_value:
                return derived
            with suppress(BadInstruments):  # which lists of other venues are
                derived = feed_of(venue.name, market, name, self.lists).instruments[name]
            if derived.contract_value or self.hosts is None:
                return derived
            return self._of_list(self.hosts, venue.name, derived.market_type).get(name, derived)
        for market in markets if self.lists else ():
            with suppress(UnknownInstrument):
                return feed_of(venue.name, market, name, self.lists).instruments[name]
        raise UnknownInstrument(venue.name, name)

    def _of_list(self, hosts: HistoryHosts, exchange: Exchange, market_type: MarketType) -> dict[str, Instrument]:
        key = exchange, market_type
        if key not in self._listed:
            self._listed[key] = {one.name: one for one in asyncio.run(_list(hosts, *key))}
        return self._listed[key]


async def _list(hosts: HistoryHosts, exchange: Exchange, market_type: MarketType) -> list[Instrument]:
    async with open_history(hosts, exchange, market_type) as client:
        return list(await client.listed())


@dataclass
class _Load:
    """Loads files, one at a time."""

    client: Client
    catalogue: Catalogue
    exchange: Exchange | None
    market_type: MarketType | None

    def file(self, path: Path) -> FileReport:
        unit = "/".join(path.parts[-UNIT_PARTS:])
        batches, notes = RecordBatches(self.client, unit), list[str]()
        error = error_of(lambda: self._read(path, batches, notes))
        error = error_of(batches.flush) or error
        if error and path.name not in error:
            error = f"{path}: {error}"
        return FileReport.of(path, batches, error, notes, unit)

    def _read(self, path: Path, batches: RecordBatches, notes: list[str]) -> None:
        place = _lower_suffix(path.as_posix())
        kind, day = tardis.type_of(place), tardis.day_of(place)
        checked, unknown = set[tuple[str, ...]](), set[str]()
        with _lines_of(path) as content:
            records = (
                tardis.records(kind, content, self.catalogue.of_tardis, day) if kind else self._archived(path, content)
            )
            for outcome in records:
                if isinstance(outcome, OrderBook) and kind:
                    self._check_source(kind, outcome, checked)
                if isinstance(outcome, Trade | Liquidation) and outcome.size is None:
                    unknown.add(outcome.instrument)
                batches.add(outcome)
        if unknown:
            notes.append(f"{path.name}: sizes of {', '.join(sorted(unknown)[:5])} in base units are not known")

    def _archived(self, path: Path, content: Iterator[bytes]) -> Iterator[Outcome]:
        """The records of a file of a public archive. Raises ExchangesError and UnknownVenue."""
        other = ""
        for venue in venues.every():
            found = venue.archive.named(_lower_suffix(path.as_posix())) if venue.archive else None
            if found and self.exchange not in (None, venue.name):
                other = venue.name
            elif found and venue.archive:
                market_type = venue.archive.market_of(path.as_posix()) or self.market_type
                if market_type is None:
                    cause = f"the market of {path.name} is not known by its folders"
                    raise UnknownVenue(str(path), cause)
                instrument = self.catalogue.find(venue, [market_type], found[0])
                return venue.archive.read(found[1], content, instrument, time.time_ns())
        if other:
            raise ExchangesError(
                f"{path}: by its name of the public archive of {other}, not of {self.exchange}. Leave --exchange out"
            )
        raise ExchangesError(
            f"{path}: by its name neither a file of tardis.dev, as binance-futures_trades_2024-01-01_BTCUSDT.csv.gz,"
            " nor of a venue's public archive, as BTCUSDT-trades-2024-01-01.zip. Keep the names that downloads have"
        )

    def _check_source(self, kind: str, book: OrderBook, checked: set[tuple[str, ...]]) -> None:
        """Raise ExchangesError where the book of an instrument and day is of another source."""
        day = dt.datetime.fromtimestamp((book.ts_event or book.ts_recv) // 10**9, dt.UTC).date()
        about = {"exchange": book.exchange, "market_type": book.market_type, "instrument": book.instrument}
        key = *about.values(), str(day)
        if key in checked:
            return
        checked.add(key)
        [stored] = clickhouse.read(self.client, sql("book_forms"), {**about, **day_span(day)}).to_dicts()
        depth = tardis.depth_of(kind)
        if stored["numbered"]:
            other = "with numbers of updates, as the collector records it"
        elif depth and (stored["changes"] or stored["depth"] > depth):
            other = f"with more than {depth} levels"
        elif not depth and stored["snapshots"] > 1 and not stored["changes"]:
            other = "as snapshots of the best levels"
        else:
            return
        raise ExchangesError(
            f"the book of {book.instrument} of {day} is in exchange_orderbooks {other}; a second source would corrupt"
            " it. Load one of the two, or delete those rows first"
        )


@contextmanager
def _lines_of(path: Path) -> Iterator[Iterator[bytes]]:
    """The lines of a file; a checksum beside it is verified. Raises BadArchive, TooLarge, OSError and EOFError."""
    beside = path.with_name(path.name + CHECKSUM)
    if beside.exists():
        verify(path.as_posix(), hash_of(path), beside.read_bytes())
    suffix = path.suffix.lower()
    if suffix == ".gz":
        yield _whole(path, gzip_lines(path))
        return
    with path.open("rb") as file:
        yield _whole(path, csv_lines(file, path.name) if suffix == ".zip" else lines(file))


def _whole(path: Path, content: Iterator[bytes]) -> Iterator[bytes]:
    """The lines, without a byte order mark. Raises ExchangesError where one of them is several."""
    for number, line in enumerate(content, 1):
        if b"\r" in line.rstrip(b"\r\n"):
            raise ExchangesError(f"{path}: line {number} has a CR within: lines end with LF or CRLF, not with CR alone")
        yield line.removeprefix(BOM_UTF8) if number == 1 else line
