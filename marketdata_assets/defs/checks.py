"""The checks of all assets but those of flows, a row each in `checks.csv`, and their results.

What a check of `advice` finds is for a person to review, and a warning: what sources sent is kept as they sent it, and
what is missing of a stream is recorded.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import dagster as dg

from marketdata_assets.dagster_internals import StepContext
from marketdata_assets.defs.metadata import csv_rows
from marketdata_assets.stores.bookkeeping import Finding


@cache
def _rows() -> tuple[Mapping[str, str], ...]:
    return tuple(csv_rows("checks.csv"))


def specs(*assets: str) -> list[dg.AssetCheckSpec]:
    """The checks of some assets."""
    return [
        dg.AssetCheckSpec(row["check"], asset=asset, description=row["meaning"])
        for asset in assets
        for row in _rows()
        if asset in row["assets"].split()
    ]


def meaning(asset: str, name: str) -> str:
    """What a check says."""
    [text] = [str(spec.description) for spec in specs(asset) if spec.name == name]
    return text


def result(asset: str, name: str, finding: Finding) -> dg.AssetCheckResult:
    """The result of a check; what is advice is a warning, and no error."""
    advice = any(row["advice"] and row["check"] == name and asset in row["assets"].split() for row in _rows())
    metadata: dict[str, Any] = {
        "objections": finding.count,
        "checked": finding.checked,
        "left_out": finding.left_out,
        **finding.facts,
        "examples": dg.MetadataValue.json([dict(example) for example in finding.examples]),
    }
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(asset),
        check_name=name,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.WARN if advice or finding.advice else dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )


def results(
    assets: Collection[str], wanted: Collection[dg.AssetCheckKey] | None, find: Callable[[str, str], Finding]
) -> Iterator[dg.AssetCheckResult]:
    """The results of the checks of some assets, those that are `wanted` or all; `find` takes an asset and a name."""
    for spec in specs(*assets):
        if wanted is None or spec.key in wanted:
            asset = spec.asset_key.to_user_string()
            yield result(asset, spec.name, find(asset, spec.name))


def log_results(context: StepContext, found: Iterable[dg.AssetCheckResult]) -> list[dg.AssetCheckResult]:
    """Log results of checks that have no step in the run, or whose step Dagster skips; the same results."""
    evaluated = []
    for one in found:
        assert one.asset_key is not None
        assert one.check_name is not None
        event = dg.AssetCheckEvaluation(
            asset_key=one.asset_key,
            check_name=one.check_name,
            passed=one.passed,
            severity=one.severity,
            metadata=one.metadata,
        )
        context.log_event(event)  # type: ignore[arg-type]  # taken, though its annotation does not say so
        evaluated.append(one)
    return evaluated


def log_skipped(context: StepContext, found: Iterable[dg.AssetCheckResult]) -> None:
    """Log results of checks of a load that has failed in part, whose step Dagster skips: the others are loaded."""
    try:
        log_results(context, found)
    except Exception as error:  # what failed before is the run's failure
        context.log.error(f"not all is checked: {error}")
