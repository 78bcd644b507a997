"""The files of a backup: compressed streams with their hashes, and the manifest that is written last.

A folder without a manifest is no backup, so an interrupted backup is never mistaken for a complete one.
"""

import datetime as dt
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec
import zstandard

from marketdata_assets import state_files
from marketdata_assets.errors import TerminalError
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.progress import report

MANIFEST = "manifest.json"
FORMAT = 2
UNSEALED = 1
"""The format of older backups, whose manifests have no hash of their own."""
LEVEL = 3
CHUNK = 1 << 20
MODULUS = 1 << 128
DATED = "%Y-%m-%dT%H%M%SZ"
_DATED = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z")


class Piece(msgspec.Struct, frozen=True):
    """A file: its name in the folder, its size on disk, and its SHA-256."""

    name: str
    bytes: int
    sha256: str


class Relation(msgspec.Struct, frozen=True):
    """A table or collection: `digest` does not depend on the order of its rows; `made_by` says how it was made.

    Nothing of a manifest is executed: what `made_by` says is read by a grammar of its own, and made by our statements.
    """

    store: str
    name: str
    rows: int
    digest: str
    columns: list[str]
    made_by: str
    pieces: list[Piece]


class Manifest(msgspec.Struct, frozen=True):
    """The contents of a backup; `fresh_bars` are days whose bars match the trades in the backup.

    `sha256` is of all the rest: what was changed afterwards is noticed.
    """

    format: int
    made: str
    relations: list[Relation]
    fresh_bars: list[str] = []  # msgspec gives each its own
    sha256: str = ""

    @property
    def seal(self) -> str:
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(self, sha256=""))).hexdigest()

    def of(self, store: str) -> list[Relation]:
        return [one for one in self.relations if one.store == store]


class Digest:
    """Counts rows and sums their hashes, so that rows in another order have the same digest."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, row: bytes) -> None:
        self.rows += 1
        self._sum += int.from_bytes(hashlib.blake2b(row, digest_size=16).digest(), "little")

    @property
    def text(self) -> str:
        return f"{self._sum % MODULUS:032x}"


def begin(folder: Path) -> None:
    """Create the folder, readable by its owner only. Raises TerminalError."""
    state_files.made_folder(folder)
    if any(folder.iterdir()):
        raise TerminalError(f"{folder} is not empty; name a new folder for each backup, such as {folder}/2026-01-31")


def end(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, which makes the files a backup."""
    sealed = msgspec.structs.replace(manifest, sha256=manifest.seal)
    state_files.write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(sealed), indent=1))


def dated(parent: Path, now: dt.datetime) -> Path:
    """The folder of a backup that starts now, among others."""
    return parent / now.astimezone(dt.UTC).strftime(DATED)


def prune(parent: Path, keep: int) -> list[Path]:
    """Delete the oldest of the dated backups in `parent` until `keep` are left, and interrupted ones before the newest.

    Folders with another name are not touched. Returns what was deleted.
    """
    folders = sorted(one for one in parent.iterdir() if _DATED.fullmatch(one.name) and one.is_dir())
    complete = [one for one in folders if (one / MANIFEST).is_file()]
    kept = complete[-keep:]
    deleted = [one for one in folders if kept and one not in kept and one < kept[-1]]
    for one in deleted:
        (one / MANIFEST).unlink(missing_ok=True)  # first, so that what is left of it is no backup
        shutil.rmtree(one)
    return deleted


