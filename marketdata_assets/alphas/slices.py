"""Raw slices on disk: the response of the API for one window, unchanged. Requests are made in `fetch`.

The files themselves record what is done. A slice is written atomically, and only after its window was read to the end,
so a file that is not older than the end of the window in its name is complete. A killed process leaves each window with
its file or without. The same rule holds for files of an old archive: an hour that the old tool read before it was over
is requested again.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from marketdata_assets.alphas.file_index import Listed, listed
from marketdata_assets.alphas.layout import SECOND, Kind, Window, month_window, slice_path, slices_folder
from marketdata_assets.alphas.raw_files import NoAlpha, alpha_of, elements
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.state_files import replacing

_STALE_PARTIAL_SECONDS = 3600.0


@dataclass(frozen=True, order=True)
class Slice:
    """A raw file and the window in its name."""

    window: Window
    path: Path
    mtime_ns: int

    @property
    def finished(self) -> bool:
        """Whether the file was written after its window had ended."""
        return self.mtime_ns >= int(self.window.end.timestamp() * 1e9)


def write(root: Path, account: str, kind: Kind, window: Window, results: Iterable[bytes]) -> Path:
    """Write the slice of a window that was read to its end: a JSON array of the raw alphas, `[]` without any."""
    path = slice_path(root, account, kind, window)
    with replacing(path, path.with_name(f".{path.name}.{os.getpid()}.partial")) as file:
        file.write(b"[")
        for number, raw in enumerate(results):
            file.write(b",\n" + raw if number else raw)
        file.write(b"]")
    return path


def of_month(root: Path, account: str, kind: Kind, month: str) -> list[Slice]:
    """The slices whose windows share time with the UTC month, in order of their windows."""
    wanted = month_window(month)
    found = listed(root, slices_folder(root, account, kind))
    return sorted(piece for one in found for piece in slices_in(one) if piece.window.overlaps(wanted))


def slices_in(one: Listed) -> list[Slice]:
    """The slices in a listed file: itself, or the members of a zip."""
    if one.single or one.package or one.not_taken or one.found.problem:
        return []
    windows = {window for _, window in one.units()}
    return [Slice(window, one.file.path, one.found.modified_ns) for window in windows if window]


def missing(window: Window, slices: Iterable[Slice]) -> list[Window]:
    """The parts of `window` that no finished slice covers, in whole seconds, in order."""
    return uncovered(window, (piece.window for piece in slices if piece.finished))


def uncovered(window: Window, windows: Iterable[Window]) -> list[Window]:
    """The parts of `window` outside all of `windows`, in order."""
    gaps, reached = [], window.start
    for covered in sorted(windows):
        start, end = covered.start.replace(microsecond=0), covered.end.replace(microsecond=0)
        if start < covered.start:
            start += SECOND
        if end <= reached:
            continue
        if start >= window.end:
            break
        if start > reached:
            gaps.append(Window(reached, start))
        reached = end
    if reached < window.end:
        gaps.append(Window(reached, window.end))
    return gaps


def supersede(
    slices: Iterable[Slice], written: Sequence[Window], holds: Callable[[str], bool], began_ns: int
) -> list[Path]:
    """Remove the slices that `written` ones, which are on disk, have replaced; returns them.

    A slice goes when the written windows cover all of it, it was written before `began_ns` (another process may have
    fetched something newer since) and every element in it is an alpha that is in theirs as `holds` says: what the API
    no longer lists is kept, and so is what was rejected. One that packaging cannot read either is renamed to
    `.json.bad`. Packed files were delivered, and are kept.
    """
    removed = []
    for piece in slices:
        if (
            piece.path.suffix != ".json"
            or piece.window in written
            or piece.mtime_ns >= began_ns
            or uncovered(piece.window, written)
        ):
            continue
        try:
            found = elements(piece.path.read_bytes(), str(piece.path))
            if all(holds(alpha_of(raw, piece.window.start).id) for raw in found):
                piece.path.unlink()
                removed.append(piece.path)
        except NoAlpha:
            continue
        except BadFile:
            removed.append(piece.path.rename(piece.path.with_name(f"{piece.path.name}.bad")))
        except FileNotFoundError:
            continue
    return removed


def sweep(root: Path, account: str, kinds: Collection[Kind]) -> None:
    """Remove partial files of killed processes."""
    for kind in kinds:
        for path in slices_folder(root, account, kind).glob(".*.partial"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _STALE_PARTIAL_SECONDS:
                    path.unlink()
