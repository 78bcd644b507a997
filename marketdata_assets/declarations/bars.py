"""The domain `bars`: minute bars of A-shares and their monthly K-line."""

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

from marketdata_assets.domains import Domain
from marketdata_assets.months import bar_months
from marketdata_assets.overview import STATES, Folders, Row, asset_row, files_rows, rejected_rows

if TYPE_CHECKING:
    import psycopg

    from marketdata_assets.settings import Settings


def files(connection: "psycopg.Connection", settings: "Settings", now: dt.datetime) -> Folders:
    from marketdata_assets.bars import profiles, status

    shapes = profiles.read(settings.bars_profiles, settings.bars_label)
    return {"minute_bar_files": status.file_entries(connection, settings.bars_folder, bar_months(now), shapes)}


def rows(connection: "psycopg.Connection", settings: "Settings", now: dt.datetime) -> list[Row]:
    """The rows of the files, of minutes and K-line, the last two by months."""
    from marketdata_assets.bars import bases, profiles, status

    shapes = profiles.read(settings.bars_profiles, settings.bars_label)
    survey = status.survey(connection, settings.bars_folder, bar_months(now), shapes)
    stale = bases.known(connection)
    tables = {
        "stock_1min_qfq": (survey.months, status.bars_summary(connection)),
        "stock_monthly_kline": (status.kline_states(connection, survey.months), status.kline_summary(connection)),
    }
    shown = files_rows("bars", {"minute_bar_files": status.with_counts(connection, survey.files)})
    for asset, (known, found) in tables.items():
        others: Row = {"rows": found.rows, "codes": found.codes, "quarantine": found.quarantined}
        others |= {"stale_codes": len(stale), "two_bases": stale}
        shown.append(asset_row("bars", asset, Counter(known.values()), found.newest, **others))
    return shown


def rejected(connection: "psycopg.Connection", _: "Settings", limit: int) -> list[Row]:
    """Rejected rows of minute-bar files."""
    from marketdata_assets.bars.schema import DATASET
    from marketdata_assets.stores.ledger import quarantined

    return rejected_rows(DATASET, quarantined(connection, DATASET, limit))


DOMAIN = Domain(
    "bars",
    "postgres",
    ("asset", *STATES, "rows", "codes", "stale_codes", "newest", "quarantine"),
    "ingest bars",
    rows,
    files,
    rejected,
    make_tables="marketdata_assets.bars.schema:ensure",
    loads={"stock_monthly_kline": "kline refresh"},
    backed_up=lambda _: ("stock_1min_coverage", "stock_1min_days", "stock_1min_qfq", "stock_1min_bases"),
    repairs="marketdata_assets.defs.bars.automation:repairs",
)
