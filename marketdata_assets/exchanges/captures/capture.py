"""Opening captures of every format, and detecting the venue of one that does not name it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from marketdata_assets.exchanges.captures import foreign_formats, native_format
from marketdata_assets.exchanges.captures.native_format import SUFFIX, Entry
from marketdata_assets.exchanges.errors import BadCapture, UnknownVenue
from marketdata_assets.exchanges.records import Exchange, MarketType

SCANNED_ENTRIES = 20_000  # so many entries are scanned to detect the venue
Venue = tuple[Exchange, MarketType | None]  # OKX and Deribit send all market types over one socket

_BINANCE: dict[MarketType, tuple[str, ...]] = {
    "spot": ("stream", "api", "www", "ws-api", "data-api", "data-stream"),
    "linear": ("fstream", "fapi"),
    "inverse": ("dstream", "dapi"),
    "option": ("eapi", "nbstream"),
}
"""Names of hosts, without the digits at their end."""


@dataclass
class Capture:
    """A capture file. `notes` say what was left out of it, once its entries were read."""

    path: Path
    exchange: Exchange | None = None
    market_type: MarketType | None = None
    notes: list[str] = field(default_factory=list)

    def entries(self) -> Iterator[Entry]:
        """All entries, in file order. Raises BadCapture."""
        self.notes.clear()
        return _reader_of(self.path)(self.path, self.notes)

    def venue(self, exchange: Exchange | None = None, market_type: MarketType | None = None) -> Venue:
        """The venue and market as given, else as the file's header says, else as its URLs and messages show.

        Raises UnknownVenue.
        """
        if exchange and (market_type or exchange != "binance"):
            return exchange, market_type
        if self.exchange:
            return self.exchange, market_type or self.market_type
        for entry in islice(_reader_of(self.path)(self.path, []), SCANNED_ENTRIES):
            detected = _by_address(entry.url) if entry.url else _by_message(entry.raw)
            if detected:
                return detected[0], market_type or detected[1]
        raise UnknownVenue(str(self.path), "no entry shows the venue and market")


def open_capture(path: Path) -> Capture:
    """A capture of any supported format, by its suffix. Raises BadCapture."""
    if not path.is_file():
        raise BadCapture(str(path), "no such file")
    if _reader_of(path) is native_format.entries:
        header = native_format.header_of(path)
        return Capture(path, header.exchange, header.market_type)
    return Capture(path)


def _reader_of(path: Path) -> Callable[[Path, list[str]], Iterator[Entry]]:
    for suffix, read in (
        (SUFFIX, native_format.entries),
        (".ndjson", foreign_formats.json_lines),
        (".txt.gz", foreign_formats.timed_lines),
    ):
        if path.name.endswith(suffix):
            return read
    raise BadCapture(str(path), f"not a capture: names end with {SUFFIX}, .ndjson or .txt.gz")


class _Inside(msgspec.Struct):
    e: str = ""
    ps: str | None = None
    pu: int | None = None
    u: int | None = None


class _Message(msgspec.Struct):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")
    arg: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    jsonrpc: str | None = None


_message = msgspec.json.Decoder(_Message).decode
_inside = msgspec.json.Decoder(_Inside).decode


def _by_address(url: str) -> Venue | None:
    name, _, domain = (urlsplit(url).hostname or "").partition(".")
    if domain in ("binance.com", "binance.vision"):
        label = name.rstrip("0123456789")
        return next((("binance", market_type) for market_type, hosts in _BINANCE.items() if label in hosts), None)
    if domain in ("okx.com", "okex.com"):
        return "okx", None
    return ("deribit", None) if domain == "deribit.com" else None


def _by_message(raw: bytes) -> Venue | None:
    """Binance's markets differ in depth updates and best prices only: `ps` is COIN-M's, spot has no `pu` or `e`."""
    try:
        seen = _message(raw)
        inside = _inside(seen.data) if seen.stream else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if seen.jsonrpc:
        return "deribit", None
    if seen.arg is not msgspec.UNSET:
        return "okx", None
    if inside is None or inside.u is None:
        return None
    if inside.ps is not None:
        return "binance", "inverse"
    if inside.e == "depthUpdate":
        return "binance", "spot" if inside.pu is None else "linear"
    return "binance", "linear" if inside.e else "spot"
