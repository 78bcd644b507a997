"""`marketdata alphas records`, `move-records`, `correlation`, `changes`, `export alphas`: alphas by filters."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from marketdata_assets import databases, export
from marketdata_assets.alphas.correlation import YEARS
from marketdata_assets.alphas.errors import BadOptions
from marketdata_assets.alphas.filters import POWER_POOL_ALPHAS, SUBMITTED, Filters, parse
from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.record_sets import DAILY, RECORD_SETS, asset_name
from marketdata_assets.cli import alphas, output
from marketdata_assets.cli.arguments import among, wrong
from marketdata_assets.cli.instance import RunOutcome, finish, months_between, run_job
from marketdata_assets.export.alphas import UnknownFormat
from marketdata_assets.loading.reports import and_more
from marketdata_assets.read.errors import UnknownColumn, UnknownName
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from marketdata_assets.alphas.embedded import MoveReport

Types = Annotated[list[str] | None, typer.Option("--type", help="regular or super; default: both")]
Status = Annotated[list[str] | None, typer.Option(help="ACTIVE DECOMMISSIONED UNSUBMITTED ...; default: any")]
Region = Annotated[list[str] | None, typer.Option(help="USA EUR ...; default: any")]
Universe = Annotated[list[str] | None, typer.Option(help="TOP3000 ...; default: any")]
Delay = Annotated[list[int] | None, typer.Option(help="0 or 1; default: any")]
Day = Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="a day in UTC, included")]
MinSharpe = Annotated[float | None, typer.Option(help="in-sample Sharpe ratio, at least")]
MinFitness = Annotated[float | None, typer.Option(help="in-sample fitness, at least")]
MaxTurnover = Annotated[float | None, typer.Option(help="in-sample turnover, at most")]

_SUBMITTED = msgspec.json.encode(SUBMITTED).decode()
MOST_NOTES = 10
COUNTS = ("alphas", "fetched", "stored", "alphas_failed", "requests")


def given(**options: Any) -> dict[str, Any]:
    """The filters that were given, as run config has them. Raises BadParameter."""
    days = {name: value.date().isoformat() for name, value in options.items() if isinstance(value, dt.datetime)}
    chosen = {name: value for name, value in options.items() if value not in (None, [])} | days
    try:
        parse(chosen)
    except BadOptions as error:
        raise typer.BadParameter(str(error)) from error
    return chosen


def records(
    account: alphas.Accounts = None,
    months: Annotated[str | None, typer.Option(help="2024-01 or 2024-01:2024-06; default: all with alphas")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help=f"{' '.join(RECORD_SETS)}; default: all but submission_check")
    ] = None,
    type_: Types = None,
    status: Status = None,
    region: Region = None,
    universe: Universe = None,
    delay: Delay = None,
    submitted_from: Day = None,
    submitted_to: Day = None,
    min_sharpe: MinSharpe = None,
    min_fitness: MinFitness = None,
    max_turnover: MaxTurnover = None,
    max_age_days: Annotated[float | None, typer.Option(min=0, help="also those that were fetched earlier")] = None,
    refetch: Annotated[bool, typer.Option(help="also those that are stored")] = False,
    as_json: output.Json = False,
) -> None:
    """Fetch record sets and correlations of alphas in MongoDB: PnL, turnover, Sharpe, yearly figures.

    Without a filter, MARKETDATA_BRAIN_RECORDS chooses the alphas. What is stored is fetched again only when its alpha
    has changed.
    """
    among(RECORD_SETS, sets or (), "--set")
    filters = given(
        type=type_, status=status, region=region, universe=universe, delay=delay, submitted_from=submitted_from,
        submitted_to=submitted_to, min_sharpe=min_sharpe, min_fitness=min_fitness, max_turnover=max_turnover,
    )  # fmt: skip
    settings = Settings()
    config = {"filters": filters, "max_age_days": max_age_days, "refetch": refetch}
    names = [asset_name(one) for one in RECORD_SETS if one in (sets or DAILY)]
    chosen = parse(filters or settings.brain_records)
    outcomes: dict[str, RunOutcome] = {}
    for name in alphas.fetched_accounts(settings, account):
        if wanted := _months(name, months, chosen):
            ops = {
                asset: {"config": {key: value for key, value in config.items() if value is not None}} for asset in names
            }
            with output.bar(f"record sets of {name}", quiet=as_json):
                outcomes[name] = alphas.run(settings, "alpha_records", name, wanted, ops, names)
        else:
            output.notes().print(f"account {name} has no alphas in MongoDB that match; nothing to fetch")
    found = {name: {asset: _counts(outcome, asset) for asset in names} for name, outcome in outcomes.items()}
    document = alphas.runs(outcomes) | {"records": found}
    output.result(as_json, document, show=partial(_show, outcomes, names), success=document["success"])


def catalogue(as_json: output.Json = False) -> None:
    """Fetch operators, and the data sets and fields of the markets of the alphas in MongoDB, of all accounts."""
    with output.bar("catalogues", quiet=as_json):
        outcome = run_job(Settings(), "alpha_catalogues", None)
    finish(outcome, as_json, catalogues_json, tell_catalogues)


def catalogues_json(outcome: RunOutcome) -> dict[str, Any]:
    return {**outcome.as_json(), **outcome.metadata}


def tell_catalogues(outcome: RunOutcome) -> None:
    """Print how many entries of each catalogue were fetched."""
    outcome.print_problems()
    for asset, found in sorted(outcome.metadata.items()):
        output.console().print(f"{asset}: {found['entries']:,} entries of {found['units']:,} markets or accounts")
        if note := found.get("not_offered"):
            output.notes().print(f"{asset}: {note}")


def move_records(account: alphas.Accounts = None, as_json: output.Json = False) -> None:
    """Move record sets that an earlier tool embedded in documents of alphas into the databases of record sets.

    Without --account those of all accounts. Of two versions the later stays; what is no record set is named.
    """
    from marketdata_assets.alphas import embedded
    from marketdata_assets.alphas.importer import database_name
    from marketdata_assets.read.alpha_records import present_accounts

    with databases.connected("mongo") as mongo:
        known = {name for kind in KINDS for name in present_accounts(mongo[database_name(kind)], kind, None)}
        if unknown := sorted(set(account or ()) - known):
            raise wrong("--account", unknown[0], "has no alphas in MongoDB", sorted(known))
        found = [embedded.move(mongo, name) for name in account or sorted(known)]
    success = not any(one.left for one in found)
    document = {"success": success, "accounts": {one.account: vars(one) for one in found}}
    output.result(as_json, document, show=partial(_show_moved, found), success=success)


def _show_moved(found: Sequence["MoveReport"]) -> None:
    for one in found:
        for name in sorted(one.moved | one.kept):
            kept = f", {one.kept[name]:,} were stored already" if one.kept[name] else ""
            output.console().print(f"{one.account} {name}: {one.moved[name]:,} moved{kept}")
        for cause, count in Counter(one.left.values()).items():
            named = and_more([name for name, other in one.left.items() if other == cause], 5)
            output.fail(f"{one.account}: {count:,} stay in their documents: {cause}: {named}")


def correlation(
    account: Annotated[list[str] | None, typer.Option("--account", help="default: all with PnL")] = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="only these alphas")] = None,
    pool: Annotated[str, typer.Option(metavar="JSON", help="filters of the alphas to compare with")] = _SUBMITTED,
    power_pool: Annotated[bool, typer.Option(help="compare with submitted alphas of the power pool")] = False,
    any_region: Annotated[bool, typer.Option(help="compare with alphas of other regions too")] = False,
    years: Annotated[int, typer.Option(min=1, help="to the newest day")] = YEARS,
    top: Annotated[int, typer.Option(min=1, help="others to list of each alpha")] = 5,
    type_: Types = None,
    status: Status = None,
    region: Region = None,
    universe: Universe = None,
    delay: Delay = None,
    min_sharpe: MinSharpe = None,
    min_fitness: MinFitness = None,
    max_turnover: MaxTurnover = None,
    as_json: output.Json = False,
) -> None:
    """Correlate alphas with a pool, by the daily returns of their PnL in MongoDB; nothing is requested.

    Without --pool the pool is the account's submitted alphas of the same region, as for BRAIN's self-correlation.
    """
    from marketdata_assets import read

    filters = given(
        type=type_, status=status, region=region, universe=universe, delay=delay, min_sharpe=min_sharpe,
        min_fitness=min_fitness, max_turnover=max_turnover,
    )  # fmt: skip
    if power_pool and pool != _SUBMITTED:
        raise typer.BadParameter("--power-pool is a pool; leave out --pool", param_hint="--pool")
    try:
        chosen = POWER_POOL_ALPHAS if power_pool else parse(msgspec.json.decode(pool, type=dict[str, Any]))
        found = read.alpha_correlations(
            ids, account, filters=parse(filters), pool=chosen, any_region=any_region, years=years, top=top
        )
    except (BadOptions, UnknownName, msgspec.MsgspecError) as error:
        raise typer.BadParameter(str(error)) from error
    rows = found.to_dicts()
    document = {"success": True, "alphas": rows, "compared": sum(bool(one["compared"]) for one in rows)}
    output.result(as_json, document, show=partial(_show_correlations, rows))


def _show_correlations(rows: Sequence[dict[str, Any]]) -> None:
    shown = [one for one in rows if one["compared"]]
    columns = ("account", "alpha", "region", "pool", "compared", "min", "max")
    table = [
        (*(round(one[name], 4) if name in ("min", "max") else one[name] or "" for name in columns), _strongest(one))
        for one in shown
    ]
    output.table(f"correlations of {len(shown):,} alphas", (*columns, "strongest"), table)
    named: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in rows:
        if one["note"]:
            which = "compared with a part of their pool" if one["compared"] else "without correlations"
            named[which, one["note"]].append(one["alpha"])
    most = sorted(named.items(), key=lambda item: -len(item[1]))
    for (which, note), names in most[:MOST_NOTES]:
        output.notes().print(f"{len(names):,} alphas {which}: {note}: {and_more(names, 5)}")
    if more := sum(len(names) for _, names in most[MOST_NOTES:]):
        output.notes().print(f"{more:,} alphas have other notes; --json has the note of each alpha.")


def _strongest(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in zip(row["others"], row["correlations"], strict=True))


def changes(
    account: alphas.Accounts = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="fetch these alphas; takes one --account")] = None,
    type_: Types = None,
    status: Status = None,
    region: Region = None,
    universe: Universe = None,
    delay: Delay = None,
    submitted_from: Day = None,
    submitted_to: Day = None,
    min_sharpe: MinSharpe = None,
    min_fitness: MinFitness = None,
    max_turnover: MaxTurnover = None,
    as_json: output.Json = False,
) -> None:
    """Fetch alphas of all months that were submitted or changed, that match filters, or by id.

    Without a filter: all submitted ones, and those changed since the last fetch. New versions become raw files;
    `marketdata ingest alphas` imports them.
    """
    filters = given(
        type=type_, status=status, region=region, universe=universe, delay=delay, submitted_from=submitted_from,
        submitted_to=submitted_to, min_sharpe=min_sharpe, min_fitness=min_fitness, max_turnover=max_turnover,
    )  # fmt: skip
    if ids and (filters or len(account or ()) != 1):
        raise typer.BadParameter("--id goes with exactly one --account and no filter", param_hint="--id")
    settings = Settings()
    config = {"accounts": alphas.fetched_accounts(settings, account), "filters": filters, "ids": ids or []}
    with output.bar("alphas", quiet=as_json):
        outcome = run_job(settings, "alpha_changes", None, {"fetch_changes": {"config": config}})
    finish(outcome, as_json, lambda one: {**one.as_json(), **one.metadata.get("fetch_changes", {})}, _show_changes)


def _show_changes(outcome: RunOutcome) -> None:
    outcome.print_problems()
    got = outcome.metadata.get("fetch_changes", {})
    if got:
        output.console().print(
            f"{got['listed']:,} alphas listed, {got['written']:,} new or changed, {got['requests']:,} requests,"
            f" {got['seconds']:.1f} s"
        )
    for name in ("unknown", "note"):
        if got.get(name):
            output.notes().print(f"{name}: {got[name]}")
    if got.get("written"):
        output.notes().print(alphas.NEXT)


def _months(account: str, months: str | None, filters: Filters) -> Sequence[str]:
    """The months requested, else those from the first to the last with an alpha that matches."""
    from marketdata_assets.alphas.fetch_records import wanted

    if months:
        return months_between(months, alphas=True)
    every = months_between(None, alphas=True)
    with databases.connected("mongo") as mongo:
        found = {one.month for one in wanted(mongo, account, every, filters)}
    return [month for month in every if min(found) <= month <= max(found)] if found else []


def _counts(outcome: RunOutcome, asset: str) -> dict[str, Any]:
    got = outcome.metadata.get(asset, {})
    return {name: got[name] for name in (*COUNTS, "seconds") if name in got}


def _show(outcomes: alphas.Outcomes, names: Sequence[str]) -> None:
    alphas.print_problems(outcomes)
    for name, outcome in outcomes.items():
        for asset in names:
            if got := _counts(outcome, asset):
                output.console().print(
                    f"{name} {asset}: {got['fetched']:,} of {got['alphas']:,} alphas fetched, {got['alphas_failed']:,}"
                    f" failed, {got['stored']:,} stored, {got['requests']:,} requests, {got['seconds']:.1f} s"
                )
            if note := outcome.metadata.get(asset, {}).get("not_fetched"):
                output.notes().print(f"{name} {asset}: {note}")


def sampled(outcome: RunOutcome) -> None:
    """Print how a run over all record sets ended, in one line."""
    outcome.print_problems()
    counts = counts_json(outcome)
    output.console().print(
        f"alpha records {counts['stored']:,} record sets of {counts['alphas']:,} alphas,"
        f" {counts['alphas_failed']:,} failed, {counts['requests']:,} requests; {outcome.checks_passed} checks passed"
    )


def counts_json(outcome: RunOutcome) -> dict[str, Any]:
    """The counts of a run over all record sets; `alphas` are those of which each was requested."""
    found = [_counts(outcome, asset_name(one)) for one in RECORD_SETS]
    totals = {name: sum(one.get(name, 0) for one in found) for name in COUNTS}
    return {"success": outcome.success, **totals, "alphas": max(one.get("alphas", 0) for one in found)}


def export_alphas(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="alphas.csv or alphas.parquet; replaced when it exists")],
    account: alphas.Accounts = None,
    kind: Annotated[Kind, typer.Option("--type", help="regular or super")] = "regular",
    columns: Annotated[
        list[str] | None,
        typer.Option(help="id is.sharpe regular.code pnl.pnl prod_correlation.max ...; default: usual"),
    ] = None,
    record_set: Annotated[
        str | None, typer.Option("--set", help=f"a row per record instead: {', '.join(RECORD_SETS)}")
    ] = None,
    status: Status = None,
    region: Region = None,
    universe: Universe = None,
    delay: Delay = None,
    submitted_from: Day = None,
    submitted_to: Day = None,
    min_sharpe: MinSharpe = None,
    min_fitness: MinFitness = None,
    max_turnover: MaxTurnover = None,
    as_json: output.Json = False,
) -> None:
    """Export alphas, or one of their record sets, as a CSV or Parquet file."""
    filters = given(
        status=status, region=region, universe=universe, delay=delay, submitted_from=submitted_from,
        submitted_to=submitted_to, min_sharpe=min_sharpe, min_fitness=min_fitness, max_turnover=max_turnover,
    )  # fmt: skip
    chosen = among(RECORD_SETS, [record_set] if record_set else None, "--set")
    if chosen and columns:
        raise typer.BadParameter("--columns are those of alphas; a record set has its own", param_hint="--columns")
    try:
        report = export.alphas(
            file, kind, account, filters=parse(filters), columns=columns, record_set=chosen[0] if chosen else None
        )
    except (UnknownFormat, UnknownName, UnknownColumn) as error:
        raise typer.BadParameter(str(error)) from error
    document = {"success": True, "file": str(file), "rows": report.rows, "bytes": report.bytes}
    output.result(as_json, document, f"{file}: {report.rows:,} rows, {report.bytes / 1e6:,.1f} MB")
