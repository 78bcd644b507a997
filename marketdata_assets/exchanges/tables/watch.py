"""Which captures in a folder are new or changed since a look, and left alone long enough; the sensor's whole logic."""

import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from marketdata_assets.exchanges.captures.native_format import SUFFIX

SUFFIXES = (SUFFIX, ".ndjson", ".txt.gz")
MAX_FILES = 200
"""Of a look; more are for the next one."""


@dataclass(frozen=True)
class Seen:
    """Files to load now, and the cursor to keep. `waiting` are left for later: being written, or too many."""

    files: tuple[Path, ...]
    cursor: str
    waiting: tuple[Path, ...]


def captures_in(folder: Path) -> list[Path]:
    """The captures of a folder and those below it, in the order of their names."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.rglob("*") if path.name.endswith(SUFFIXES) and not path.name.startswith("."))
    return sorted(path for path in found if path.is_file() and not any(p.startswith(".") for p in _below(folder, path)))


def look(folder: Path, cursor: str | None, now_ns: int, quiet_seconds: float) -> Seen:
    """Compare the folder with `cursor`. A file younger than `quiet_seconds` is waited for, and keeps no other."""
    before = set(json.loads(cursor)) if cursor else set()
    kept: list[str] = []
    files: list[Path] = []
    waiting: list[Path] = []
    for path in captures_in(folder):
        state = path.stat()
        digest = blake2b(f"{path.relative_to(folder)} {state.st_size} {state.st_mtime_ns}".encode(), digest_size=6)
        if digest.hexdigest() in before:
            kept.append(digest.hexdigest())
        elif now_ns - state.st_mtime_ns < quiet_seconds * 1e9 or len(files) >= MAX_FILES:
            waiting.append(path)
        else:
            files.append(path)
            kept.append(digest.hexdigest())
    return Seen(tuple(files), json.dumps(sorted(kept)), tuple(waiting))


def _below(folder: Path, path: Path) -> tuple[str, ...]:
    return path.relative_to(folder).parts
