"""Handlers of rows: reject, mark, order."""

import polars as pl

from marketdata_assets.flows import steps
from marketdata_assets.flows.handlers.given import Given, conditions


def drop_invalid(config: steps.DropInvalid, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    """A row goes out by the first rule that it breaks, whose name is the reason."""
    kept = dict(zip(config.rules, conditions(frame, list(config.rules.values())), strict=True))
    if all(holds.null_count() == 0 and holds.all() for holds in kept.values()):
        return frame
    reasons = pl.coalesce(
        pl.when(~holds.fill_null(False)).then(pl.lit(f"breaks the rule {name!r}")) for name, holds in kept.items()
    )
    said = frame.select(reasons.alias("reason"))["reason"]
    return given.rejects.take_out(frame, said.is_not_null(), said)


def flag(config: steps.Flag, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    if config.when is not None:
        (holds,) = conditions(frame, [config.when])
        return frame.with_columns(holds.fill_null(False).alias(config.column))
    found = conditions(frame, list(config.flags.values()))
    marks = [
        pl.when(holds.fill_null(False)).then(pl.lit(name)) for name, holds in zip(config.flags, found, strict=True)
    ]
    return frame.with_columns(pl.concat_list(marks).list.drop_nulls().alias(config.column))


def sort(config: steps.Sort, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    if len(config.by) and not config.descending and _sorted(frame, config.by):
        return frame
    return frame.sort(config.by, descending=config.descending, maintain_order=True)


def _sorted(frame: pl.DataFrame, by: list[str]) -> bool:
    """Whether it is plain that no row has to move: one value in all but the last column, and that in order."""
    *groups, last = by
    return all(frame[name].n_unique() <= 1 for name in groups) and frame[last].is_sorted()
