"""The rejected alphas of raw files and of packages, from both places that keep them.

An element of a raw file that is no alpha is in `.rejects.ndjson` beside the packages; a document that MongoDB or the
validation rejects is in the ledger, in the database it was meant for.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.files import PLAIN, ZSTD, read_package
from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.packaging import REJECTS
from marketdata_assets.alphas.raw_files import Reject
from marketdata_assets.stores import mongo, mongo_ledger

_rejects = msgspec.json.Decoder(Reject)


@dataclass(frozen=True)
class RejectedAlpha:
    """One rejected alpha. `place` is a path under the alphas folder and a number from 1: of a line or of an element."""

    account: str
    kind: Kind
    place: str
    reason: str
    raw: str


def rejected_alphas(
    databases: mongo.Databases, root: Path, accounts: Collection[str], limit: int
) -> list[RejectedAlpha]:
    """Up to `limit` rejected alphas of `accounts` of a kind: first those of raw files, then those of packages."""
    found: list[RejectedAlpha] = []
    for kind in KINDS:
        rows: list[RejectedAlpha] = []
        for account in accounts:
            rows += islice(in_raw_files(root, account, kind), limit)
        name = database_name(kind)
        for row in mongo_ledger.quarantined(databases[name], name, limit):
            if row.source in accounts:
                package = layout.packages_folder(root, row.source, kind, row.unit[:7]) / row.unit
                suffix = ZSTD if package.with_suffix(ZSTD).exists() else PLAIN
                place = f"{package.relative_to(root)}{suffix}:{row.line}"
                rows.append(RejectedAlpha(row.source, kind, place, row.reason, row.raw))
        found += rows[:limit]
    return found


def in_raw_files(root: Path, account: str, kind: Kind, month: str = "*") -> Iterator[RejectedAlpha]:
    """The elements of an account's raw files that are no alphas, of one month or of all."""
    for path in sorted(layout.packages_folder(root, account, kind, "").glob(f"{month}/{REJECTS}")):
        for _, line in read_package(path):
            reject = _rejects.decode(line)
            yield RejectedAlpha(account, kind, reject.place, reject.reason, reject.raw)
