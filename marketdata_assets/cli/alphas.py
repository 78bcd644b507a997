"""`marketdata ingest alphas`, `alphas fetch`, `accounts` and `login`: options into runs, one an account, and how they
ended; BRAIN accounts and their authentication. No secret is shown."""

import asyncio
import datetime as dt
import os
import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import typer

from marketdata_assets import databases, secret_values
from marketdata_assets.alphas import accounts as accounts_of
from marketdata_assets.alphas import file_index
from marketdata_assets.alphas.accounts import Account, Credentials, credential_variables, find_credentials
from marketdata_assets.alphas.errors import BadOptions, IdentityCheckRequired, NoCredentials, NotEnabled
from marketdata_assets.alphas.import_modes import BATCH_SIZE, ImportOptions, Mode
from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.merge import MergePolicy
from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import existing_folder, wrong
from marketdata_assets.cli.instance import CannotRun, RunOutcome, months_between, run_job
from marketdata_assets.cli.status import delivered
from marketdata_assets.errors import did_you_mean
from marketdata_assets.loading.file_ledger import FileState, counts, summary
from marketdata_assets.settings import Settings

Accounts = Annotated[list[str] | None, typer.Option("--account", help="an account; may be given more than once")]
Hours = Annotated[float | None, typer.Option(help="with mode time_range: how far back; 25 when left out")]
BufferHours = Annotated[float | None, typer.Option(help="with mode time_range: added on both sides; 1 when left out")]
BufferDays = Annotated[float | None, typer.Option(help="with mode smart_merge: before the newest; 3 when left out")]
Replace = Annotated[
    list[str] | None,
    typer.Option(metavar="PATH", help="a field whose newer value is taken whole, such as tags or is.checks"),
]


NEXT = "next: marketdata ingest alphas; while the UI runs, its daemon does this automatically"
COUNTS = ("documents", "inserted", "updated", "unchanged", "rejected")

Outcomes = Mapping[str, RunOutcome]
"""By account."""


def ingest(
    account: Accounts = None,
    months: Annotated[str | None, typer.Option(help="2024-01 or 2024-01:2024-06; all on disk when left out")] = None,
    fast: Annotated[int | None, typer.Option(min=1, help="the last N months, instead of --months")] = None,
    kind: Annotated[Kind | None, typer.Option(help="both when left out")] = None,
    mode: Annotated[Mode, typer.Option(help="how to merge with stored documents")] = "incremental",
    time_range_hours: Hours = None,
    buffer_hours: BufferHours = None,
    buffer_days: BufferDays = None,
    replace: Replace = None,
    batch_size: Annotated[int, typer.Option(help="documents of one write")] = BATCH_SIZE,
    workers: Annotated[int, typer.Option(min=0, help="processes; 0 is one per core")] = 0,
    force: Annotated[bool, typer.Option(help="ignore the ledger, and rebuild the summary in any case")] = False,
    package: Annotated[bool, typer.Option(help="package raw files first")] = True,
    as_json: output.Json = False,
) -> None:
    """Package raw files of alphas and import them into MongoDB.

    The runs, one an account, show in the UI.
    """
    config = _config(mode, batch_size, time_range_hours, buffer_hours, buffer_days, replace, force)
    if fast and months:
        raise typer.BadParameter("--fast and --months both say which months; give one", param_hint="--fast")
    settings = Settings()
    if settings.alphas_dir:
        existing_folder(settings.alphas_folder, "MARKETDATA_ALPHAS_DIR")
    if workers:
        settings = settings.model_copy(update={"workers": workers})
    kinds: Sequence[Kind] = (kind,) if kind else KINDS
    names, outcomes = _accounts(account), {}
    if months:
        _check_months(names, kinds, months_between(months, alphas=True))
    for name in names:
        wanted = _months(name, kinds, months, fast)
        if wanted:
            if not _on_disk(name, kinds).intersection(wanted):
                output.notes().print(f"account {name} has no files of {wanted[0]} to {wanted[-1]}")
            with output.bar(f"alphas of {name}", quiet=as_json):
                outcomes[name] = _import(settings, name, wanted, kinds, config, package)
        elif account:
            raise _nothing_on_disk(f"account {name}")
    if not outcomes:
        raise _nothing_on_disk("any account")
    files = delivered("alphas")
    document = imported_json(outcomes) | {"files": counts(files)}
    failed = any(one.state is FileState.FAILED for one in files) and not (account or months or fast or kind)
    line, success = f"files         {summary(files)}", document["success"] and not failed
    output.result(as_json, document, line, show=partial(imported, outcomes), success=success)


