"""What a handler is given besides its frame, and how SQL is evaluated on one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from marketdata_assets.loading.rejects import LINE, Rejects


@dataclass(frozen=True)
class Given:
    """Where rejected rows go, and the flow's file, beside which the user's modules are."""

    rejects: Rejects
    file: Path | None


@lru_cache(maxsize=1000)
def expression(text: str) -> pl.Expr:
    """SQL over columns."""
    return pl.sql_expr(text)


def computed(frame: pl.DataFrame, expressions: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """The columns of `expressions`. They see each Decimal as a double."""
    used = {name for value in expressions.values() for name in value.meta.root_names()}
    wide = [name for name in used & {*frame.columns} if isinstance(frame[name].dtype, pl.Decimal)]
    source = frame.with_columns(frame[name].cast(pl.Float64) for name in wide) if wide else frame
    return source.select(**expressions)


def conditions(frame: pl.DataFrame, texts: Sequence[str]) -> list[pl.Series]:
    """For each row whether each SQL condition holds; NULL where that is not known."""
    found = computed(frame, {str(number): expression(text) for number, text in enumerate(texts)})
    for text, values in zip(texts, found.get_columns(), strict=True):
        if values.dtype not in (pl.Boolean, pl.Null):
            raise TypeError(f"{text!r} is no condition: it gives {values.dtype}")
    if found.height == 1 != frame.height:
        return [values.new_from_index(0, frame.height) for values in found.get_columns()]
    return found.get_columns()


def kept_columns(frame: pl.DataFrame) -> list[str]:
    """The columns that go with a row whatever is selected."""
    return [LINE] if LINE in frame.columns else []
