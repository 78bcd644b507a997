"""Rows of a table in metadata, as the UI shows them."""

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg

NARROW = 3
"""So many columns fit where the UI shows values."""
INLINE = 1000
"""Shorter text it shows there, which cuts a wide table off; longer text is a link that opens all of it."""


def markdown_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    """Rows under the names of their columns; None is an empty cell."""
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    text = "\n".join(lines)
    return dg.MetadataValue.md(text if len(names) <= NARROW else text.ljust(INLINE))


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
