"""`marketdata demo`: sample files through the whole graph, then the UI."""

import datetime as dt
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from marketdata_assets.alphas.accounts import credential_variables
from marketdata_assets.cli import alpha_records, alphas, bars, exchanges, flows, output, reference, ticks
from marketdata_assets.cli.instance import RunOutcome, environment, environment_of, months_between, run_job
from marketdata_assets.cli.servers import serve, with_ui_port
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.standard_streams import service
from marketdata_assets.ticks.providers_file import TABLES

YEARS = 3
ALPHA_MONTHS = 3
ALPHA_ACCOUNTS = ("sample1", "sample2")
DAILY_FILES = 1000
DAILY_MONTHS = 8
"""The newest months, which the daily files are from."""
FILES_ONLY = ["files"]
WINDOWS = {"MARKETDATA_TICKS_MONTHS": "3", "MARKETDATA_EXCHANGE_DAYS": "3"}
"""The period that the samples fill, so that the UI shows no partition without data."""


@service()
def demo(
    ui: Annotated[bool, typer.Option(help="leave the Dagster UI open at the end")] = True,
    as_json: output.Json = False,
) -> None:
    """Start the local stack, load sample files into every table, and open the Dagster UI."""
    from marketdata_demo import sample_ticks

    started = time.monotonic()
    os.environ.pop("MARKETDATA_DOMAINS", None)  # the demo shows all of them
    for variable, value in WINDOWS.items():
        os.environ.setdefault(variable, value)
    settings = Settings()
    if ui:
        settings = with_ui_port(settings)
    say = output.SILENT.print if as_json else output.notes().print
    with LocalStack(settings, progress=say) as stack:
        written = write_samples(settings.bars_folder)
        say(f"{len(written)} sample files written to {settings.bars_folder}" if written else "sample files are there")
        months = months_between(None)
        with output.bar("minute bars", quiet=as_json):
            loaded = run_job(settings, "bars_and_kline", (months[0], months[-1]))
        if not as_json:
            bars.tell(loaded)
        imported = load_alphas(settings, quiet=as_json)
        if not as_json:
            alphas.imported(imported)
        recorded, catalogued = load_alpha_records(settings, quiet=as_json)
        if not as_json:
            alpha_records.sampled(recorded)
            alpha_records.tell_catalogues(catalogued)
        months_of_samples = [*sample_ticks.last_months(today()), f"{today():%Y-%m}"]
        referred = load_reference(settings, months_of_samples, quiet=as_json)
        if not as_json:
            reference.tell(referred, months_of_samples)
        ticked = load_ticks(settings, quiet=as_json)
        if not as_json:
            ticks.tell(ticked)
        collected = exchanges.load_sample(settings, dt.datetime.now(dt.UTC).date(), quiet=as_json)
        historic = exchanges.load_history_sample(settings, dt.datetime.now(dt.UTC).date(), quiet=as_json)
        flowed = load_flows(settings, say, quiet=as_json)
        compared = run_job(settings, "reconcile", (months[-DAILY_MONTHS], months[-1]))
        if as_json:
            others = {
                "alphas": alphas.imported_json(imported),
                "alpha_records": alpha_records.counts_json(recorded),
                "alpha_catalogues": alpha_records.catalogues_json(catalogued),
                "reference": reference.loaded_json(referred, months_of_samples),
                "ticks": ticks.loaded_json(ticked),
                "exchanges": collected_json(collected) | {"history": exchanges.history_json(historic)},
                "flows": {name: flows.loaded_json(name, one) for name, one in flowed.items()},
                "reconciliation": compared.metadata.get("reconciliation", {}) | {"success": compared.success},
            }
            output.as_json(bars.loaded_json(loaded) | others)
        else:
            for one, tell in zip(collected, (exchanges.tell, exchanges.tell_days), strict=False):
                tell(one)
            exchanges.tell_history(historic)
            for name, one in flowed.items():
                flows.tell(name, one)
            told = compared.metadata.get("reconciliation", {})
            output.console().print(
                f"reconciliation {told.get('disagreements', 0)} values on which sources disagree, of"
                f" {told.get('compared', 0):,} days of stocks"
            )
        say(f"demo ready after {time.monotonic() - started:.0f} s")
        ended = [
            loaded,
            catalogued,
            *imported.values(),
            recorded,
            *referred,
            ticked,
            *collected,
            historic,
            *flowed.values(),
            compared,
        ]
        if not all(outcome.success for outcome in ended):
            raise typer.Exit(1)
        if ui:
            serve(settings, environment(settings, stack.endpoints), stack.watch(), ui=True)


