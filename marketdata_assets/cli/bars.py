"""`marketdata ingest bars` and `kline rebuild`: minute bars from the command line."""

from typing import Annotated, Any

import typer

from marketdata_assets.bars import kline, status
from marketdata_assets.cli import output
from marketdata_assets.cli.instance import RunOutcome, months_between, run_job
from marketdata_assets.local import endpoints
from marketdata_assets.resources import Postgres
from marketdata_assets.settings import Settings
from marketdata_assets.stores.postgres import connect

Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def ingest(
    months: Annotated[str | None, typer.Option(help="2024-01 or 2024-01:2024-06; every month when left out")] = None,
    force: Annotated[bool, typer.Option(help="reload files that have not changed")] = False,
    workers: Annotated[int, typer.Option(help="processes; 0 is one per core")] = 0,
    as_json: Json = False,
) -> None:
    """Load minute bars of some months and refresh their monthly K-line.

    The run shows in the UI.
    """
    try:
        wanted = months_between(months)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--months") from error
    settings = Settings()
    config: dict[str, Any] = {"stock_1min_qfq": {"config": {"force": force}}}
    if workers:
        settings = settings.model_copy(update={"workers": workers})
    with output.bar("minute bars", quiet=as_json):
        outcome = run_job(settings, endpoints.resolve(settings), "bars_repair", (wanted[0], wanted[-1]), config)
    if as_json:
        output.as_json(loaded_json(outcome))
    else:
        tell(outcome)
    if not outcome.success:
        raise typer.Exit(1)


def loaded_json(outcome: RunOutcome) -> dict[str, Any]:
    """How a load ended, for machines."""
    bars = outcome.metadata.get("stock_1min_qfq", {})
    lines = outcome.metadata.get("stock_monthly_kline", {})
    return {
        "success": outcome.success,
        "run_id": outcome.run_id,
        "bars": {k: v for k, v in bars.items() if k != "preview"},
        "kline": {k: v for k, v in lines.items() if k not in ("preview", "candlesticks")},
        "checks_passed": outcome.checks_passed,
        "checks_failed": outcome.checks_failed,
        "error": outcome.error,
    }


def tell(outcome: RunOutcome) -> None:
    """Print how a load ended: the failures, then one line of rows, rejects, seconds and speed."""
    bars = outcome.metadata.get("stock_1min_qfq", {})
    lines = outcome.metadata.get("stock_monthly_kline", {})
    if outcome.error:
        output.fail(outcome.error)
    for name in outcome.checks_failed:
        output.notes().print(f"[yellow]check failed[/] {name}")
    if bars:
        extra = f"; {bars['codes']} codes, {bars['files_unchanged']} files unchanged"
        output.console().print(
            "minute bars   " + output.summary(bars["rows"], bars["rejected"], bars["seconds"], extra)
        )
    if lines:
        output.console().print(
            f"monthly kline {lines['rows']:,} rows by {lines['engine']}, {lines['seconds']:.1f} s;"
            f" {outcome.checks_passed} checks passed"
        )


def rebuild_kline(as_json: Json = False) -> None:
    """Drop the monthly K-line and rebuild it for every month."""
    report = kline.refresh(Postgres().dsn, (), rebuild=True)
    with connect(Postgres().dsn) as connection:
        rows = status.kline_summary(connection).rows
    if as_json:
        output.as_json({"rows": rows, "engine": report.engine, "seconds": round(report.seconds, 2)})
    else:
        output.console().print(f"monthly kline rebuilt as {report.engine}: {rows:,} rows, {report.seconds:.1f} s")
