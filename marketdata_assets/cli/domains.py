"""Commands that look at every domain: one whose server is not there does not hide the others."""

from collections.abc import Callable
from typing import Any

from marketdata_assets.cli import output
from marketdata_assets.resources import NoServer

Rows = list[dict[str, Any]]


def of_each(*domains: Callable[[], Rows]) -> Rows:
    """The rows of all domains; those without a server are named in a note. Raises NoServer when none has one."""
    rows: Rows = []
    absent: list[NoServer] = []
    for ask in domains:
        try:
            rows += ask()
        except NoServer as error:
            absent.append(error)
    if len(absent) == len(domains):
        raise absent[0]
    for cause in absent:
        output.notes().print(f"left out: {cause}", markup=False)
    return rows
