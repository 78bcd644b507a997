"""One entry of a capture, and the shape of our own files.

A file is a row of zstd frames, so `zstd -dc` shows it. The first frame holds one line of JSON, the header; each other
one holds whole entries, so that what was written before a crash is there and nothing else. An entry is ENTRY and then
its bytes. Addresses are written once: an entry of kind URL gives the address a number, others name it.
"""

from struct import Struct
from typing import Literal

import msgspec

from marketdata_assets.exchanges.records import Exchange, MarketType

SUFFIX = ".capture.zst"
VERSION = 1

Kind = Literal["in", "out", "open", "http"]
"""A message of a socket, one that we sent, a socket that was opened, the answer to a request."""

ENTRY = Struct("<qBIII")
"""Receive time in ns, kind, connection, address, number of bytes."""

URL = 0
KINDS: dict[int, Kind] = {1: "in", 2: "out", 3: "open", 4: "http"}
NUMBERS = {kind: number for number, kind in KINDS.items()}


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the first frame says."""

    capture: int  # VERSION
    exchange: Exchange | None = None
    market_type: MarketType | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One thing that came or went."""

    ts_recv: int  # ns
    kind: Kind
    raw: bytes = b""
    connection: int = 0
    url: str = ""
