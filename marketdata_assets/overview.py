"""Rows that say what is loaded of an asset: the basis of `marketdata status`, the metrics and the web page.

Each domain makes its own, in `declarations`. Imports nothing of Dagster, so that the command line starts quickly.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from marketdata_assets import domains
from marketdata_assets.loading.file_ledger import FileEntry, FileState, counts, summary, unsettled
from marketdata_assets.months import EXCHANGE_CLOCK

if TYPE_CHECKING:
    from marketdata_assets.stores.bookkeeping import Quarantined
    from marketdata_assets.ticks.status import State

Row = dict[str, Any]
"""`group` (the domain), `asset`, `partitions` by state, `newest` as text, `newest_at` as an instant, and counts.

A watched folder has a row too: its files by FILE_STATES, in a `summary`, and the first that need something as `named`.
"""

Folders = Mapping[str, Sequence[FileEntry]]
"""The files of each watched folder, by the `asset` of its row."""
STATES = ("ok", "empty", "missing", "stale", "failed")
WITH_UNSUPPORTED = ("ok", "empty", "unsupported", "missing", "stale", "failed")
TICK_STATES: tuple["State", ...] = (
    "ok",
    "empty",
    "provisional",
    "incomplete",
    "unsupported",
    "missing",
    "stale",
    "failed",
)
FILE_STATES = tuple(state.name.lower() for state in FileState)
PROBLEMS = ("failed", "not_taken", "stale", "missing", "due", "disagreements", "open_gaps", "quarantine")
"""Counts of a row that need something, the worst first."""
SHOWN_BY = {
    "failed": "status --due",
    "disagreements": "status",
    "open_gaps": "ingest days",
    "quarantine": "quarantine show {domain}",
}
"""The commands behind `marketdata` that show a problem, by its state."""
NAMED_FILES = 5
SHANGHAI = ZoneInfo(EXCHANGE_CLOCK)


def files_rows(group: str, folders: Folders) -> list[Row]:
    """The rows of watched folders, but for those that have no file."""
    rows = []
    for asset, entries in folders.items():
        states = {state.name.lower(): number for state, number in counts(entries).items()}
        row = asset_row(group, asset, states, None, names=FILE_STATES, rows=None, quarantine=None)
        row |= {"summary": summary(entries), "named": [vars(one) for one in unsettled(entries)[:NAMED_FILES]]}
        rows += [row] if entries else []
    return rows


def asset_row(
    group: str,
    asset: str,
    counts: Mapping[str, int],
    newest: dt.date | None,
    clock: dt.tzinfo = SHANGHAI,
    form: str = "%Y-%m-%d",
    names: Sequence[str] = STATES,
    **others: Any,
) -> Row:
    """The row of an asset, with the counts of the states in `names`; `newest` is of this clock, in this form."""
    states = {state: counts.get(state, 0) for state in names}
    about = {"group": group, "asset": asset, "partitions": sum(states.values()), **states}
    return {**about, "newest": newest and f"{newest:{form}}", "newest_at": newest and instant(newest, clock), **others}


def instant(value: dt.date, clock: dt.tzinfo) -> dt.datetime:
    """A wall-clock time, or the start of a day, as an instant; a time with a time zone is returned as it is."""
    at = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
    return at if at.tzinfo else at.replace(tzinfo=clock)


def rejected_rows(dataset: str, rows: "Iterable[Quarantined]") -> list[Row]:
    """Rejected rows of a dataset as `marketdata quarantine show` has them."""
    return [{"dataset": dataset} | vars(row) | {"place": row.place} for row in rows]


@dataclass(frozen=True)
class Problem:
    """Something of an asset that needs a person or a run: the count that says so, in words, and the command for it."""

    asset: str
    state: str
    count: int
    what: str
    command: str


def problems(rows: Sequence[Row]) -> list[Problem]:
    """What is wrong with the assets of some rows, the worst first."""
    return [
        Problem(
            row["asset"],
            state,
            row[state],
            row.get("summary") or f"{row[state]} of {row['partitions']}",
            _command(row["group"], row["asset"], state, of_files="named" in row),
        )
        for state in PROBLEMS
        for row in rows
        if row.get(state)
    ]


def lines_of(domain: str, rows: Iterable[Row]) -> list[list[Any]]:
    """What the table of a domain shows of its assets; folders are shown apart."""
    assets = (row for row in rows if row["group"] == domain and "named" not in row)
    return [[row[name] for name in domains.find(domain).columns] for row in assets]


def _command(domain: str, asset: str, state: str, *, of_files: bool) -> str:
    about = domains.find(domain)
    load = next((load for name, load in about.loads.items() if asset.startswith(name)), about.load)
    if state == "due":
        return about.load_files or about.load
    command = "files {domain} --state {state}" if of_files else SHOWN_BY.get(state, load)
    return command.format(domain=domain, state=state)