def load_alphas(settings: Settings, quiet: bool) -> dict[str, RunOutcome]:
    """Write an archive of invented alphas for the last whole months and import it, without external requests."""
    from marketdata_demo import sample_alphas

    months = months_between(None, alphas=True)[-1 - ALPHA_MONTHS : -1]
    outcomes = {}
    for seed, account in enumerate(ALPHA_ACCOUNTS):
        sample_alphas.write_archive(settings.alphas_folder, account, months, seed=seed)
        with output.bar(f"alphas of {account}", quiet=quiet):
            outcomes[account] = alphas.run(
                settings, "alphas", account, months, {"alpha_files": {"config": {"fetch": False}}}
            )
    return outcomes


def load_alpha_records(settings: Settings, quiet: bool) -> tuple[RunOutcome, RunOutcome]:
    """Fetch invented record sets and catalogues for the sample alphas, from a server on loopback."""
    from marketdata_demo.servers import brain

    months = months_between(None, alphas=True)[-1 - ALPHA_MONTHS : -1]
    with TemporaryDirectory() as folder, brain.of_archive(settings.alphas_folder, ALPHA_ACCOUNTS) as server:
        listed = Path(folder) / "accounts.json"
        listed.write_text(json.dumps([{"user_key": account} for account in ALPHA_ACCOUNTS]))
        variables = {"MARKETDATA_BRAIN_URL": server.url, "MARKETDATA_BRAIN_ACCOUNTS": str(listed)}
        variables["MARKETDATA_BRAIN_REQUESTS_PER_MINUTE"] = "100000"
        for account in ALPHA_ACCOUNTS:
            email, password = credential_variables(account)
            variables |= {email: f"{account}@example.com", password: brain.SAMPLE_PASSWORD}
        partitions = (f"{ALPHA_ACCOUNTS[0]}|{months[0]}", f"{ALPHA_ACCOUNTS[-1]}|{months[-1]}")
        with output.bar("record sets", quiet=quiet), environment_of(variables):
            records = run_job(settings, "alpha_records", partitions, accounts=ALPHA_ACCOUNTS)
            return records, run_job(settings, "alpha_catalogues", None)


def load_reference(settings: Settings, months: Sequence[str], quiet: bool) -> list[RunOutcome]:
    """Write files of invented reference data and load them, without external requests."""
    from marketdata_demo import sample_reference

    sample_reference.write(settings.reference_folder, today())
    with output.bar("reference data", quiet=quiet):
        return reference.run(settings, months, providers=FILES_ONLY)


def load_ticks(settings: Settings, quiet: bool) -> RunOutcome:
    """Write files of invented bars and order books and load them, without external requests."""
    from marketdata_demo import sample_ticks

    # Beside the folder of ticks: every CSV file in there is read as bars.
    listed = settings.root / "ticks_symbols.csv"
    os.environ.setdefault("MARKETDATA_TICKS_SYMBOLS", str(listed))
    written = sample_ticks.write(settings.ticks_folder, listed, today())
    registered = ticks.refresh_registry(settings, FILES_ONLY)
    if not registered.success:
        return registered
    first, last = dt.date.fromisoformat(f"{written.months[0]}-01"), today()
    with output.bar("ticks", quiet=quiet):
        return ticks.run(settings, written.symbols, first, last, TABLES, {"providers": FILES_ONLY})


def collected_json(outcomes: Sequence[RunOutcome]) -> dict[str, Any]:
    """How the sample of exchanges was loaded: its tables, and its days unless the tables failed."""
    success = all(outcome.success for outcome in outcomes)
    days = {"days": exchanges.days_json(outcomes[1])} if len(outcomes) > 1 else {}
    return {"success": success, "tables": exchanges.filled_json(outcomes[0]), **days}


def load_flows(settings: Settings, say: Callable[[str], None], quiet: bool) -> dict[str, RunOutcome]:
    """Write the vendor's daily files of invented stocks and run the shipped flows over them."""
    from marketdata_assets.flows import discovery
    from marketdata_demo import sample_flows, sample_reconciliation

    folder = settings.flows_data_folder / "stock_daily"
    if not any(folder.glob("*.csv")):
        written = sample_flows.write(folder, DAILY_FILES, today() - dt.timedelta(days=1))
        say(f"{len(written)} daily files written to {folder}")
    sample_reconciliation.write(settings.bars_folder, folder)
    outcomes = {}
    for one in discovery.shipped():
        assert one.flow is not None
        with output.bar(f"flow {one.name}", quiet=quiet):
            outcomes[one.name] = flows.execute(settings, one.flow)
    return outcomes


def today() -> dt.date:
    """The day on the exchange's clock."""
    return dt.datetime.now(ZoneInfo("Asia/Shanghai")).date()


def write_samples(folder: Path) -> list[Path]:
    """Write the sample years that are missing, the current one up to yesterday; existing files stay."""
    from marketdata_demo import sample_bars

    now = today()
    written = []
    for year in range(now.year - YEARS + 1, now.year + 1):
        until = min(dt.date(year, 12, 31), now - dt.timedelta(days=1))
        if not (folder / f"{year}_1min.zip").exists() and sample_bars.weekdays(year, until):
            written.append(sample_bars.write_year(folder, year, until=until))
    return written
