"""`marketdata quarantine show`: rejected rows, their source, and the reason."""

from functools import partial
from typing import Annotated, Any, Literal

import typer

from marketdata_assets.alphas import file_index
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.cli import flows, output, stores
from marketdata_assets.cli.instance import of_each_domain
from marketdata_assets.defs import databases
from marketdata_assets.settings import Settings
from marketdata_assets.stores import ledger
from marketdata_assets.ticks.providers_file import TABLES

Domain = Literal["reference", "bars", "alphas", "ticks", "exchanges", "flows"]
COLUMNS = ("dataset", "place", "reason", "row")
SHOWN_CHARACTERS = 200  # --json prints whole rows


def show(
    dataset: Annotated[
        Domain | None, typer.Argument(help="reference, bars, alphas, ticks, exchanges or flows; all when left out")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="rows of a dataset at most")] = 20,
    as_json: output.Json = False,
) -> None:
    """Show rejected rows: source, reason and content."""
    domains = {
        "reference": reference_rows,
        "bars": bars_rows,
        "alphas": alphas_rows,
        "ticks": ticks_rows,
        "exchanges": exchanges_rows,
        "flows": flows_rows,
    }
    chosen = [dataset] if dataset else [name for name in Settings().domain_names if name in domains]
    rows = of_each_domain(*(partial(domains[name], limit) for name in chosen))
    if as_json:
        output.as_json({"rows": rows})
    else:
        shown = []
        for row in rows:
            place, raw = row["place"], row["raw"]
            if "/primeval_data/" in place or "/final_data/" in place:
                place = place.rpartition("/")[2]  # the name of a raw file of alphas has the account and the time
            if len(raw) > SHOWN_CHARACTERS:
                raw = f"{raw[:SHOWN_CHARACTERS]} ..."
            shown.append([row["dataset"], place, row["reason"], raw])
        output.table("quarantine", COLUMNS, shown)


def reference_rows(limit: int) -> list[dict[str, Any]]:
    """Rejected rows of dropped files of reference data."""
    from marketdata_assets.reference.file_states import DATASET as FILES
    from marketdata_assets.stores import clickhouse_ledger as ledger

    with databases.connected("clickhouse") as client:
        rows = ledger.quarantined(client, FILES, limit)
    return [{"dataset": FILES} | vars(row) | {"place": f"{row.source}:{row.line}"} for row in rows]


def bars_rows(limit: int) -> list[dict[str, Any]]:
    """Rejected rows of minute-bar files."""
    with databases.connected("postgres") as connection:
        rows = ledger.quarantined(connection, DATASET, limit)
    return [{"dataset": DATASET} | vars(row) | {"place": row.place} for row in rows]


def alphas_rows(limit: int) -> list[dict[str, Any]]:
    """Rejected alphas of every account: elements of raw files, and documents."""
    from marketdata_assets.alphas.rejected import rejected_alphas

    root = Settings().alphas_folder
    rows = rejected_alphas(stores.mongo_server(), root, file_index.accounts_on_disk(root), limit)
    return [{"dataset": f"{row.kind}_alphas"} | vars(row) for row in rows]


def ticks_rows(limit: int) -> list[dict[str, Any]]:
    """Rejected rows of providers' responses and of dropped files, by symbol and month."""
    from marketdata_assets.stores import clickhouse_ledger as ledger
    from marketdata_assets.ticks.file_ledger import DATASET as FILES

    with databases.connected("clickhouse") as client:
        found = [(table, row) for table in (*TABLES, FILES) for row in ledger.quarantined(client, table, limit)]
    return [{"dataset": table} | vars(row) | {"place": row.place} for table, row in found]


def exchanges_rows(limit: int) -> list[dict[str, Any]]:
    """Captures whose load failed, records that their tables rejected, and unreadable messages, newest first."""
    from marketdata_assets.exchanges.tables.captures import LEDGER
    from marketdata_assets.exchanges.tables.status import rejected

    with databases.connected("clickhouse") as client:
        return [*LEDGER.failures(client, limit), *rejected(client, limit)]


def flows_rows(limit: int) -> list[dict[str, Any]]:
    """Rejected rows of the files of every flow."""
    with databases.connected("postgres") as connection:
        rejected = [
            (flow.name, row) for flow in flows.readable() for row in ledger.quarantined(connection, flow.dataset, limit)
        ]
    return [{"dataset": name} | vars(row) | {"place": row.place} for name, row in rejected]
