"""Accounts at a server that behaves like the API, runs of the alphas jobs in this process, and what they left."""

import datetime as dt
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pymongo import MongoClient

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.layout import Kind, month_window
from marketdata_assets.partitions import BRAIN_ACCOUNTS, alpha_key, range_tags
from marketdata_demo.servers.brain import BrainServer, Persona, spread
from tests.defs.bar_runs import execute, materializations

FILES, PACKAGES, REGULAR, SUPER = map(dg.AssetKey, ("alpha_files", "alpha_packages", "regular_alphas", "super_alphas"))
SUMMARY = dg.AssetKey("alpha_summary")
MONTHS = ("2024-01", "2024-02", "2024-03")
PASSWORD = "canary-password"
REGULARS, SUPERS = 4, 2
"""Alphas of each account and month."""


@dataclass(frozen=True)
class AlphasEnv:
    """A MongoDB, an API, a folder of alphas and a Dagster instance, all of which have seen nothing yet."""

    client: MongoClient[dict[str, Any]]
    brain: BrainServer
    home: Path
    instance: dg.DagsterInstance
    patch: pytest.MonkeyPatch

    @property
    def root(self) -> Path:
        return self.home / "alphas"

    def accounts(self, *names: str, disabled: Sequence[str] = ()) -> None:
        """Write the accounts file."""
        file = self.home / "brain" / "accounts.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        listed = [{"user_key": name, "enabled": name not in disabled} for name in (*names, *disabled)]
        file.write_text(json.dumps(listed))

    def credentials(self, name: str, password: str = PASSWORD) -> None:
        self.patch.setenv(f"MARKETDATA_BRAIN_EMAIL_{name.upper()}", f"{name}@example.com")
        self.patch.setenv(f"MARKETDATA_BRAIN_PASSWORD_{name.upper()}", password)

    def user(self, name: str, months: Iterable[str] = MONTHS, *, persona: Persona | None = None) -> None:
        """Let the API know an account with REGULARS and SUPERS alphas in each month."""
        self.brain.add_user(f"{name}@example.com", PASSWORD, persona=persona)
        for number, month in enumerate(months):
            window = month_window(month)
            for kind, count in (("regular", REGULARS), ("super", SUPERS)):
                assert kind in layout.KINDS
                alphas = spread(window.start, window.end, count, kind, first=100 * number)
                self.brain.add_alphas(f"{name}@example.com", alphas)

    def partitions(self, *names: str) -> None:
        self.instance.add_dynamic_partitions(str(BRAIN_ACCOUNTS.name), list(names))

    def ready(self, *names: str, months: Iterable[str] = MONTHS) -> None:
        """Accounts at the API, in the accounts file, with credentials, and as partitions."""
        self.accounts(*names)
        self.partitions(*names)
        for name in names:
            self.credentials(name)
            self.user(name, months)

    def run(
        self,
        first: str,
        last: str | None = None,
        job: str = "alphas",
        ops: Mapping[str, Any] | None = None,
        assets: Sequence[dg.AssetKey] | None = None,
        *,
        checks: bool = False,
    ) -> dg.ExecuteInProcessResult:
        """Run a job for one partition, or a rectangle of them; a failed run is returned, not raised."""
        tags = range_tags(first, last) if last else None
        one, config = None if last else first, {"ops": dict(ops or {})}
        return execute(self.instance, job, config, tags, assets, partition=one, checks=checks)

    def ids(self, kind: Kind, account: str) -> set[str]:
        return {document["id"] for document in self.client[f"{kind}_alphas"][account].find({}, {"id": 1})}

    def materialized(self, asset: dg.AssetKey) -> set[str]:
        return self.instance.get_materialized_partitions(asset)

    def metadata(self, result: dg.ExecuteInProcessResult, asset: dg.AssetKey) -> dict[str, dict[str, Any]]:
        """By partition, what a run said of an asset."""
        return materializations(self.instance, result, asset)


def keys(accounts: Iterable[str], months: Iterable[str] = MONTHS) -> set[str]:
    listed = list(months)
    return {str(alpha_key(account, month)) for account in accounts for month in listed}


def config(asset: dg.AssetKey, **options: Any) -> dict[str, Any]:
    return {asset.to_user_string(): {"config": options}}


def drop_slice(
    root: Path, account: str, month: str, alphas: Sequence[Any], *, kind: Kind = "regular", age: float = 3600.0
) -> Path:
    """Put a raw slice of a month's first day into the folder, as an archive has it, written a while ago."""
    start = month_window(month).start
    window = type(month_window(month))(start, start + dt.timedelta(days=1))
    path = layout.slice_path(root, account, kind, window)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(alphas)))
    os.utime(path, (time.time() - age,) * 2)
    return path


def alpha(name: str, month: str, **fields: Any) -> dict[str, Any]:
    """A small alpha of the month's first day."""
    created = f"{month}-01T09:00:00-05:00"
    known = {"id": name, "type": "REGULAR", "settings": {"region": "USA"}, "dateCreated": created}
    return known | {"dateModified": created, "is": {"sharpe": 1.5, "turnover": 0.2, "checks": []}, **fields}
