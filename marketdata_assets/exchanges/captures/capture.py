"""One door to captures of every kind, and what can be told of the venue of one that does not say it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from marketdata_assets.exchanges.captures import foreign_formats, native_format
from marketdata_assets.exchanges.captures.native_format import SUFFIX, Entry
from marketdata_assets.exchanges.errors import BadCapture, UnknownVenue
from marketdata_assets.exchanges.records import Exchange, MarketType

LOOKED_AT = 20_000
"""So many entries are looked at for a sign of the venue."""

Venue = tuple[Exchange, MarketType | None]
"""OKX and Deribit send all market types over one socket."""

_BINANCE: dict[str, MarketType] = {
    "stream": "spot",
    "api": "spot",
    "www": "spot",
    "ws-api": "spot",
    "data-api": "spot",
    "data-stream": "spot",
    "fstream": "linear",
    "fapi": "linear",
    "dstream": "inverse",
    "dapi": "inverse",
    "eapi": "option",
    "nbstream": "option",
}


@dataclass
class Capture:
    """A capture file. What had to be left out of it is in `notes`, once its entries were read."""

    path: Path
    exchange: Exchange | None = None
    market_type: MarketType | None = None
    notes: list[str] = field(default_factory=list)

    def entries(self) -> Iterator[Entry]:
        """All entries, in the order of the file. Raises BadCapture."""
        self.notes.clear()
        return _reader_of(self.path)(self.path, self.notes)

    def venue(self) -> Venue:
        """Whose traffic it is: as the file says, else as addresses and messages in it show. Raises UnknownVenue."""
        if self.exchange:
            return self.exchange, self.market_type
        found = _told_by(islice(self.entries(), LOOKED_AT))
        if found is None:
            raise UnknownVenue(str(self.path), "nothing in it says which venue and market it is of")
        return found


def open_capture(path: Path) -> Capture:
    """A capture of any kind that we read, by its name. Raises BadCapture."""
    if not path.is_file():
        raise BadCapture(str(path), "there is no such file")
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
    raise BadCapture(str(path), f"captures end with {SUFFIX}, .ndjson or .txt.gz")


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


def _told_by(entries: Iterable[Entry]) -> Venue | None:
    for entry in entries:
        found = _by_address(entry.url) if entry.url else _by_shape(entry.raw)
        if found:
            return found
    return None


def _by_address(url: str) -> Venue | None:
    host = urlsplit(url).hostname or ""
    name, _, domain = host.partition(".")
    if domain in ("binance.com", "binance.vision"):
        market_type = _BINANCE.get(name.rstrip("0123456789"))
        return ("binance", market_type) if market_type else None
    if domain in ("okx.com", "okex.com"):
        return "okx", None
    return ("deribit", None) if domain == "deribit.com" else None


def _by_shape(raw: bytes) -> Venue | None:
    """Only diffs and best prices of Binance tell its markets apart: `ps` is COIN-M's, spot has neither `pu` nor `e`."""
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
