"""The domains, of which MARKETDATA_DOMAINS chooses, and the servers and other domains that each needs."""

from collections.abc import Mapping, Sequence

from marketdata_assets.errors import did_you_mean

SERVERS: Mapping[str, Sequence[str]] = {
    "reference": ("clickhouse",),
    "bars": ("postgres",),
    "alphas": ("mongo",),
    "ticks": ("clickhouse",),
    "exchanges": ("clickhouse", "nats"),
    "flows": ("postgres",),
    "reconciliation": ("postgres", "clickhouse"),
}
"""By domain, in the order of `marketdata status`. Dagster's own storage is in PostgreSQL, so that one always runs."""
NEEDS: Mapping[str, Sequence[str]] = {"ticks": ("reference",), "reconciliation": ("bars", "ticks", "flows")}
"""Domains that are loaded with another, because its completeness or its rows come from their tables."""


def chosen(text: str | None) -> tuple[str, ...]:
    """The domains in a text such as `bars,flows`, and those that they need; all without a text.

    Raises ValueError when one does not exist.
    """
    names = {name.strip() for name in (text or "").split(",") if name.strip()} or {*SERVERS}
    if unknown := sorted(names - SERVERS.keys()):
        raise ValueError(f"{unknown[0]} is no domain; {did_you_mean(unknown[0], [*SERVERS])}")
    missing = names
    while missing:
        missing = {need for name in names for need in NEEDS.get(name, ())} - names
        names |= missing
    return tuple(name for name in SERVERS if name in names)
