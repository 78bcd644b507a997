"""Histories whose rows the venue numbers: rows in the order of their numbers, with a Gap before each hole in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from marketdata_assets.exchanges.errors import BadPage
from marketdata_assets.exchanges.history import Cursor, Row
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import AnyRecord, Gap


@dataclass(frozen=True)
class Numbered:
    """One row and its number."""

    number: int
    time: int  # ns
    records: Sequence[AnyRecord]


def rows(cursor: Cursor, stream: str, one: Instrument, found: Iterable[Numbered]) -> list[Row]:
    """The rows of a page; the cursor's token is the number that comes next. Raises BadPage when numbers go back."""
    made: list[Row] = []
    expected, before = int(cursor.token or 0), cursor.at
    for row in found:
        records: list[AnyRecord | Gap] = [*row.records]
        if row.number < expected:
            raise BadPage(cursor.about, f"number {row.number} where {expected} comes next")
        if 0 < expected < row.number:
            ids, span = (expected - 1, row.number), (before, row.time)
            hole = Gap(one.exchange, one.market_type, one.symbol, one.name, stream, *ids, *span, cause="sequence")
            records.insert(0, hole)
        expected, before = row.number + 1, row.time
        made.append(Row(row.time, str(row.number), records))
    return made
