"""The matrix of docs/reference/engines.md: a row for each server, replaced by each run of the tests on it."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "engines.md"
MARKS = re.compile(r"(?<=<!-- runs -->\n).*(?=<!-- end -->)", re.DOTALL)
COLUMNS = ("engine", "version", "program", "passed", "skipped", "failed", "on", "command")


@dataclass(frozen=True)
class Run:
    """The tests of one database on one server."""

    engine: str
    version: str
    program: str
    passed: int
    skipped: int
    failed: int
    on: str
    command: str

    @property
    def line(self) -> str:
        cells = [getattr(self, name) for name in COLUMNS]
        return f"| {' | '.join(map(str, cells[:-1]))} | `{self.command}` |"


def record(run: Run, order: list[str]) -> None:
    """Put the run in place of the last one with the same command; rows stay in the order of their commands."""
    text = PAGE.read_text()
    found = MARKS.search(text)
    assert found is not None, f"{PAGE} has lost the marks of its matrix"
    lines = [line for line in found[0].splitlines() if line.startswith("|") and "`make" in line]
    rows = {line.rsplit("`", 2)[1]: line for line in lines} | {run.command: run.line}
    head = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    ordered = sorted(rows, key=lambda command: order.index(command) if command in order else len(order))
    table = "\n".join([*head, *(rows[command] for command in ordered)]) + "\n"
    PAGE.write_text(MARKS.sub(lambda _: table, text))
