"""Opening captures of every format, and detecting the venue of one that does not name it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.captures import foreign_formats, native_format
from marketdata_assets.exchanges.captures.native_format import SUFFIX, Entry
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
    begins: Literal["run", "checkpoint"] | None = None  # as in its header
    notes: list[str] = field(default_factory=list)
    detected: bool = False  # whether neither the header nor the user has named its venue

    def entries(self) -> Iterator[Entry]:
        """All entries, in file order. Raises BadCapture, where sockets of two markets were opened as well, and
        UnknownVenue at a socket of an unknown address, where the venue was detected.
        """
        self.notes.clear()
        opened: Source | None = None
        for entry in _reader_of(self.path)(self.path, self.notes):
            if entry.kind == "open" and entry.url:
                source = _by_address(entry.url)
                if source is None and self.detected:
                    raise self._unknown(entry.url)
                opened = opened or source
                if source and opened and source != opened:
                    both = " and ".join("-".join(filter(None, one)) for one in (opened, source))
                    raise BadCapture(
                        str(self.path), f"it has sockets of {both}: record each market in a file of its own"
                    )
            yield entry

    def venue(self, exchange: Exchange | None = None, market_type: MarketType | None = None) -> Source:
        """The venue and market as given, else as the file's header says, else as its URLs and messages show.

        A testnet is never read as its main market, nor the other way round. Raises UnknownVenue, UnknownExchange, and
        BadCapture.
        """
        shown = self._shown() if exchange else None
        if exchange and shown:
            name, market = shown
            if name != exchange and venues.main_of(name) == venues.main_of(exchange):
                raise BadCapture(str(self.path), f"it is of {name}, and not of {exchange}")
            if name == exchange and market and market_type not in (None, market):
                raise BadCapture(str(self.path), f"it is of {name}-{market}, and not of {exchange}-{market_type}")
        self.detected = not (exchange or self.exchange)
        if exchange and (market_type or venues.find(exchange).shared_socket):
            return exchange, market_type
        if self.exchange:
            return self.exchange, market_type or self.market_type
        asked: Source | None = None
        unknown = ""
        for entry in islice(_reader_of(self.path)(self.path, []), SCANNED_ENTRIES):
            detected = _by_address(entry.url) if entry.url else _by_message(entry.raw)
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

    def _shown(self) -> Source | None:
        """What the header or an address near the beginning says."""
        if self.exchange:
            return self.exchange, self.market_type
        near = islice(_reader_of(self.path)(self.path, []), NEAR_ENTRIES)
        addresses = (_by_address(entry.url) for entry in near if entry.url and entry.kind != "http")
        return next(filter(None, addresses), None)


def open_capture(path: Path) -> Capture:
    """A capture of any supported format, by its suffix. Raises BadCapture."""
    if not path.is_file():
        raise BadCapture(str(path), "no such file")
    if _reader_of(path) is native_format.entries:
        header = native_format.header_of(path)
        return Capture(path, header.exchange, header.market_type, header.begins)
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


def _by_address(url: str) -> Source | None:
    parts = urlsplit(url)
    address = f"{parts.hostname or ''}{parts.path}?{parts.query}"
    return next(filter(None, (venue.source_of(address) for venue in venues.every())), None)


def _by_message(raw: bytes) -> Source | None:
    return next(filter(None, (venue.recognise(raw) for venue in venues.every())), None)
