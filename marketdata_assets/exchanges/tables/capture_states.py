"""Which captures of a folder are loaded, as the ledger says: what status shows, and the nightly repair loads.

A run that was killed wrote nothing about its files, and runs are deleted after a while; a file without an entry is due.
"""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from marketdata_assets.exchanges.tables.captures import LEDGER, captures_in
from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.clickhouse_ledger import Load

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

State = Literal["ok", "empty", "missing", "stale", "failed"]
"""`missing` was never loaded; `stale` was modified after it was."""


@dataclass(frozen=True)
class CaptureState:
    """One file of the folder; `error` is that of the last attempt, where it failed."""

    path: Path
    state: State
    error: str | None = None


def states(client: "Client", folder: Path) -> list[CaptureState]:
    """The captures of a folder, by name. The ledger must exist."""
    loads = {load.source: load for load in clickhouse_ledger.entries(client, LEDGER.dataset)}
    files = captures_in(folder)
    names = Counter(path.name for path in files)
    found = []
    for path in files:
        load = loads.get(path.name)
        if load is not None and load.outcome == "failed" and LEDGER.all_loaded(client, [path]):
            found.append(CaptureState(path, "ok"))  # its content was loaded under another name
        elif (
            load is not None
            and names[path.name] > 1
            and load.outcome != "failed"
            and not LEDGER.all_loaded(client, [path])
        ):
            found.append(CaptureState(path, "missing"))  # another file of this name was loaded
        else:
            found.append(_state(path, load))
    return found


def due(found: Sequence[CaptureState]) -> list[Path]:
    """The files that a run would load."""
    return [one.path for one in found if one.state in ("missing", "stale", "failed")]


def failures(client: "Client", limit: int) -> list[dict[str, str]]:
    """Up to `limit` captures whose last load failed, the newest first, of whatever folder: as rows of a quarantine."""
    loads = [load for load in clickhouse_ledger.entries(client, LEDGER.dataset) if load.outcome == "failed"]
    loads.sort(key=lambda load: load.finished, reverse=True)
    reason = "{} (load failed at {:%Y-%m-%d %H:%M} UTC)"
    return [
        {
            "dataset": LEDGER.dataset,
            "place": load.source,
            "reason": reason.format(load.error or "failed", load.finished),
            "raw": "",
        }
        for load in loads[:limit]
    ]


def _state(path: Path, load: Load | None) -> CaptureState:
    if load is None:
        return CaptureState(path, "missing")
    if load.outcome == "failed":
        return CaptureState(path, "failed", load.error)
    try:
        modified = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
    except FileNotFoundError:  # since it was listed
        modified = load.started
    if modified > load.started:
        return CaptureState(path, "stale")
    return CaptureState(path, "empty" if load.outcome == "empty" else "ok")
