"""The declaration of the domain, and its dataset."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketdata_assets import databases
from marketdata_assets.domains import Domain
from marketdata_assets.overview import STATES, asset_row, files_rows, rejected_rows
from marketdata_assets.stores import ledger
from tests.defs.toy_domain import library

if TYPE_CHECKING:
    import dagster as dg

    from marketdata_assets.defs.dataset import Dataset
    from marketdata_assets.defs.partition_results import Ended
    from marketdata_assets.defs.runs import Repair

NAME, FOLDER = "toy", "TOY_FOLDER"


def folder() -> Path:
    return Path(os.environ[FOLDER])


def files(connection: Any, _: object, __: object) -> dict[str, Any]:
    return {f"{library.TABLE}_files": library.entries(connection, folder())}


def rows(connection: Any, settings: object, now: object) -> list[dict[str, Any]]:
    states = Counter(library.states(connection, folder()).values())
    [(count, newest)] = connection.execute(f"SELECT count(*), max(day) FROM {library.TABLE}").fetchall()
    quarantine = len(ledger.quarantined(connection, library.TABLE))
    shown = asset_row(NAME, library.TABLE, states, newest, rows=count, quarantine=quarantine)
    return [*files_rows(NAME, files(connection, settings, now)), shown]


def rejected(connection: Any, _: object, limit: int) -> list[dict[str, Any]]:
    return rejected_rows(library.TABLE, ledger.quarantined(connection, library.TABLE, limit))


def load(months: Sequence[str], run_id: str, committed: Callable[[Sequence[str]], None], force: bool) -> "Ended":
    from marketdata_assets.defs.partition_results import Ended

    with databases.postgres(NAME) as connection:
        loaded = library.load(connection, folder(), months, run_id, committed, force)
    by_month = {one.unit: {"dagster/partition_row_count": one.rows, "rejected": one.rejected} for one in loaded}
    failed = {one.unit: str(one.error) for one in loaded if one.outcome == "failed"}
    return Ended({"rows": sum(one.rows for one in loaded), "seconds": 0.0}, by_month, failed)


def dataset() -> "Dataset":
    import dagster as dg

    from marketdata_assets.defs.dataset import Dataset
    from marketdata_assets.defs.metadata import TRADING_DAYS

    def states() -> Any:
        with databases.postgres(NAME) as connection:
            return library.states(connection, folder())

    return Dataset(
        NAME,
        library.TABLE,
        "Temperatures of stations at noon.",
        library.COLUMNS,
        dg.MonthlyPartitionsDefinition(start_date="2024-01", fmt="%Y-%m", end_offset=1),
        load,
        states,
        lambda: {month: [one.size, one.modified_ns] for month, one in library.delivered(folder()).items()},
        quiet_seconds=0.0,
        code_version=library.VERSION,
        freshness=TRADING_DAYS,
    )


def definitions() -> "dg.Definitions":
    from marketdata_assets.defs import dataset as graph

    return graph.definitions(dataset())


def repairs() -> "list[Repair]":
    from marketdata_assets.defs import dataset as graph

    return [graph.repair(dataset())]


DOMAIN = Domain(
    NAME,
    "postgres",
    ("asset", *STATES, "rows", "newest", "quarantine"),
    "status --due",
    rows,
    files,
    rejected,
    make_tables="tests.defs.toy_domain.library:make_tables",
    backed_up=lambda _: (library.TABLE,),
    definitions="tests.defs.toy_domain.domain:definitions",
    repairs="tests.defs.toy_domain.domain:repairs",
)
