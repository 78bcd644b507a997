"""How runs of alphas ended, for people and for machines: failures first, then the line that sums up."""

from collections.abc import Mapping
from typing import Any

from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.cli import output
from marketdata_assets.cli.instance import RunOutcome

COUNTS = ("documents", "inserted", "updated", "unchanged", "rejected")

Outcomes = Mapping[str, RunOutcome]
"""By account."""


def imported(outcomes: Outcomes) -> None:
    """Print how imports ended."""
    _print_problems(outcomes)
    total = _totals(outcomes)
    counts = ", ".join(f"{total[name]:,} {name}" for name in COUNTS)
    left_out = f", {total['skipped']:,} outside the time range" if total["skipped"] else ""
    speed = f"{total['documents'] / total['seconds']:,.0f}" if total["seconds"] else "0"
    checks = sum(outcome.checks_passed for outcome in outcomes.values())
    output.console().print(
        f"alphas        {counts}{left_out}, {total['seconds']:.1f} s, {speed} documents/s;"
        f" {total['packages_unchanged']:,} packages unchanged, {checks} checks passed"
    )
    if bad := sum(outcome.metadata.get("alpha_packages", {}).get("rejected", 0) for outcome in outcomes.values()):
        what = "element of a raw file is no alpha" if bad == 1 else "elements of raw files are no alphas"
        output.notes().print(f"{bad:,} {what}: marketdata quarantine show alphas")


def imported_json(outcomes: Outcomes) -> dict[str, Any]:
    """The same for machines; `in_raw_files` are elements that packaging rejected."""
    bad = sum(outcome.metadata.get("alpha_packages", {}).get("rejected", 0) for outcome in outcomes.values())
    return {**_runs(outcomes), **_totals(outcomes), "rejected_in_raw_files": bad}


def fetched(outcomes: Outcomes) -> None:
    """Print how fetches ended."""
    _print_problems(outcomes)
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
        output.notes().print("next: marketdata ingest alphas; while the UI runs, its daemon does this automatically")


def fetched_json(outcomes: Outcomes) -> dict[str, Any]:
    """The same for machines."""
    found = {name: _plain(outcome.metadata.get("alpha_files", {})) for name, outcome in outcomes.items()}
    return {**_runs(outcomes), "fetched": found}


def _print_problems(outcomes: Outcomes) -> None:
    for name, outcome in outcomes.items():
        outcome.print_problems(name if len(outcomes) > 1 else "")


def _runs(outcomes: Outcomes) -> dict[str, Any]:
    runs = {name: outcome.as_json() for name, outcome in outcomes.items()}
    return {"success": all(outcome.success for outcome in outcomes.values()), "accounts": runs}


def _totals(outcomes: Outcomes) -> dict[str, Any]:
    names = (*COUNTS, "skipped", "packages_unchanged", "seconds")
    tables = [outcome.metadata.get(f"{kind}_alphas", {}) for outcome in outcomes.values() for kind in KINDS]
    return {name: round(sum(table.get(name, 0) for table in tables), 2) for name in names}


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if isinstance(value, int | float | str)}
