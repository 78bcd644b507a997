"""Folders and file names under `MARKETDATA_ALPHAS_DIR`.

{account}/primeval_data/all_regular_alphas/                                       raw slices: a JSON array a window
    lk_2024-11-27-09-00-00.000Z_to_2024-11-27-10-00-00.000Z_all_regular_alphas.json
{account}/final_data/lk_2024-11_all_regular_alphas/lk_2024-11-27_all_regular_alphas/   an old archive, a file an alpha
    lk_2024-11-27-09-00-00.000Z_to_..._regular_alpha_AB12345_xVWpJpp_0123456789ab.json
{account}/packages/regular/2024-11/2024-11-27.ndjson                              packages: a line an alpha, or .zst
"""

import datetime as dt
import re
from pathlib import Path
from typing import Literal, get_args

from marketdata_assets.alphas.windows import Window

Kind = Literal["regular", "super"]
KINDS: tuple[Kind, ...] = get_args(Kind)

ACCOUNT = re.compile(r"[A-Za-z0-9@._]+")
"""Valid account names; each is also the name of a folder, a collection and a partition."""

SPAN = re.compile(r"_(?P<first>\d{4}-\d\d)-[^_]*_to_(?P<last>\d{4}-\d\d)-")
"""First and last month in the name of a slice."""

_STAMP = r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d\.\d{3}Z"
_SLICE = re.compile(rf"_(?P<start>{_STAMP})_to_(?P<end>{_STAMP})_")


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


def package_path(root: Path, account: str, kind: Kind, day: dt.date, suffix: str = ".ndjson") -> Path:
    """The package of one UTC day."""
    return packages_folder(root, account, kind, f"{day:%Y-%m}") / f"{day:%Y-%m-%d}{suffix}"


def packages_folder(root: Path, account: str, kind: Kind, month: str) -> Path:
    """The folder of an account's packages of one kind and month."""
    return root / account / "packages" / kind / month


def singles_folder(root: Path, account: str, kind: Kind, month: str) -> Path:
    """The folder of an old archive's single alphas of one month; it has a folder a day."""
    return root / account / "final_data" / f"{account}_{month}_all_{kind}_alphas"


def _moment(stamp: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{stamp[:10]}T{stamp[11:].replace('-', ':')}")


def _stamp(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%d-%H-%M-%S.") + f"{moment.microsecond // 1000:03d}Z"
