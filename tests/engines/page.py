"""The matrix of docs/reference/engines.md: a row for each server, replaced by each run of the tests on it."""

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "engines.md"
MARKS = re.compile(r"(?<=<!-- runs -->\n).*(?=<!-- end -->)", re.DOTALL)
COLUMNS = ("name", "server", "version", "program", "tests", "passed", "skipped", "failed", "on")
ALL = "all"


@dataclass(frozen=True)
class Run:
    """The tests of one database on one server; `tests` is ALL, or the folders that ran."""

    name: str
    server: str
    version: str
    program: str
    tests: str
    passed: int
    skipped: int
    failed: int
    on: str


def record(run: Run, order: Sequence[str]) -> None:
    """Put the run in place of earlier ones of the same tests; one of all tests replaces those of parts of them.

    Rows are in the order of their names, as in `order`.
    """
    text = PAGE.read_text()
    found = MARKS.search(text)
    assert found is not None, f"{PAGE} has lost the marks of its matrix"
    rows = [line.strip("| ").split(" | ") for line in found[0].splitlines()[2:]]
    kept = [row for row in rows if row[0] != run.name or (run.tests != ALL and row[4] not in (ALL, run.tests))]
    kept.append([str(value) for value in astuple(run)])
    kept.sort(key=lambda row: order.index(row[0]) if row[0] in order else len(order))
    lines = [" | ".join(cells) for cells in (COLUMNS, ["---"] * len(COLUMNS), *kept)]
    PAGE.write_text(MARKS.sub(lambda _: "".join(f"| {line} |\n" for line in lines), text))
