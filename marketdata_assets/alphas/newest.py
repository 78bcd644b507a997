"""The newest version of every alpha offered, whatever the order they are offered in.

Which is newer is decided by dateModified as instants (none is oldest); if those are equal, a raw file goes before a
package and a younger file before an older; at last the bytes decide. The bytes lie in a temporary file, so memory
holds an index only. Where alphas come from and where they go is not known here.
"""

import datetime as dt
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from marketdata_assets.alphas.archive import Alpha, compact

OLDEST = dt.datetime.min.replace(tzinfo=dt.UTC)


class Rank(NamedTuple):
    """What makes one version newer than another; two equal ranks need a look at the bytes."""

    modified: dt.datetime
    raw: bool
    mtime_ns: int


class Version(NamedTuple):
    """The version kept of one alpha, and where its bytes are."""

    instant: dt.datetime  # dateCreated, or midnight of the day when it has none
    id: str
    day: dt.date
    rank: Rank
    offset: int
    size: int


class Newest:
    """An index of alphas by id over their bytes in `spool`, an open temporary file that becomes this object's own."""

    def __init__(self, spool: IO[bytes]) -> None:
        self._spool = spool
        self._end = 0
        self._versions: dict[str, Version] = {}

    def offer(self, alpha: Alpha, raw: bool, mtime_ns: int) -> bool:
        """Keep `alpha` if it is the newest of its id so far; False when the id was there already."""
        rank = Rank(alpha.modified or OLDEST, raw, mtime_ns)
        known = self._versions.get(alpha.id)
        if known is not None and rank < known.rank:
            return False
        line = compact(alpha.raw)
        if known is not None and rank == known.rank and (line, alpha.day) <= (self.line(known), known.day):
            return False
        instant = alpha.created or dt.datetime.combine(alpha.day, dt.time(), dt.UTC)
        self._versions[alpha.id] = Version(instant, alpha.id, alpha.day, rank, self._end, len(line))
        self._end += self._spool.write(line)
        return known is None

    def by_day(self) -> dict[dt.date, list[Version]]:
        """What is kept, by day, each in the order of dateCreated and id."""
        days: defaultdict[dt.date, list[Version]] = defaultdict(list)
        for version in self._versions.values():
            days[version.day].append(version)
        return {day: sorted(days[day]) for day in sorted(days)}

    def line(self, version: Version) -> bytes:
        """The bytes of one version, without a newline."""
        self._spool.flush()
        return os.pread(self._spool.fileno(), version.size, version.offset)

    def lines(self, versions: Iterable[Version]) -> Iterator[bytes]:
        """The bytes of `versions`, each with a newline."""
        for version in versions:
            yield self.line(version) + b"\n"
