"""Fingerprints of the bars of a stock and a year, from the ledgers: equal ones mean that nothing has changed.

A fingerprint is read before the bars, so that bars which change meanwhile are exported once more, never once less.
"""

import hashlib
from collections.abc import Sequence

import polars as pl

from marketdata_assets.export.folder import FORMAT
from marketdata_assets.read.bar_sources import in_files
from marketdata_assets.read.bars import Factors, Reader
from marketdata_assets.read.resampling import VALUES
from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.postgres import naming_failures

Versions = dict[str, dict[int, str]]
"""By code and year."""

MINUTES = """
    SELECT c.code, extract(year FROM c.month)::int, md5(string_agg(concat_ws(' ', c.source, c.unit, c.month, c.first,
        c.last, c.rows, c.superseded, c.delivered, l.content_hash), ',' ORDER BY c.month, c.source, c.unit))
    FROM stock_1min_coverage c LEFT JOIN marketdata_ledger l
        ON l.dataset = 'stock_1min_qfq' AND l.source = c.source AND l.unit = c.unit
    WHERE %(codes)s::text[] IS NULL OR c.code = ANY(%(codes)s) GROUP BY 1, 2
"""
DAILY = f"""
    SELECT code, extract(year FROM trade_date)::int,
        concat(count(*), ' ', sum(hashtextextended(concat_ws(' ', trade_date, {", ".join(VALUES)}), 0)))
    FROM stock_daily WHERE %(codes)s::text[] IS NULL OR code = ANY(%(codes)s) GROUP BY 1, 2
"""


def of(reader: Reader, codes: Sequence[str] | None, factors: Factors | None) -> Versions:
    """The fingerprint of each stock and year that the source has bars of, with the factors that they depend on."""
    query = reader.query
    if query.source == "ticks":
        rows = _of_ticks(reader, codes)
    else:
        named = codes if codes is None or query.source == "minutes" else [in_files(code) for code in codes]
        with naming_failures():
            sql = MINUTES if query.source == "minutes" else DAILY
            rows = reader.connection.execute(sql.encode(), {"codes": None if named is None else list(named)}).fetchall()
    codes_by_name = {code if query.source != "daily" else in_files(code): code for code in reader.loaded(codes)}
    changes = _changes(factors)
    found: Versions = {}
    for name, year, version in sorted(rows):
        if (code := codes_by_name.get(name)) is not None:
            of_code = changes.get(code, [])
            used = [one for one in of_code if query.adjust == "forward" or one[0] <= f"{year}-12-31"]
            found.setdefault(code, {})[year] = digest(FORMAT, version, used)
    if query.freq == "1w":  # a week may have days of two years
        whole = {code: digest(*sorted(years.items())) for code, years in found.items()}
        around = {code: sorted({year + by for year in years for by in (-1, 0, 1)}) for code, years in found.items()}
        found = {code: dict.fromkeys(years, whole[code]) for code, years in around.items()}
    return found


def digest(*parts: object) -> str:
    """A short hash of the text of some values."""
    return hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def _of_ticks(reader: Reader, codes: Sequence[str] | None) -> list[tuple[str, int, str]]:
    ledger = clickhouse_ledger.table(reader.connection, "tick_data", sources=codes).filter(pl.col("rows") > 0)
    years = ledger.select("source", pl.col("unit").str.head(4).cast(pl.Int32).alias("year"), "unit", "content_hash")
    grouped = years.sort("unit").group_by("source", "year").agg(pl.concat_str("unit", "content_hash", separator=" "))
    return [(source, year, digest(*units)) for source, year, units in grouped.iter_rows()]


def _changes(factors: Factors | None) -> dict[str, list[tuple[str, float]]]:
    """Day and factor of each change, by code and day."""
    found: dict[str, list[tuple[str, float]]] = {}
    for code, day, factor in factors.frame.sort("symbol", "date").iter_rows() if factors else ():
        found.setdefault(code, []).append((str(day), factor))
    return found