def read(folder: Path) -> Manifest:
    """The manifest. Raises TerminalError."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        known = manifest.format in (FORMAT, UNSEALED)
        if known and manifest.relations and manifest.sha256 == (manifest.seal if manifest.format == FORMAT else ""):
            return manifest
        cause = f"it is of format {manifest.format}, and this version knows {FORMAT}"
        if known:
            cause = f"its {MANIFEST} " + ("was changed afterwards" if manifest.relations else "lists no table")
    except FileNotFoundError:
        cause = f"there is no {MANIFEST}"
    except NOT_JSON as error:
        cause = f"{MANIFEST}: {error}"
    raise TerminalError(
        f"{folder} has no complete backup: {cause}. An interrupted backup cannot be restored; take another, or name"
        " the folder that has manifest.json"
    )


def check(folder: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest. Raises TerminalError."""
    for piece in (piece for relation in manifest.relations for piece in relation.pieces):
        path = folder / piece.name
        if Path(piece.name).name != piece.name or not path.is_file():
            cause = "there is no such file"
        elif (size := path.stat().st_size) != piece.bytes:
            cause = f"has {size} bytes, {piece.bytes} were written"
        else:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == piece.sha256:
                    continue
            cause = "has other bytes than were written"
        raise TerminalError(f"{path}: {cause}. Nothing was restored; take the file from another copy of the backup")


def check_rows(folder: Path, one: Relation, rows: Callable[[IO[bytes]], Iterator[bytes]]) -> None:
    """Count and hash the rows in the files of a table. Raises TerminalError when they are not those that were read."""
    digest = Digest()
    for piece in one.pieces:
        with reading(folder, piece) as file:
            for row in rows(file):
                digest.add(row)
    if (digest.rows, digest.text) != (one.rows, one.digest):
        raise TerminalError(
            f"{folder}: the files of {one.store} {one.name} have {digest.rows} rows {digest.text}, the manifest has"
            f" {one.rows} {one.digest}. Use another backup, and take a new one"
        )


def save_each(names: Sequence[str], save: Callable[[str], Relation]) -> list[Relation]:
    """Save one table after the other, with progress."""
    saved = []
    for done, name in enumerate(names):
        report(done, len(names), name)
        saved.append(save(name))
    return saved


def restore_each(
    store: str,
    relations: Sequence[Relation],
    has_rows: Callable[[str], bool],
    restore: Callable[[Relation], tuple[int, str]],
) -> None:
    """Restore one table after the other, with progress, and compare the rows and digest of each with the backup.

    Raises TerminalError before the first when any of them has rows, and when a table differs from the backup.
    """
    if full := [one.name for one in relations if has_rows(one.name)]:
        raise TerminalError(
            f"{store} has rows in {', '.join(full)}; a backup is restored into empty databases only. Name others, or"
            " drop these tables"
        )
    for done, one in enumerate(relations):
        report(done, len(relations), one.name)
        rows, digest = restore(one)
        if (rows, digest) != (one.rows, one.digest):
            raise TerminalError(
                f"{store} {one.name}: the backup has {one.rows} rows or documents {one.digest}, the database has {rows}"
                f" {digest}. Do not use this one; drop it and restore again while nothing else writes"
            )


class Writer:
    """A compressed file of the backup, hashed as it is written."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self._name, self._file = name, file
        self._hash, self._bytes = hashlib.sha256(), 0
        self._compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()

    def write(self, data: bytes) -> None:
        self._put(self._compressor.compress(data))

    def close(self) -> None:
        self._put(self._compressor.flush())

    def _put(self, compressed: bytes) -> None:
        self._hash.update(compressed)
        self._bytes += self._file.write(compressed)

    @property
    def piece(self) -> Piece:
        """The file as it was written; read it after closing."""
        return Piece(self._name, self._bytes, self._hash.hexdigest())


@contextmanager
def writing(folder: Path, name: str) -> Iterator[Writer]:
    """A new file of the backup."""
    handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, state_files.PRIVATE)
    with os.fdopen(handle, "wb") as file:
        writer = Writer(name, file)
        yield writer
        writer.close()


@contextmanager
def reading(folder: Path, piece: Piece) -> Iterator[IO[bytes]]:
    """What was written to a file of the backup, to be read in order."""
    with (folder / piece.name).open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        yield stream


def chunks(folder: Path, piece: Piece) -> Generator[bytes, None, None]:
    """The same in blocks."""
    with reading(folder, piece) as stream:
        while block := stream.read(CHUNK):
            yield block
