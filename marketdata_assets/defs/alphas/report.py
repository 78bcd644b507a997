"""Reports of the alphas library as Dagster metadata, materialisations and failures.

Numbers come from the reports, the ledger and short queries; nothing is fetched, packaged or imported here.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.alphas import file_index
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.defs.metadata import markdown_table
from marketdata_assets.defs.partition_results import MAX_LISTED, Ended
from marketdata_assets.partitions import Pair, alpha_key, alpha_pair
from marketdata_assets.resources import Mongo

if TYPE_CHECKING:
    import polars as pl

    from marketdata_assets.alphas import fetch, ingest, packaging

MAX_TABLE_ROWS = 500
PARTITION_COUNTS = ("days", "days_written", "duplicates", "rejected", "failed_inputs")
PACKAGE_COUNTS = {
    "days": "days",
    "written": "days_written",
    **{count: count for count in ("documents", "duplicates", "rejected", "failed_inputs")},
}
PREVIEW_ROWS = 8


def api(report: "fetch.AccountsReport") -> dg.AssetObservation:
    """Requests to the API and their results."""
    fetched = report.listed
    return dg.AssetObservation(
        "brain_api",
        metadata={
            "accounts": len({one.account for one in fetched}),
            "requests": sum(one.requests for one in fetched),
            "alphas": sum(one.alphas for one in fetched),
            "windows_failed": sum(one.count("failed") for one in fetched),
        },
    )


def of_files(report: "fetch.AccountsReport") -> Ended:
    """Requested and delivered windows, by partition."""
    fetched = report.listed
    metadata: dict[str, Any] = {
        "partitions_fetched": report.count("fetched"),
        "partitions_kept": report.count("kept"),
        "partitions_failed": report.count("failed"),
        "alphas": sum(one.alphas for one in fetched),
        **{f"windows_{end}": sum(one.count(end) for one in fetched) for end in ("ok", "empty", "failed")},
        "slices_superseded": sum(one.superseded for one in fetched),
        "requests": sum(one.requests for one in fetched),
        "seconds": round(report.seconds, 2),
    }
    notes = list(dict.fromkeys(month.note for month in report.months if month.outcome == "kept" and month.note))
    if notes:
        metadata["not_fetched"] = dg.MetadataValue.md("\n".join(f"- {note}" for note in notes[:MAX_LISTED]))
    by_key: dict[str, Any] = {
        alpha_key(month.account, month.month): _fetched(month, month in fetched) for month in report.months
    }
    failed: dict[str, str] = {alpha_key(month.account, month.month): month.note for month in report.failed}
    return Ended(metadata, by_key, failed)


def _fetched(month: "fetch.MonthReport", listed: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"fetched": month.outcome == "fetched", "raw_files": month.files}
    if month.note:
        found["note"] = month.note
    if listed:
        found |= {
            "alphas": month.alphas,
            "windows_ok": month.count("ok"),
            "windows_empty": month.count("empty"),
            "windows_stayed": month.finished,
            "requests": month.requests,
        }
    return found


def of_packages(report: "packaging.PackagingReport") -> Ended:
    """Days, documents, duplicates and rejects, by partition and kind."""
    metadata: dict[str, Any] = {
        name: sum(month.total(count) for month in report.months) for name, count in PACKAGE_COUNTS.items()
    }
    for kind in KINDS:
        of_kind = [package for month in report.months for package in month.reports if package.kind == kind]
        metadata[f"{kind}_documents"] = sum(package.documents for package in of_kind)
    metadata["seconds"] = round(report.seconds, 2)
    by_key: dict[str, Any] = {
        alpha_key(month.account, month.month): {
            "dagster/partition_row_count": month.total("documents"),
            **{count: month.total(count) for count in PARTITION_COUNTS},
        }
        for month in report.months
    }
    failed: dict[str, str] = {
        alpha_key(month.account, month.month): "; ".join(month.errors[:3]) for month in report.failed
    }
    return Ended(metadata, by_key, failed)


def of_import(mongo: Mongo, report: "ingest.AccountsReport") -> Ended:
    """Counts of the import; documents by partition as the ledger has them."""
    from marketdata_assets.alphas import status
    from marketdata_assets.alphas.importer import database_name
    from marketdata_assets.stores import mongo_ledger

    name = database_name(report.kind)
    seconds, documents = report.seconds, report.total("read")
    counts = ("inserted", "updated", "rejected", "skipped")
    metadata: dict[str, Any] = {"documents": documents, **{count: report.total(count) for count in counts}}
    metadata |= {
        "unchanged": report.total("unchanged"),
        "packages": sum(len(account.units) for account in report.reports.values()),
        "packages_unchanged": report.unchanged,
        "documents_per_second": round(documents / seconds) if seconds else 0,
        "seconds": round(seconds, 2),
    }
    rows: dict[Pair, status.MonthRows] = {}
    if report.reports:
        with mongo.databases() as databases:
            ledger = status.by_account(mongo_ledger.entries(databases[name], name))
            metadata["preview"] = _preview(databases[name], report)
        rows = {(one, month): row for one in ledger for month, row in status.by_month(ledger[one]).items()}
        metadata["dagster/row_count"] = sum(row.documents for row in rows.values())
    by_key: dict[str, Any] = {
        alpha_key(*pair): {
            "dagster/partition_row_count": rows[pair].documents if pair in rows else 0,
            "rejected": rows[pair].rejected if pair in rows else 0,
        }
        for pair in report.pairs
    }
    failed: dict[str, str] = {alpha_key(*pair): cause for pair, cause in report.failed.items()}
    return Ended(metadata, by_key, failed)


def covered(root: Path, pairs: Iterable[Pair]) -> list[Pair]:
    """Those of `pairs` that have a raw file or a package: an answer without alphas is a raw file too."""
    known: dict[str, set[str]] = {}
    for account, own in file_index.months_by_account(pairs).items():
        known[account] = file_index.months_on_disk(root, account) & set(own)
    return [(account, month) for account, months in known.items() for month in sorted(months)]


def of_covered(root: Path, ended: Ended) -> Ended:
    """The same without the partitions of which nothing is known: no failure, no row and no file."""
    known: set[str] = {*ended.failed, *(alpha_key(*pair) for pair in covered(root, map(alpha_pair, ended.by_key)))}
    filled = {key for key, own in ended.by_key.items() if own.get("dagster/partition_row_count")}
    return replace(ended, by_key={key: own for key, own in ended.by_key.items() if key in known | filled})


def _preview(database: Any, report: "ingest.AccountsReport") -> dg.MarkdownMetadataValue:
    """The newest alphas of the run's accounts, without their expressions."""
    paths = ("id", "dateCreated", "settings.region", "settings.universe", "is.sharpe", "is.fitness", "is.turnover")
    accounts = [*report.reports][:PREVIEW_ROWS]
    rows: list[list[Any]] = []
    for account in accounts:
        found = database[account].find({}, dict.fromkeys(paths, 1)).sort("dateCreated", -1)
        newest = found.limit(max(1, PREVIEW_ROWS // len(accounts)))
        rows += ([account, *(_leaf(one, path) for path in paths)] for one in newest)
    return markdown_table(["account", *(path.rpartition(".")[2] for path in paths)], rows)


def _leaf(document: Any, path: str) -> Any:
    value = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def summary(alphas: "pl.DataFrame") -> dg.MaterializeResult:
    """The table by account, kind, month and region, the newest months first, and pictures."""
    from marketdata_assets.alphas.summary import pictures, spread

    spreads = spread(alphas).sort("month", "account", "kind", "region", descending=[True, False, False, False])
    shown, by_region = spreads.head(MAX_TABLE_ROWS), spread(alphas, ["account", "kind", "region"])
    metadata: dict[str, Any] = {
        "dagster/row_count": spreads.height,
        "alphas": alphas.height,
        "accounts": alphas["account"].n_unique(),
        "months": alphas["month"].n_unique(),
        "table": markdown_table(shown.columns, shown.iter_rows()),
        "by_region": markdown_table(by_region.columns, by_region.iter_rows()),
    }
    metadata |= {name: dg.MetadataValue.md(picture) for name, picture in pictures(alphas).items()}
    return dg.MaterializeResult(metadata=metadata)
