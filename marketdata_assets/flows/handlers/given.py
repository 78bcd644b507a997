"""What a handler is given besides its frame, and how SQL is evaluated on one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marketdata_assets.flows.rejects import LINE, Rejects


@dataclass(frozen=True)
class Given:
    """Where refused rows go, and the flow's file, beside which the user's modules stand."""

    rejects: Rejects
    file: Path | None


def doubles(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with each Decimal as a double: expressions compute in doubles."""
    wide = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Decimal)]
    return frame.with_columns(pl.col(wide).cast(pl.Float64)) if wide else frame


def conditions(frame: pl.DataFrame, texts: Sequence[str]) -> list[pl.Series]:
    """For each row whether each SQL condition holds; NULL where that is not known."""
    found = doubles(frame).select(pl.sql_expr(text).alias(str(number)) for number, text in enumerate(texts))
    for text, values in zip(texts, found.get_columns(), strict=True):
        if values.dtype not in (pl.Boolean, pl.Null):
            raise TypeError(f"{text!r} is no condition: it gives {values.dtype}")
    if found.height == 1 != frame.height:
        return [values.new_from_index(0, frame.height) for values in found.get_columns()]
    return found.get_columns()


def kept_columns(frame: pl.DataFrame) -> list[str]:
    """The columns that go with a row whatever is selected."""
    return [LINE] if LINE in frame.columns else []
