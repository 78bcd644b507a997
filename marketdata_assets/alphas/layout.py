"""Folders and file names under `MARKETDATA_ALPHAS_DIR`, and the windows of UTC time by which alphas are filed.

{account}/primeval_data/all_regular_alphas/                                       raw slices: a JSON array a window
    lk_2024-11-27-09-00-00.000Z_to_2024-11-27-10-00-00.000Z_all_regular_alphas.json
{account}/final_data/lk_2024-11_all_regular_alphas/lk_2024-11-27_all_regular_alphas/   an old archive, a file an alpha
    lk_2024-11-27-09-00-00.000Z_to_..._regular_alpha_AB12345_xVWpJpp_0123456789ab.json
{account}/changed_data/regular/2024-11/xVWpJpp_0123456789ab.json                    single alphas that have changed
{account}/packages/regular/2024-11/2024-11-27.ndjson                              packages: a line an alpha, or .zst
"""

import datetime as dt
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal, get_args

from marketdata_assets.months import month_ranges

SECOND = dt.timedelta(seconds=1)
DAY = dt.timedelta(days=1)

Kind = Literal["regular", "super"]
KINDS: tuple[Kind, ...] = get_args(Kind)

ACCOUNT = re.compile(
    r"(?!\.|system\.|marketdata-|.*\.\.\.)[A-Za-z0-9@._\-\u3400-\u9fff](?:[A-Za-z0-9@._\- \u3400-\u9fff]*"
    r"[A-Za-z0-9@_\-\u3400-\u9fff])?(?<!\.)"
)
"""Valid account names; each is also the name of a folder, a collection and a partition.

Letters, digits, Chinese, and @._- with blanks inside. Names that begin with `marketdata-` are our own collections'.
"""

ACCOUNT_RULE = (
    "use letters, digits, Chinese, @._- and blanks inside; no . at either end, no system. or marketdata- at the start"
)

_STAMP = r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d\.\d{3}Z"
_SLICE = re.compile(rf"_(?P<start>{_STAMP})_to_(?P<end>{_STAMP})_")


@dataclass(frozen=True, order=True)
class Window:
    """From `start` up to but without `end`, both aware, UTC, on whole milliseconds."""

    start: dt.datetime
    end: dt.datetime

    def __str__(self) -> str:
        return f"{stamp(self.start)} to {stamp(self.end)}"

    @property
    def length(self) -> dt.timedelta:
        return self.end - self.start

    @cached_property
    def months(self) -> list[str]:
        """The UTC months that it shares time with, as `YYYY-MM`."""
        last = self.end - dt.timedelta(microseconds=1)
        numbers = range(self.start.year * 12 + self.start.month - 1, last.year * 12 + last.month)
        return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in numbers]

    def overlaps(self, other: "Window") -> bool:
        return self.start < other.end and other.start < self.end

    def until(self, moment: dt.datetime) -> "Window | None":
        """The part before `moment`, in whole seconds; None when nothing is."""
        end = min(self.end, moment.replace(microsecond=0))
        return Window(self.start, end) if end > self.start else None

    def halves(self) -> tuple["Window", "Window"] | None:
        """Both halves, cut at a whole second; None when the window is one second or less."""
        middle = self.start + self.length // (2 * SECOND) * SECOND
        if self.start.microsecond:
            middle = middle.replace(microsecond=0) + SECOND
        if not self.start < middle < self.end:
            return None
        return Window(self.start, middle), Window(middle, self.end)


@cache
def month_window(month: str) -> Window:
    """The UTC month `YYYY-MM`."""
    start = dt.datetime.strptime(month, "%Y-%m").replace(tzinfo=dt.UTC)
    return Window(start, (start + dt.timedelta(days=31)).replace(day=1))


def month_windows(months: Iterable[str]) -> list[Window]:
    """UTC months, adjacent ones as one window."""
    return [Window(month_window(first).start, month_window(last).end) for first, last in month_ranges(months)]


def stamp(moment: dt.datetime) -> str:
    """ISO 8601 with milliseconds and a Z: `2024-11-27T09:00:00.000Z`."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def slices_folder(root: Path, account: str, kind: Kind) -> Path:
    """The folder of an account's raw slices of one kind."""
    return root / account / "primeval_data" / f"all_{kind}_alphas"


def slice_path(root: Path, account: str, kind: Kind, window: Window) -> Path:
    """The file of one raw slice."""
    span = f"{_stamp(window.start)}_to_{_stamp(window.end)}"
    return slices_folder(root, account, kind) / f"{account}_{span}_all_{kind}_alphas.json"


def window_of(name: str) -> Window | None:
    """The window in the name of a slice or of an old single-alpha file; None when it has none."""
    match = _SLICE.search(name)
    if match is None:
        return None
    try:
        start, end = _moment(match["start"]), _moment(match["end"])
    except ValueError:
        return None
    return Window(start, end) if start < end else None


def packages_folder(root: Path, account: str, kind: Kind, month: str) -> Path:
    """The folder of an account's packages of one kind and month."""
    return root / account / "packages" / kind / month


def singles_folder(root: Path, account: str, kind: Kind, month: str) -> Path:
    """The folder of an old archive's single alphas of one month; it has a folder a day."""
    return root / account / "final_data" / f"{account}_{month}_all_{kind}_alphas"


def changed_folder(root: Path, account: str, kind: Kind, month: str) -> Path:
    """The folder of single alphas of one month that were fetched by id, by filters, or since they changed."""
    return root / account / "changed_data" / kind / month


def changed_path(root: Path, account: str, kind: Kind, month: str, alpha_id: str) -> Path:
    """The file of one of them. Ids that differ in case alone, or in what no name should have, have different names."""
    digest = hashlib.md5(alpha_id.encode(), usedforsecurity=False).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9_-]", "_", alpha_id)[:80]
    return changed_folder(root, account, kind, month) / f"{name}_{digest}.json"


def _moment(stamp: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{stamp[:10]}T{stamp[11:].replace('-', ':')}")


def _stamp(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%d-%H-%M-%S.") + f"{moment.microsecond // 1000:03d}Z"
