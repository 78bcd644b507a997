"""Raw files written by hand, and packages read back."""

import datetime as dt
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zstandard

from marketdata_assets.alphas import file_index, layout, packaging
from marketdata_assets.alphas.layout import Kind, Window

ACCOUNT = "lk"
MONTH = "2024-11"


def window(start: str, hours: float = 1) -> Window:
    moment = dt.datetime.fromisoformat(start).replace(tzinfo=dt.UTC)
    return Window(moment, moment + dt.timedelta(hours=hours))


def alpha(
    name: str, created: str | None = "2024-11-27T04:30:00-05:00", modified: str | None = None, **rest: Any
) -> Any:
    return {"id": name, "type": "REGULAR", "dateCreated": created, "dateModified": modified or created, **rest}


def put(
    root: Path, start: str, content: Any, *, hours: float = 1, mtime: int | None = None, kind: Kind = "regular"
) -> Path:
    """A raw slice; bytes are written as they are."""
    return _put(layout.slice_path(root, ACCOUNT, kind, window(start, hours)), content, mtime)


def put_single(root: Path, day: str, name: str, content: Any, *, mtime: int | None = None) -> Path:
    """A file of the old tool's with one alpha."""
    folder = layout.singles_folder(root, ACCOUNT, "regular", day[:7]) / f"{ACCOUNT}_{day}_all_regular_alphas"
    span = f"{day}-09-00-00.000Z_to_{day}-10-00-00.000Z"
    return _put(folder / f"{ACCOUNT}_{span}_regular_alpha_EX1_{name}_0123456789ab.json", content, mtime)


def _put(path: Path, content: Any, mtime: int | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    if mtime is not None:
        os.utime(path, (mtime, mtime))
    return path


def pack(root: Path, month: str = MONTH) -> packaging.PackageReport:
    return packaging.package(root, ACCOUNT, "regular", month)


def write(path: Path, lines: Iterable[bytes]) -> None:
    """A package as it may be delivered: packed when its name says so."""
    content = b"".join(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        zstandard.ZstdCompressor(write_checksum=True).compress(content) if path.suffix == ".zst" else content
    )


def packed(root: Path, month: str = MONTH) -> dict[str, list[Any]]:
    """The documents of each package, by its file name."""
    found = file_index.list_packages(root, ACCOUNT, "regular", [month])
    return {path.name: [json.loads(line) for _, line in packaging.read_package(path)] for path in found}


def names(root: Path, month: str = MONTH) -> dict[str, list[str]]:
    """The ids of each package, by its file name."""
    return {name: [document["id"] for document in documents] for name, documents in packed(root, month).items()}


def on_disk(root: Path) -> dict[str, bytes]:
    """Every file among the packages but locks and marks, with its bytes."""
    folder = root / ACCOUNT / "packages"
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in (".lock", ".packed"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