def _check_months(names: Sequence[str], kinds: Sequence[Kind], wanted: Sequence[str]) -> None:
    """Reject months of which no account has a file."""
    known = sorted({month for name in names for month in _on_disk(name, kinds)})
    if known and not set(known).intersection(wanted):
        cause = f"no account of {', '.join(names)} has files of {wanted[0]} to {wanted[-1]}"
        raise typer.BadParameter(f"{cause}; there are files of {known[0]} to {known[-1]}", param_hint="--months")


def _nothing_on_disk(whose: str) -> CannotRun:
    return CannotRun(
        f'no alphas of {whose} in {Settings().alphas_folder}. Fetch them with "marketdata alphas fetch", or point'
        f" MARKETDATA_ALPHAS_DIR at an archive."
    )


def _import(
    settings: Settings,
    account: str,
    months: Sequence[str],
    kinds: Sequence[Kind],
    config: dict[str, Any],
    package: bool,
) -> RunOutcome:
    may_skip = config["mode"] == "incremental" and not config["force"]
    if may_skip and (nothing_due := up_to_date(settings, account, months, kinds)):
        return nothing_due
    tables = [f"{kind}_alphas" for kind in kinds]
    assets = [*(["alpha_packages"] if package else []), *tables, "alpha_summary"]
    return run(settings, "alphas_import", account, months, {table: {"config": config} for table in tables}, assets)


def up_to_date(settings: Settings, account: str, months: Sequence[str], kinds: Sequence[Kind]) -> RunOutcome | None:
    """The result without a run when every package is imported; None when there is work to do.

    Whether the summary was rebuilt since is not checked: only Dagster knows.
    """
    from marketdata_assets.alphas import status
    from marketdata_assets.alphas.ingest import find
    from marketdata_assets.alphas.rejected import in_raw_files

    root, pairs = settings.alphas_folder, [(account, month) for month in months]
    metadata: dict[str, dict[str, Any]] = {}
    with databases.connected("mongo") as mongo:
        # By times first: a run reads the packages.
        if status.outdated_pairs(mongo, root, pairs, kinds, exact=False):
            return None
        for kind in kinds:
            started = time.monotonic()
            if status.outdated_pairs(mongo, root, pairs, [kind]):
                return None
            unchanged = len(list(find(root, account, kind, months)))
            metadata[f"{kind}_alphas"] = {"packages_unchanged": unchanged, "seconds": time.monotonic() - started}
    rejected = sum(1 for kind in KINDS for month in months for _ in in_raw_files(root, account, kind, month))
    return RunOutcome(True, None, {**metadata, "alpha_packages": {"rejected": rejected}})


def fetch(
    account: Accounts = None,
    months: Annotated[str | None, typer.Option(help="2024-01 or 2024-01:2024-06; this month when left out")] = None,
    refetch: Annotated[bool, typer.Option(help="fetch again what was fetched already")] = False,
    as_json: output.Json = False,
) -> None:
    """Fetch alphas of some months from BRAIN into raw files.

    `marketdata ingest alphas` imports them into MongoDB.
    """
    wanted = months_between(months, alphas=True) if months else months_between(None, alphas=True)[-1:]
    settings = Settings()
    config = {"alpha_files": {"config": {"refetch": refetch}}}
    outcomes, without_credentials = {}, {}
    for name in fetched_accounts(settings, account):
        try:
            find_credentials(name, os.environ, settings.brain_credentials_file)
        except NoCredentials as error:
            output.fail(str(error))
            without_credentials[name] = str(error)
            continue
        with output.bar(f"alphas of {name}", quiet=as_json):
            outcomes[name] = run(settings, "alphas", name, wanted, config, ["alpha_files"])
    fetched = {name: outcome.metadata.get("alpha_files", {}) for name, outcome in outcomes.items()}
    fetched = {
        name: {key: one for key, one in found.items() if isinstance(one, int | float | str)}
        for name, found in fetched.items()
    }
    document = runs(outcomes) | {"fetched": fetched, "without_credentials": without_credentials}
    document["success"] = document["success"] and not without_credentials
    output.result(as_json, document, show=partial(_show_fetched, outcomes), success=document["success"])


def run(
    settings: Settings,
    job: str,
    account: str,
    months: Sequence[str],
    config: dict[str, Any],
    assets: Sequence[str] = (),
) -> RunOutcome:
    """A run of `job` over the months of one account; `assets` leaves out the others."""
    partitions = (f"{account}|{months[0]}", f"{account}|{months[-1]}")
    return run_job(settings, job, partitions, config, assets, [account])


def _config(
    mode: Mode,
    batch_size: int,
    time_range_hours: float | None,
    buffer_hours: float | None,
    buffer_days: float | None,
    replace: Sequence[str] | None,
    force: bool,
) -> dict[str, Any]:
    """The options as run config; rejects combinations that contradict each other, naming the command line's options."""
    chosen = {"time_range_hours": time_range_hours, "buffer_hours": buffer_hours, "buffer_days": buffer_days}
    try:
        options = ImportOptions(mode, batch_size, **chosen, policy=MergePolicy(frozenset(replace or ())))
        if force and options.everything:
            raise BadOptions(f"mode {mode} reads everything anyway, so --force has no effect; leave it out")
    except BadOptions as error:
        words = re.sub("|".join(chosen), lambda found: "--" + found[0].replace("_", "-"), str(error))
        raise typer.BadParameter(words.replace("a merge policy", "--replace")) from error
    given = {name: value for name, value in chosen.items() if value is not None}
    return {"mode": mode, "batch_size": batch_size, **given, "replace": list(replace or ()), "force": force}


def _accounts(named: Sequence[str] | None) -> list[str]:
    """The accounts to import: those named, else all that have files or are listed, but for disabled ones."""
    folder = Settings().alphas_folder
    on_disk = file_index.accounts_on_disk(folder)
    listed = {account.key: account.enabled for account in accounts_of.read(Settings().brain_accounts_file)}
    every = sorted({*on_disk, *listed})
    if not named:
        return [name for name in every if listed.get(name, True)]
    for name in named:
        if name not in every:
            cause = f"has no files in {folder} and is not in the accounts file"
            raise typer.BadParameter(f"account {name!r} {cause}; {did_you_mean(name, every)}", param_hint="--account")
    return list(dict.fromkeys(named))


def fetched_accounts(settings: Settings, named: Sequence[str] | None) -> list[str]:
    """The accounts to fetch: those named, else all enabled ones. Raises BadParameter, NotEnabled."""
    listed = {account.key: account.enabled for account in accounts_of.read(Settings().brain_accounts_file)}
    enabled = [name for name, on in listed.items() if on]
    for name in named or ():
        if name not in listed:
            raise wrong("--account", name, f"is not in the accounts file {settings.brain_accounts_file}", listed)
        if name not in enabled:
            raise NotEnabled(name, str(settings.brain_accounts_file), name in listed)
    if not named and not enabled:
        raise typer.BadParameter(
            f'no enabled account in {settings.brain_accounts_file}; write for instance [{{"user_key": "lk"}}]',
            param_hint="--account",
        )
    return list(dict.fromkeys(named)) if named else enabled


def _months(account: str, kinds: Sequence[Kind], months: str | None, fast: int | None) -> Sequence[str]:
    """The months to import: those requested, otherwise from the first on disk to the last."""
    every = months_between(None, alphas=True)
    if months:
        return months_between(months, alphas=True)
    if fast:
        return every[-fast:]
    found = _on_disk(account, kinds).intersection(every)
    return [month for month in every if min(found) <= month <= max(found)] if found else []


def _on_disk(account: str, kinds: Sequence[Kind]) -> set[str]:
    return {month for kind in kinds for month in file_index.months_on_disk(Settings().alphas_folder, account, kind)}


def imported(outcomes: Outcomes) -> None:
    """Print how imports ended."""
    print_problems(outcomes)
    total = _totals(outcomes)
    counts = ", ".join(f"{total[name]:,} {name}" for name in COUNTS)
    left_out = f", {total['skipped']:,} outside the time range" if total["skipped"] else ""
    speed = f"{total['documents'] / total['seconds']:,.0f}" if total["seconds"] else "0"
    checks = sum(outcome.checks_passed for outcome in outcomes.values())
    output.console().print(
        f"alphas        {counts}{left_out}, {total['seconds']:.1f} s, {speed} documents/s;"
        f" {total['packages_unchanged']:,} packages unchanged, {checks} checks passed"
    )
    if any(outcome.run_id is None for outcome in outcomes.values()):
        output.notes().print("no run was needed; --force starts one, which rebuilds the summary too")
    if bad := total["rejected_in_raw_files"]:
        what = "element of a raw file is no alpha" if bad == 1 else "elements of raw files are no alphas"
        output.notes().print(f"{bad:,} {what}: marketdata quarantine show alphas")


def imported_json(outcomes: Outcomes) -> dict[str, Any]:
    """The same for machines; `rejected_in_raw_files` are elements that packaging rejected."""
    return {**runs(outcomes), **_totals(outcomes)}


def _show_fetched(outcomes: Outcomes) -> None:
    print_problems(outcomes)
    for name, outcome in outcomes.items():
        got = outcome.metadata.get("alpha_files", {})
        windows = sum(got.get(f"windows_{end}", 0) for end in ("ok", "empty", "failed"))
        if windows:
            output.console().print(
                f"{name}: {got['alphas']:,} alphas in {windows:,} windows, {got['windows_failed']:,} failed,"
                f" {got['requests']:,} requests, {got['seconds']:.1f} s"
            )
        elif outcome.success:
            output.console().print(f"{name}: all windows were fetched before; use --refetch to fetch them again")
    if any(outcome.metadata.get("alpha_files", {}).get("alphas") for outcome in outcomes.values()):
        output.notes().print(NEXT)


def print_problems(outcomes: Outcomes) -> None:
    """Print why runs failed."""
    for name, outcome in outcomes.items():
        outcome.print_problems(name if len(outcomes) > 1 else "")


def runs(outcomes: Outcomes) -> dict[str, Any]:
    """The runs for machines."""
    runs = {name: outcome.as_json() for name, outcome in outcomes.items()}
    return {"success": all(outcome.success for outcome in outcomes.values()), "accounts": runs}


def _totals(outcomes: Outcomes) -> dict[str, Any]:
    names = (*COUNTS, "skipped", "packages_unchanged", "seconds")
    tables = [outcome.metadata.get(f"{kind}_alphas", {}) for outcome in outcomes.values() for kind in KINDS]
    totals = {name: round(sum(table.get(name, 0) for table in tables), 2) for name in names}
    bad = sum(outcome.metadata.get("alpha_packages", {}).get("rejected", 0) for outcome in outcomes.values())
    return {**totals, "rejected_in_raw_files": bad}


ACCOUNTS = ("account", "description", "enabled", "credentials", "session", "on disk")


def login(
    account: Annotated[str, typer.Option(help="the account, as the accounts file names it")],
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for the identity check")] = 600.0,
    as_json: output.Json = False,
) -> None:
    """Log an account in; with an identity check, print the verification link and wait for it to be completed."""
    _check_known(account)
    seconds = asyncio.run(_log_in(account, wait))
    until = _moment(time.time() + seconds)
    document = {"account": account, "valid_until": until.isoformat(timespec="seconds")}
    output.result(as_json, document, f"account {account} is logged in until {until:%Y-%m-%d %H:%M} UTC")


