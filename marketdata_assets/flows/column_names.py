"""The names that columns of files have in tables; those of Chinese files are in column_names.csv."""

import re
from functools import cache
from importlib.resources import files


@cache
def known() -> dict[str, str]:
    """What columns of Chinese files are called here."""
    table = files(__package__).joinpath("column_names.csv").read_text("utf-8").splitlines()[1:]
    return {theirs: ours for ours, _, names in (line.partition(",") for line in table) for theirs in names.split()}


def identifier(source: str) -> str:
    """The name that follows from `source`: `LastPrice` is last_price. It may be no identifier, as that of a digit."""
    source = re.sub(r"/[^\x00-\x7f]\w*$", "", source)  # in two languages
    ours = known().get(source) or known().get(re.sub(r"\s*[(（].*[)）]$", "", source))
    words = ours or re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", source).lower()
    return re.sub(r"[^a-z0-9]+", "_", words).strip("_")
