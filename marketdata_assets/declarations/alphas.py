"""The domain `alphas`: alphas of BRAIN accounts, their record sets and catalogues."""

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

from marketdata_assets.domains import Domain
from marketdata_assets.overview import WITH_UNSUPPORTED, Folders, Row, asset_row, files_rows

if TYPE_CHECKING:
    from marketdata_assets.settings import Settings
    from marketdata_assets.stores.mongo import Databases


def files(databases: "Databases", settings: "Settings", _: dt.datetime) -> Folders:
    from marketdata_assets.alphas import status

    return {"raw_alpha_files": status.entries(databases, settings.alphas_folder)}


def rows(databases: "Databases", settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the files; and for every account with files, for raw ones, packages and each kind of document, by
    months that have any."""
    from marketdata_assets.alphas import accounts, fetch_catalogues, fetch_records, filters, status
    from marketdata_assets.alphas.importer import database_name
    from marketdata_assets.alphas.layout import KINDS
    from marketdata_assets.alphas.record_sets import RECORD_SETS
    from marketdata_assets.alphas.rejected import in_raw_files

    root = settings.alphas_folder
    stored = status.in_mongo(databases, root)
    names = sorted({one.account for one in stored})
    chosen = filters.parse(settings.brain_records)
    enabled = [one.key for one in accounts.read(settings.brain_accounts_file) if one.enabled]
    records = fetch_records.statuses(databases, RECORD_SETS, names, chosen, now, enabled)
    shown = files_rows("alphas", files(databases, settings, now))
    for one in (*status.on_disk(root, now), *stored, *records):
        newest = max((month for month, state in one.states.items() if state == "ok"), default=None)
        first = dt.date.fromisoformat(f"{newest}-01") if newest else None
        kinds = [kind for kind in KINDS if one.asset == database_name(kind)]
        rejects = one.rejected
        if kinds:
            rejects = (rejects or 0) + sum(1 for kind in kinds for _ in in_raw_files(root, one.account, kind))
        found = {"account": one.account, "files": one.files, "documents": one.documents, "quarantine": rejects}
        states = Counter[str](one.states.values())
        shown.append(asset_row("alphas", one.asset, states, first, dt.UTC, "%Y-%m", WITH_UNSUPPORTED, **found))
    for one in fetch_catalogues.statuses(databases):
        counted: Row = {"account": one.account, "files": None, "documents": one.documents, "quarantine": None}
        states = Counter[str](one.states.values())
        shown.append(asset_row("alphas", one.asset, states, None, names=WITH_UNSUPPORTED, **counted))
    return shown


def rejected(databases: "Databases", settings: "Settings", limit: int) -> list[Row]:
    """Rejected alphas of every account: elements of raw files, and documents."""
    from marketdata_assets.alphas.file_index import accounts_on_disk
    from marketdata_assets.alphas.rejected import rejected_alphas

    root = settings.alphas_folder
    found = rejected_alphas(databases, root, accounts_on_disk(root), limit)
    return [{"dataset": f"{one.kind}_alphas"} | vars(one) for one in found]


def backed_up(_: "Settings") -> list[str]:
    from marketdata_assets.settings import MONGO_DATASETS

    return [*MONGO_DATASETS]


DOMAIN = Domain(
    "alphas",
    "mongo",
    ("asset", "account", *WITH_UNSUPPORTED, "files", "documents", "newest", "quarantine"),
    "ingest alphas",
    rows,
    files,
    rejected,
    loads={
        "alpha_files": "alphas fetch",
        "alpha_packages": "ingest alphas",
        "alpha_submission_check": "alphas records --set submission_check",
        "alpha_": "alphas records",
        "brain_": "alphas catalogue",
    },
    backed_up=backed_up,
    repairs="marketdata_assets.defs.alphas.automation:repairs",
)
