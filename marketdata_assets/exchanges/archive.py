"""Downloads files of a venue's public archive and verifies their checksums; their rows are read in its folder."""

import asyncio
import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import file_digest
from io import SEEK_END, BytesIO
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from typing import BinaryIO, Self, cast

import httpx

from marketdata_assets.exchanges.errors import BadArchive, VenueUnavailable
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import AnyRecord, DeadLetter, MarketType
from marketdata_assets.http_client import HttpClient, RetriesExhausted, RetryLater, RetryPolicy
from marketdata_assets.input_limits import lines
from marketdata_assets.loading.archives import opened_zip

MISSING = 404
_CHECKSUM = re.compile(rb"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")

ReadLines = Callable[[Iterable[bytes], int], Iterator[AnyRecord | DeadLetter]]
"""The records of the lines of a file, which were received at a time in ns."""


@dataclass(frozen=True)
class ArchivedFile:
    """A file of an archive: its path, and how its lines are read. Next to it is `<path>.CHECKSUM`."""

    path: str
    read: ReadLines


@dataclass(frozen=True)
class PublicArchive:
    """An archive of files by UTC day, and which file has what a stream sends of an instrument and day, if any has.

    The stream is a record type, of candles `kline_` and the interval.
    """

    url: str
    daily_file: Callable[[Instrument, str, dt.date], ArchivedFile | None]

    named: Callable[[str], tuple[str, str] | None]
    """The instrument and the kind of rows that the path of a file says; None for a file of another origin.

    Raises ExchangesError for a file of this archive that has no table.
    """

    market_of: Callable[[str], MarketType | None]
    """The market of a file by its path with slashes; None where neither folders nor name say it."""

    read: Callable[[str, Iterable[bytes], Instrument, int], Iterator[AnyRecord | DeadLetter]]
    """The records of the lines of a file of a kind, which were received at a time in ns."""


class ArchiveClient:
    """The archive of one venue. Files that it lacks are None, as those of days on which nothing was listed."""

    def __init__(self, venue: str, url: str, patience: RetryPolicy) -> None:
        self._venue = venue
        self._server = HttpClient(url, patience)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    async def download(self, path: str) -> tuple[BinaryIO, str] | None:
        """A zip whose checksum is right, to be closed by the caller, and the checksum; None when there is none.

        Raises VenueUnavailable, and BadArchive when the file does not match its checksum.
        """
        checksum = BytesIO()
        if not await self._fetched(f"{path}.CHECKSUM", checksum):
            return None
        file = TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            if not await self._fetched(path, file):
                file.close()
                return None
            file.seek(0)
            digest = await asyncio.to_thread(lambda: file_digest(file, "sha256").hexdigest())
            verify(self._server.url + path, digest, checksum.getvalue())
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file, digest

    async def _fetched(self, path: str, file: BinaryIO) -> bool:
        """Whether the file exists, and then its bytes in `file`."""

        async def attempt() -> httpx.Response | RetryLater:
            response = await self._server.download(path, file)
            if isinstance(response, RetryLater) or response.is_success or response.status_code == MISSING:
                return response
            text = self._server.rejection(response)
            return self._server.retry_later(response, text) or response

        what = f"{self._venue} archive {path}"
        try:
            response = await self._server.call_with_retry(attempt, lambda seconds: None)
        except RetriesExhausted as error:
            raise VenueUnavailable(what, error.attempts, error.cause) from error
        if not response.is_success and response.status_code != MISSING:
            raise BadArchive(self._server.url + path, f"the archive answers with {response.status_code}")
        return response.is_success


def verify(place: str, digest: str, checksum: bytes) -> None:
    """Raise BadArchive where the SHA-256 of a file is not that of its checksum file."""
    wanted = _CHECKSUM.fullmatch(checksum)
    if wanted is None or wanted[2].decode(errors="replace") != PurePosixPath(place).name:
        raise BadArchive(place, f"its checksum file is not one: {checksum[:100]!r}")
    if digest != wanted[1].decode().lower():
        raise BadArchive(place, f"its SHA-256 is {digest}, not that of its checksum file")


def csv_lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of the one member of a zip. Raises BadArchive."""
    try:
        packed = file.seek(0, SEEK_END)
        with opened_zip(cast(BytesIO, file), packed) as zipped:
            members = zipped.namelist()
            if len(members) != 1:
                raise BadArchive(name, f"it has {len(members)} members instead of one CSV")
            with zipped.open(members[0]) as member:
                yield from lines(member)
    except BadArchive:
        raise
    except Exception as error:  # whatever zipfile raises for bytes that are no zip
        raise BadArchive(name, f"the zip cannot be read: {error}") from error
