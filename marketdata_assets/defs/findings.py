"""Findings of a library's checks as results of Dagster's."""

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from marketdata_assets.stores.findings import Finding


def result(asset: str, name: str, finding: "Finding", *, advice: bool = False) -> dg.AssetCheckResult:
    """The verdict; `advice` is for a person to look at, and no error."""
    metadata: dict[str, Any] = {
        "objections": finding.count,
        "looked_at": finding.looked_at,
        "left_out": finding.left_out,
        **finding.facts,
        "examples": dg.MetadataValue.json([dict(example) for example in finding.examples]),
    }
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(asset),
        check_name=name,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.WARN if advice else dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )
