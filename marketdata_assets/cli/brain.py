"""`marketdata alphas accounts` and `alphas login`: BRAIN accounts and their authentication. No secret is shown."""

import asyncio
import datetime as dt
import os
import time
from typing import Annotated, Any

import typer

from marketdata_assets import secret_values
from marketdata_assets.alphas import accounts as accounts_file
from marketdata_assets.alphas import file_index
from marketdata_assets.alphas.accounts import Account, Credentials, credential_variables, find_credentials
from marketdata_assets.alphas.errors import IdentityCheckRequired, NoCredentials
from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import wrong
from marketdata_assets.settings import Settings

COLUMNS = ("account", "description", "enabled", "credentials", "session", "on disk")


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
    listed = [one.key for one in accounts_file.read(file)]
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


def accounts(as_json: output.Json = False) -> None:
    """List accounts, their credentials and sessions."""
    file = Settings().brain_accounts_file
    listed = accounts_file.read(Settings().brain_accounts_file)
    on_disk = file_index.accounts_on_disk(Settings().alphas_folder)
    rows = [_row(account, account.key in on_disk) for account in listed]
    unlisted = sorted({*on_disk} - {account.key for account in listed})
    rows += [_row(Account(name, "has files, is not in the list", False), True) for name in unlisted]
    if as_json:
        output.as_json({"file": str(file), "accounts": rows})
        return
    if rows:
        words = {True: "yes", False: "no"}
        cells = [[row[name.replace(" ", "_")] for name in COLUMNS] for row in rows]
        shown = [[words[cell] if isinstance(cell, bool) else cell for cell in row] for row in cells]
        output.table("accounts", COLUMNS, shown)
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
        return f"throttled until {_moment(stored.throttle.until):%Y-%m-%d %H:%M} UTC"
    if stored.pending:
        return "waits for an identity check" if stored.pending.open else "identity check not answered"
    return "ended" if stored.session else "none"


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
