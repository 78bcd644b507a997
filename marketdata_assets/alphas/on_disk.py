"""What lies in each account's folder, month by month: whether it was fetched whole, and whether it is packaged.

Names, sizes and times of files are read, as in `watch`. What MongoDB has of it is the business of `status`.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from marketdata_assets.alphas import packing, slices, watch
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.alphas.slices import Slice
from marketdata_assets.alphas.windows import month_window

State = Literal["ok", "empty", "missing", "stale"]
_RANK: dict[State, int] = {"empty": 0, "ok": 1, "missing": 2, "stale": 3}
_NOTHING = len("[]")


@dataclass(frozen=True)
class FolderStatus:
    """Raw files or packages of an account, both kinds together: a month is what the worse of its kinds is."""

    asset: Literal["alpha_files", "alpha_packages"]
    account: str
    states: Mapping[str, State]
    files: int


def overview(root: Path, now: dt.datetime) -> list[FolderStatus]:
    """Raw files of every account that has any, then packages.

    Raw files: `missing` when no slice that was written after its end holds a part of the month; of the running month
    only what lies before its newest slice counts. `empty` months hold no alpha. Packages: `missing` when a month with
    raw files was never packaged, `stale` when its raw files have changed since.
    """
    accounts = watch.accounts_on_disk(root)
    fetched = [_fetched(root, account, now) for account in accounts]
    packaged = [_packaged(root, account) for account in accounts]
    return [one for one in fetched + packaged if one.states]


def _fetched(root: Path, account: str, now: dt.datetime) -> FolderStatus:
    states: dict[str, State] = {}
    files = 0
    for kind in KINDS:
        by_month = slices.by_month(root, account, kind)
        for month, (count, size, _) in watch.raw_states(root, account, kind).items():
            files += count
            state: State = "empty" if size <= count * _NOTHING else "ok"
            _worse(states, month, "missing" if _holes(month, by_month.get(month, ()), now) else state)
    return FolderStatus("alpha_files", account, dict(sorted(states.items())), files)


def _holes(month: str, pieces: Sequence[Slice], now: dt.datetime) -> bool:
    """Whether a part of the month is in no finished slice; an old archive's single files, which have no windows, do."""
    whole = month_window(month)
    if not pieces:
        return False
    if whole.end > now:
        whole = whole.until(max(piece.window.end for piece in pieces)) or whole
    return bool(slices.missing(whole, pieces))


def _packaged(root: Path, account: str) -> FolderStatus:
    states: dict[str, State] = {}
    files = 0
    for kind in KINDS:
        raw, packages = watch.raw_states(root, account, kind), watch.package_states(root, account, kind)
        files += sum(count for count, _, _ in packages.values())
        standing: dict[str, State] = dict.fromkeys(raw, "empty")
        standing |= dict.fromkeys(packages, "ok")
        standing |= packing.behind(root, account, kind, raw)
        for month, state in standing.items():
            _worse(states, month, state)
    return FolderStatus("alpha_packages", account, dict(sorted(states.items())), files)


def _worse(states: dict[str, State], month: str, state: State) -> None:
    states[month] = max(states.get(month, "empty"), state, key=_RANK.__getitem__)