def _check_known(account: str) -> None:
    """Raise BadParameter for an account that is in no list and has no credentials."""
    file = Settings().brain_accounts_file
    listed = [one.key for one in accounts_of.read(file)]
    if account in listed:
        return
    try:
        find_credentials(account, os.environ, Settings().brain_credentials_file)
    except NoCredentials as error:
        if error.unset:
            raise wrong("--account", account, f"is not in {file} and has no credentials", listed) from error


async def _log_in(account: str, wait: float) -> float:
    from marketdata_assets.resources import Brain

    async with Brain().client(account) as client:
        try:
            await client.login.session(requested=True)
        except IdentityCheckRequired as needed:
            notes = output.notes()
            notes.print(f"BRAIN requires an identity check of account {account}. Open this link and complete it:")
            output.login_link("\n ", f"{needed.url}\n")
            with notes.status(f"waiting up to {wait:.0f} s; Ctrl-C stops waiting, the link is valid for an hour"):
                await client.login.finish(limit=wait)
        return await client.login.seconds_left()


def show_accounts(as_json: output.Json = False) -> None:
    """List accounts, their credentials and sessions."""
    file = Settings().brain_accounts_file
    listed = accounts_of.read(Settings().brain_accounts_file)
    on_disk = file_index.accounts_on_disk(Settings().alphas_folder)
    rows = [_row(account, account.key in on_disk) for account in listed]
    unlisted = sorted({*on_disk} - {account.key for account in listed})
    rows += [_row(Account(name, "has files, is not in the list", False), True) for name in unlisted]
    if as_json:
        output.as_json({"file": str(file), "accounts": rows})
        return
    if rows:
        words = {True: "yes", False: "no"}
        cells = [[row[name.replace(" ", "_")] for name in ACCOUNTS] for row in rows]
        shown = [[words[cell] if isinstance(cell, bool) else cell for cell in row] for row in cells]
        output.table("accounts", ACCOUNTS, shown)
    if not listed:
        output.notes().print(f'no accounts in {file}; write for instance: [{{"user_key": "lk"}}]')
    for row in rows:
        if row["remedy"]:
            output.notes().print(row["remedy"])


def _row(account: Account, on_disk: bool) -> dict[str, Any]:
    settings = Settings()
    where, remedy, session = "none", None, "none"
    try:
        found = find_credentials(account.key, os.environ, settings.brain_credentials_file)
        in_environment = all(secret_values.find(name, os.environ) for name in credential_variables(account.key))
        where = "environment" if in_environment else str(settings.brain_credentials_file)
        session = _session(account.key, found, settings)
    except NoCredentials as error:
        where, remedy = ("none" if error.unset else "not usable"), str(error)
    return {
        "account": account.key,
        "description": account.description,
        "enabled": account.enabled,
        "credentials": where,
        "session": session,
        "on_disk": on_disk,
        "remedy": remedy if account.enabled else None,
    }


def _session(account: str, found: Credentials, settings: Settings) -> str:
    from marketdata_assets.alphas.login import SessionFile, owner_digest

    file = SessionFile(settings.brain_folder, account, owner_digest(settings.brain_url.rstrip("/"), found.email))
    stored = file.load()
    if stored.session and stored.session.expires > time.time():
        return f"until {_moment(stored.session.expires):%Y-%m-%d %H:%M} UTC"
    if stored.rejection and stored.rejection.of(found.password):
        return f"rejected {_moment(stored.rejection.at):%Y-%m-%d %H:%M} UTC"
    if stored.throttle and stored.throttle.until > time.time():
        return f"paused until {_moment(stored.throttle.until):%Y-%m-%d %H:%M} UTC"
    if stored.pending:
        return "waits for an identity check" if stored.pending.open else "identity check not answered"
    return "ended" if stored.session else "none"


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
