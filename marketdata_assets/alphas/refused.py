"""What was refused between the raw files and MongoDB, from both places that keep it. Nothing is refused here.

An element of a raw file that is no alpha stands in `rejects.ndjson` beside the packages; a document that MongoDB or our
rules refuse stands in the ledger, in the database it was meant for.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.archive import Reject
from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.package_files import PLAIN, ZSTD, read_package
from marketdata_assets.alphas.packages import REJECTS
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import Quarantined

_rejects = msgspec.json.Decoder(Reject)


@dataclass(frozen=True)
class Refused:
    """One refused alpha. `place` is a path under the alphas folder and a number from 1: of a line or of an element."""

    account: str
    kind: Kind
    place: str
    reason: str
    raw: str


def refused(uri: str, root: Path, accounts: Collection[str], limit: int) -> list[Refused]:
    """Up to `limit` refused alphas of `accounts`: by kind, first those of raw files, then those of packages."""
    found: list[Refused] = []
    with mongo.connect(uri) as client:
        for kind in KINDS:
            for account in accounts:
                found += islice(in_raw_files(root, account, kind), limit)
            name = database_name(kind)
            for row in mongo_ledger.quarantined(client[name], name, limit):
                if row.source in accounts:
                    found.append(Refused(row.source, kind, _place(root, kind, row), row.reason, row.raw))
    return found[:limit]


def in_raw_files(root: Path, account: str, kind: Kind) -> Iterator[Refused]:
    """The elements of an account's raw files that are no alphas."""
    for path in sorted(layout.packages_folder(root, account, kind, "").glob(f"*/{REJECTS}")):
        for _, line in read_package(path):
            reject = _rejects.decode(line)
            yield Refused(account, kind, reject.place, reject.reason, reject.raw)


def _place(root: Path, kind: Kind, row: Quarantined) -> str:
    folder = layout.packages_folder(root, row.source, kind, row.unit[:7])
    suffix = ZSTD if (folder / f"{row.unit}{ZSTD}").exists() else PLAIN
    return f"{(folder / row.unit).relative_to(root)}{suffix}:{row.line}"
