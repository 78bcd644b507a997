"""The domain `reconciliation`: what minute bars, ticks and daily files say differently of a stock's day."""

import datetime as dt
from typing import TYPE_CHECKING

from marketdata_assets.domains import Domain
from marketdata_assets.overview import SHANGHAI, Row, asset_row

if TYPE_CHECKING:
    import psycopg

    from marketdata_assets.settings import Settings


def rows(connection: "psycopg.Connection", _: "Settings", __: dt.datetime) -> list[Row]:
    """What the sources of A-share days disagree about, by months compared; none when nothing was ever compared."""
    from marketdata_assets.reconciliation.reconcile import TABLE, summary

    found = summary(connection)
    if found.last_compared is None:
        return []
    compared = f"{found.last_compared.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
    others: Row = {"rows": found.disagreements, "disagreements": found.disagreements, "stocks": found.symbols}
    states = {"ok": found.compared, "empty": found.empty}
    return [asset_row(TABLE, TABLE, states, found.newest, last_compared=compared, **others)]


DOMAIN = Domain(
    "reconciliation",
    "postgres",
    ("asset", "ok", "empty", "disagreements", "stocks", "newest", "last_compared"),
    "status --due",
    rows,
    servers=("clickhouse",),
    needs=("bars", "ticks", "flows"),
    make_tables="marketdata_assets.reconciliation.reconcile:ensure",
    backed_up=lambda _: ("reconciliation",),
    repairs="marketdata_assets.defs.reconciliation:repairs",
)
