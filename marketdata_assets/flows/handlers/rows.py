"""Handlers of rows: refuse, mark, order."""

import polars as pl

from marketdata_assets.flows import steps
from marketdata_assets.flows.handlers.given import Given, condition


def drop_invalid(config: steps.DropInvalid, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    """A row goes out by the first rule that it breaks, whose name is the reason."""
    broken = [(name, condition(frame, text).fill_null(False).not_()) for name, text in config.rules.items()]
    if not any(bad.any() for _, bad in broken):
        return frame
    reasons = pl.coalesce(pl.when(bad).then(pl.lit(f"breaks the rule {name!r}")) for name, bad in broken)
    said = frame.select(reasons.alias("reason"))["reason"]
    return given.rejects.take_out(frame, said.is_not_null(), said)


def flag(config: steps.Flag, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    if config.when is not None:
        return frame.with_columns(condition(frame, config.when).fill_null(False).alias(config.column))
    marks = [pl.when(condition(frame, text).fill_null(False)).then(pl.lit(name)) for name, text in config.flags.items()]
    return frame.with_columns(pl.concat_list(marks).list.drop_nulls().alias(config.column))


def sort(config: steps.Sort, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    if len(config.by) and not config.descending and _sorted(frame, config.by):
        return frame
    return frame.sort(config.by, descending=config.descending, maintain_order=True)


def _sorted(frame: pl.DataFrame, by: list[str]) -> bool:
    """Whether a plain look tells that nothing has to move: one value in all but the last column, and that in order."""
    *groups, last = by
    return all(frame[name].n_unique() <= 1 for name in groups) and frame[last].is_sorted()
