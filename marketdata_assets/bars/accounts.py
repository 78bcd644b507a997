"""What became of the rows of every delivered file: in the table, rejected, or replaced by which newer file."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import psycopg

from marketdata_assets.bars import minutes
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.stores.postgres import statement


@dataclass(frozen=True)
class FileRows:
    """Rows of the months of a file that are loaded; `loaded` ones are in the table, `replaced` are by newer file.

    read = loaded + rejected + duplicates + all replaced, unless a month of the file is due again.
    """

    read: int
    loaded: int
    rejected: int
    duplicates: int
    replaced: Mapping[str, int] = field(default_factory=dict)


def of_files(connection: psycopg.Connection) -> dict[str, FileRows]:
    """The rows of every file on record, by its name below the folder of bars."""
    rows = connection.execute(statement(__package__, "accounts/files.sql"), {"dataset": DATASET}).fetchall()
    replaced = _replaced(connection)
    return {
        source: FileRows(read, loaded, rejected, duplicates, replaced.get(source, {}))
        for source, read, loaded, rejected, duplicates in rows
    }


def _replaced(connection: psycopg.Connection) -> dict[str, Counter[str]]:
    """By older file, how many of its rows are now those of which newer file.

    Where a single newer file has minutes between those of the older one, it has replaced them all; where several have,
    the minutes decide.
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for older, newer, rows in connection.execute(statement(__package__, "accounts/replaced.sql")):
        found[older][newer] += rows
    several = connection.execute(statement(__package__, "accounts/several.sql"))
    for (older, packed, *_), newest_first in groupby(several, key=lambda row: row[:5]):
        left = minutes.unpack(packed)
        for *_, newer, own in newest_first:
            taken = np.isin(left, minutes.unpack(own))
            found[older][newer] += int(taken.sum())
            left = left[~taken]
    return {older: +counts for older, counts in found.items()}
