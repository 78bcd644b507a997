"""Opening captures of every format, and detecting the venue of one that does not name it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.captures import foreign_formats, native_format
from marketdata_assets.exchanges.captures.native_format import SUFFIX, Begins, Entry
from marketdata_assets.exchanges.errors import BadCapture, UnknownVenue
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.venue import Source

SCANNED_ENTRIES = 20_000  # so many entries are scanned to detect the venue
NEAR_ENTRIES = 200  # so many may have the address of a socket, where the venue is given


@dataclass
class Capture:
    """A capture file. `notes` say what was left out of it, once its entries were read."""

    path: Path
    exchange: Exchange | None = None
    market_type: MarketType | None = None
    begins: Begins | None = None  # as in its header
    records: bool = False  # as in its header
    notes: list[str] = field(default_factory=list)
    detected: bool = False  # whether neither the header nor the user has named its venue
    _source: Source | None = None  # what its addresses are compared with

    def __post_init__(self) -> None:
        self._source = (self.exchange, self.market_type) if self.exchange else None

    def entries(self) -> Iterator[Entry]:
        """All entries, in file order. Raises BadCapture at an address of another market than that of the file, which
        the first address shows where nothing else says it, and UnknownVenue at a socket of an unknown address, where
        the venue was detected.
        """
        self.notes.clear()
        if not self.path.stat().st_size:
            self.notes.append(f"{self.path}: it has no bytes")
        checked, source = set[str](), self._source
        for number, entry in enumerate(_reader_of(self.path)(self.path, self.notes), 1):
            if self._source != source:
                checked, source = set(), self._source
            if entry.url and entry.url not in checked:
                checked.add(entry.url)
                self._check(entry, number)
                source = self._source
            yield entry

    def _check(self, entry: Entry, number: int) -> None:
        """Compare the address of an entry with the market of the file."""
        found = _by_address(entry.url)
        if not found:
            if self.detected and entry.kind != "http":
                raise self._unknown(entry.url)
            return
        shared = entry.kind == "http" and _is_of_both(found[0][0])
        if shared and (self._source is None or venues.main_of(self._source[0]) == found[0][0]):
            return
        if self._source and not any(_agree(one, self._source) for one in found):
            place = f"{self.path}:{number}" if self.path.suffix == ".ndjson" else f"{self.path}: entry {number}"
            raise BadCapture(
                place,
                f"{entry.url} is of {_named(found[0])}, and the file is of {_named(self._source)}: record each market"
                " in a file of its own",
            )
        self._source = self._source or found[0]

    def venue(self, exchange: Exchange | None = None, market_type: MarketType | None = None) -> Source:
        """The venue and market as given, else as the file's header says, else as its URLs and messages show.

        A testnet is never read as its main market, nor the other way round. Raises UnknownVenue, UnknownExchange, and
        BadCapture.
        """
        self._source = self._venue(exchange, market_type)
        return self._source

    def _venue(self, exchange: Exchange | None, market_type: MarketType | None) -> Source:
        shown, given = self._shown() if exchange else [], (exchange or "", market_type)
        if shown and not any(_agree(one, given) for one in shown):
            pair = [shown[0], given] if shown[0][0] == exchange else [(shown[0][0], None), (given[0], None)]
            raise BadCapture(str(self.path), f"it is of {_named(pair[0])}, and not of {_named(pair[1])}")
        self.detected = not (exchange or self.exchange)
        if exchange and (market_type or venues.find(exchange).shared_socket):
            return exchange, market_type
        if self.exchange:
            return self.exchange, market_type or self.market_type
        asked: Source | None = None
        unknown = ""
        for entry in islice(_reader_of(self.path)(self.path, []), SCANNED_ENTRIES):
            detected = next(iter(_by_address(entry.url)), None) if entry.url else _by_message(entry.raw)
            if entry.kind == "open" and entry.url and not detected:
                unknown = entry.url
            elif detected and unknown and not exchange:
                raise self._unknown(unknown)
            if detected and exchange and not entry.url and detected[0] == venues.main_of(exchange):
                detected = exchange, detected[1]  # a testnet sends what its main market does
            if detected and exchange and detected[0] != exchange:
                continue
            if detected and not (entry.kind == "http" and _is_of_both(detected[0])):
                return detected[0], market_type or detected[1]
            asked = asked or detected
        if asked:
            return asked[0], market_type or asked[1]
        if unknown and not exchange:
            raise self._unknown(unknown)
        sought = f"market of {exchange}" if exchange else "venue and market"
        raise UnknownVenue(str(self.path), f"no entry shows the {sought}")

    def _unknown(self, url: str) -> UnknownVenue:
        return UnknownVenue(str(self.path), f"it has a socket of {url}, which is no address of a known venue")

    def _shown(self) -> list[Source]:
        """What the header or an address near the beginning says."""
        if self.exchange:
            return [(self.exchange, self.market_type)]
        near = islice(_reader_of(self.path)(self.path, []), NEAR_ENTRIES)
        addresses = (_by_address(entry.url) for entry in near if entry.url and entry.kind != "http")
        return next(filter(None, addresses), [])


def open_capture(path: Path) -> Capture:
    """A capture of any supported format, by its suffix. Raises BadCapture."""
    if not path.is_file():
        raise BadCapture(str(path), "no such file")
    if _reader_of(path) is native_format.entries:
        header = native_format.header_of(path)
        return Capture(path, header.exchange, header.market_type, header.begins, header.records)
    return Capture(path)


def _reader_of(path: Path) -> Callable[[Path, list[str]], Iterator[Entry]]:
    for suffix, read in (
        (SUFFIX, native_format.entries),
        (".ndjson", foreign_formats.json_lines),
        (".txt.gz", foreign_formats.timed_lines),
    ):
        if path.name.lower().endswith(suffix):
            return read
    raise BadCapture(str(path), f"not a capture: names end with {SUFFIX}, .ndjson or .txt.gz")


def _is_of_both(exchange: Exchange) -> bool:
    """Whether a host of REST is that of the testnet too, so that only a socket shows which of them it is."""
    testnet = venues.find(exchange).testnet
    return testnet is not None and bool(testnet.headers)


def _agree(one: Source, other: Source) -> bool:
    return one[0] == other[0] and (one[1] == other[1] or None in (one[1], other[1]))


def _named(source: Source) -> str:
    return "-".join(filter(None, source))


def _by_address(url: str) -> list[Source]:
    parts = urlsplit(url)
    address = f"{parts.hostname or ''}{parts.path}?{parts.query}"
    return next(filter(None, (venue.sources_of(address) for venue in venues.every())), [])


def _by_message(raw: bytes) -> Source | None:
    return next(filter(None, (venue.recognise(raw) for venue in venues.every())), None)
