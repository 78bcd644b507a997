"""What a venue's feed offers: bytes in, outcomes out. Live traffic, captures and history go through the same feed."""

from collections.abc import Iterable
from typing import Protocol

from marketdata_assets.exchanges.books import BookState, ResyncRequest
from marketdata_assets.exchanges.checkpoints import FeedCheckpoint
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.records import Outcome


class Feed(Protocol):
    """The messages of one market, or of all markets of a venue that share a socket. No method raises."""

    books: dict[str, BookState]
    resync_requests: dict[str, ResyncRequest]  # by the key of the book

    @property
    def instruments(self) -> Instruments: ...

    def push(self, raw: bytes, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of a message of the socket with this number."""

    def push_all(self, raws: Iterable[bytes], ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of messages that came together, one after the other."""

    def answer(self, url: str, raw: bytes, ts_recv: int) -> list[Outcome]:
        """What becomes of the response of REST to a request to `url`; a list of instruments updates `instruments`."""

    def reopened(self, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What it means that the socket with this number was opened again."""

    def checkpoint(self) -> list[FeedCheckpoint]:
        """What another feed needs to continue between two messages; fast, as it is called while messages wait."""

    def restore(self, raw: bytes, ts_recv: int) -> list[Outcome]:
        """Continue from a checkpoint as it is in captures: records of the books, and gaps that end there."""

    def forget(self, instrument: str) -> None:
        """Drop the books of an instrument that nobody follows any more."""

    def stream_of(self, raw: bytes) -> str:
        """The stream of a message, without the instrument, for counting."""
