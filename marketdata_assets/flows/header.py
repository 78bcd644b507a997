"""Which of a file's columns the flow takes: those that `loader.columns` names, each once."""

from collections.abc import Sequence

from marketdata_assets.flows.definition import Loader
from marketdata_assets.loading.errors import BadHeader

ENCODING_REMEDY = "Set loader.encoding to {} and run the flow again."
REMEDY = "Correct loader.columns or loader.skip_lines, or deliver the file again."


def missing(names: Sequence[str], loader: Loader) -> list[str]:
    """The columns of the flow that are not among `names`."""
    return [name for name in loader.columns if name not in names]


def check(names: Sequence[str], loader: Loader, place: str, line: int = 1) -> None:
    """Raise BadHeader when a column of the flow is not among `names`, or is there twice."""
    if lacking := missing(names, loader):
        cause = f"the header has no {', '.join(lacking)}; it has {', '.join(names)[:400]}"
        if not loader.header:
            cause = f"the row has {len(names)} columns, and loader.columns takes column {lacking[-1]}"
        raise BadHeader(place, line, cause, REMEDY)
    if twice := [name for name in loader.columns if list(names).count(name) > 1]:
        raise BadHeader(place, line, f"column {twice[0]} appears twice", "Deliver the file again with one of them.")
