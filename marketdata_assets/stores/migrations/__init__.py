"""Numbered steps that change existing tables: which of them a database still needs, and which it must not have.

The schema files of the domains create missing tables in their present form. A step brings a table of an earlier version
to that form; for a table that does not exist it is recorded without being run. Steps are files named
`steps/STORE/NUMBER_NAME`, whose first line names their table; one that was released is never edited.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from marketdata_assets.errors import TerminalError

STEPS = Path(__file__).parent / "steps"
RECORDS = "marketdata_schema"
_FILE = re.compile(r"(\d{4})_(\w+)\.(?:sql|yaml)")
_TABLE = re.compile(r"(?:--|#) Table: (\S+)\n")


class SchemaTooOld(TerminalError):
    """Tables are those of an earlier version; "marketdata migrate" changes them."""

    def __init__(self, place: str, steps: Sequence["Step"]) -> None:
        names = ", ".join(step.label for step in steps)
        super().__init__(
            f'{place} has tables of an earlier version, without {names}. Nothing was written; run "marketdata migrate"'
        )


class SchemaTooNew(TerminalError):
    """A newer version has changed the tables."""

    def __init__(self, place: str, found: str, known: int) -> None:
        super().__init__(
            f"{place} was changed by a newer version, with step {found}; this version knows steps up to {known:04d}."
            " Nothing was written; install that version here, or restore a backup made before the upgrade"
        )


class StepChanged(TerminalError):
    """A step was edited after it was run."""

    def __init__(self, place: str, step: "Step", recorded: str) -> None:
        super().__init__(
            f"{place}: step {step.label} was run as {recorded}, and this version has {step.checksum}. Nothing was"
            " written; install a released version, and write changes as a new step"
        )


class TableBusy(TerminalError):
    """A table stayed in use by loads for longer than a migration waits."""

    def __init__(self, place: str, step: "Step") -> None:
        super().__init__(
            f'{place}: {step.table} was in use for too long to run step {step.label}. Run "marketdata migrate" again'
            " while fewer loads are in progress; steps that were run are kept"
        )


@dataclass(frozen=True)
class Step:
    """One change of one table. It is idempotent, since a process may end between the change and its record."""

    number: int
    name: str
    table: str
    text: str

    @property
    def label(self) -> str:
        return f"{self.number:04d} {self.name}"

    @cached_property
    def checksum(self) -> str:
        """Of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """Steps not recorded yet: to be run, and those without a table, which are only recorded."""

    pending: tuple[Step, ...] = ()
    unneeded: tuple[Step, ...] = ()


def steps_of(store: str) -> tuple[Step, ...]:
    """The steps of a store, in order."""
    found = []
    for path in sorted((STEPS / store).glob("[0-9]*")):
        name, text = _FILE.fullmatch(path.name), path.read_text("utf-8")
        table = _TABLE.match(text)
        assert name and table, f"{path} is not a step"
        found.append(Step(int(name[1]), name[2], table[1], text))
    return tuple(found)


def plan(
    place: str, steps: Sequence[Step], recorded: Mapping[int, tuple[str, str]], exists: Callable[[str], bool]
) -> Plan:
    """What is to do, by the names and checksums that are `recorded`. Raises SchemaTooNew and StepChanged."""
    known = {step.number: step for step in steps}
    for number, (name, checksum) in sorted(recorded.items()):
        if number not in known:
            raise SchemaTooNew(place, f"{number:04d} {name}", max(known, default=0))
        if known[number].checksum != checksum:
            raise StepChanged(place, known[number], checksum)
    fresh = [step for step in steps if step.number not in recorded]
    has = {table: exists(table) for table in {step.table for step in fresh}}
    return Plan(tuple(step for step in fresh if has[step.table]), tuple(step for step in fresh if not has[step.table]))


def refuse_pending(place: str, pending: Sequence[Step]) -> None:
    """Raise SchemaTooOld when a step has to be run."""
    if pending:
        raise SchemaTooOld(place, pending)
