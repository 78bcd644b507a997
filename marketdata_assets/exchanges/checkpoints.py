"""Checkpoints of a feed: its books and its instruments at a moment between two messages, from which a feed continues.

A capture file that begins with them can be read without the files before it. Writing them into files is the business
of `captures.writer`. What a checkpoint means for a book is defined in `books`.
"""

from typing import Literal

import msgspec

from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Gap, Level


class InstrumentsCheckpoint(msgspec.Struct, frozen=True, tag="instruments"):
    """The instruments that a feed knows."""

    instruments: list[Instrument]


class BookCheckpoint(msgspec.Struct, frozen=True, tag="book"):
    """One book. Levels are in no order.

    {"type": "book", "key": "books:ABC-USDT", "stream": "books", "instrument": {...}, "status": "live", "connection": 2,
     "last_id": 91, "ts_last": 1700000000123000000, "open_gap": null, "bids": [["4.2", "1"]], "asks": [["4.21", "2"]],
     "pending": null}
    """

    key: str  # of the feed's books
    stream: str
    instrument: Instrument
    status: Literal["waiting", "live", "broken"]
    connection: int
    last_id: int | None
    ts_last: int  # ns, receive time of the last update in it
    open_gap: Gap | None
    bids: list[Level]
    asks: list[Level]
    pending: msgspec.Raw = msgspec.Raw(b"null")  # what a venue's sequence rules keep besides


class StateCheckpoint(msgspec.Struct, frozen=True, tag="state"):
    """What a connection has said of an instrument, where a venue sends changes of other things than books."""

    instrument: Instrument
    connection: int
    state: msgspec.Raw


FeedCheckpoint = InstrumentsCheckpoint | BookCheckpoint | StateCheckpoint

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder[FeedCheckpoint](FeedCheckpoint).decode
"""Read one checkpoint. Raises msgspec.MsgspecError."""
