"""The files of a backup: compressed streams with their hashes, and the manifest that is written last.

A folder without a manifest is no backup, so an interrupted backup is never mistaken for a complete one.
"""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec
import zstandard

from marketdata_assets.backup.errors import BadBackup, FolderInUse, NoBackup

MANIFEST = "manifest.json"
FORMAT = 1
LEVEL = 3
CHUNK = 1 << 20
MODULUS = 1 << 128


class Piece(msgspec.Struct, frozen=True):
    """A file: its name in the folder, its size on disk, and its SHA-256."""

    name: str
    bytes: int
    sha256: str


class Relation(msgspec.Struct, frozen=True):
    """A table or collection: `digest` does not depend on the order of its rows; `made_by` can recreate it."""

    store: str
    name: str
    rows: int
    digest: str
    columns: list[str]
    made_by: str
    pieces: list[Piece]


class Manifest(msgspec.Struct, frozen=True):
    """The contents of a backup; `fresh_bars` are days whose bars match the trades in the backup."""

    format: int
    made: str
    relations: list[Relation]
    fresh_bars: list[str] = []  # msgspec gives each its own

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
    """Create the folder, readable by its owner only. Raises FolderInUse."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise FolderInUse(folder)


def end(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, which makes the files a backup."""
    draft = folder / f"{MANIFEST}.part"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    draft.replace(folder / MANIFEST)


def read(folder: Path) -> Manifest:
    """The manifest. Raises NoBackup."""
    try:
        found = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise NoBackup(folder, f"there is no {MANIFEST}") from None
    except msgspec.DecodeError as error:
        raise NoBackup(folder, f"{MANIFEST}: {error}") from error
    if found.format != FORMAT:
        raise NoBackup(folder, f"it is of format {found.format}, and this version knows {FORMAT}")
    return found


def check(folder: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest. Raises BadBackup."""
    for relation in manifest.relations:
        for piece in relation.pieces:
            path = folder / piece.name
            if Path(piece.name).name != piece.name or not path.is_file():
                raise BadBackup(path, "there is no such file")
            if (size := path.stat().st_size) != piece.bytes:
                raise BadBackup(path, f"has {size} bytes, {piece.bytes} were written")
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != piece.sha256:
                    raise BadBackup(path, "has other bytes than were written")


class _Hashed:
    """A file that keeps the hash of what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


class Writer:
    """Write to a compressed file of the backup."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self._name = name
        self._under = _Hashed(file)
        self._stream = zstandard.ZstdCompressor(level=LEVEL).stream_writer(self._under, closefd=False)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        self._stream.write(data)

    def close(self) -> None:
        self._stream.close()  # type: ignore[no-untyped-call]

    @property
    def piece(self) -> Piece:
        """The file as it was written; read it after closing."""
        return Piece(self._name, self._under.bytes, self._under.hash.hexdigest())


@contextmanager
def writing(folder: Path, name: str) -> Iterator[Writer]:
    """A new file of the backup."""
    with (folder / name).open("xb") as file:
        writer = Writer(name, file)
        yield writer
        writer.close()


def chunks(folder: Path, piece: Piece) -> Generator[bytes, None, None]:
    """What was written to a file, in blocks."""
    with (folder / piece.name).open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        while block := stream.read(CHUNK):
            yield block
