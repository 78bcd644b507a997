"""`marketdata symbols`: the registry of symbols, refreshed and listed."""

from typing import Annotated, Any

import typer

from marketdata_assets.cli import output
from marketdata_assets.cli.bars import Json
from marketdata_assets.cli.instance import RunOutcome, finish, run_job
from marketdata_assets.cli.ticks import Providers, known_providers, listings
from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings

ASSET = "symbol_registry"
COLUMNS = ("symbol", "name", "listed", "delisted", "status")


def refresh(provider: Providers = None, as_json: Json = False) -> None:
    """Refresh the symbol registry from its providers.

    Those are Tushare, or MARKETDATA_TICKS_SYMBOLS instead of it, and dropped files.
    """
    outcome = run(Settings(), known_providers(provider))
    finish([outcome], as_json, lambda: _refreshed_json(outcome), lambda: _tell(outcome))


def _refreshed_json(outcome: RunOutcome) -> dict[str, Any]:
    metadata = dict(outcome.metadata.get(ASSET, {}))
    metadata.pop("dagster/column_schema", None)
    return {**outcome.as_json(), "symbols": metadata.pop("dagster/row_count", 0), **metadata}


def _tell(outcome: RunOutcome) -> None:
    outcome.print_problems()
    if outcome.success:
        metadata = outcome.metadata[ASSET]
        sources = ", ".join(f"{count:,} from {name}" for name, count in metadata["sources"].items())
        changes = f"{metadata['added']:,} added, {metadata['vanished']:,} vanished"
        output.console().print(f"symbols       {metadata['dagster/row_count']:,} ({sources}), {changes}")


def run(settings: Settings, providers: list[str]) -> RunOutcome:
    """One run of the registry."""
    config: dict[str, Any] = {ASSET: {"config": {"providers": providers}}}
    return run_job(settings, endpoints.resolve(settings), "symbols", None, config)


def show(
    status: Annotated[str | None, typer.Option(help="listed, delisted or paused; all when left out")] = None,
    as_json: Json = False,
) -> None:
    """List registered symbols."""
    rows = [
        {"symbol": one.symbol, "name": one.name, "listed": one.listed, "delisted": one.delisted, "status": one.status}
        for one in listings()
        if status in (None, one.status)
    ]
    if as_json:
        output.as_json({"symbols": rows})
    else:
        shown = [["" if row[name] is None else str(row[name]) for name in COLUMNS] for row in rows]
        output.table(f"{len(rows)} symbols", COLUMNS, shown)
