"""A flow without a database: whether it would run at all, and what one file gives.

For tests of a flow, and for `marketdata flows check`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marketdata_assets.flows import conform, new_columns, reading
from marketdata_assets.flows.code import function
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.handlers import Pipeline
from marketdata_assets.flows.steps import Call
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Opener, Unit, file_at, units_of
from marketdata_assets.loading.rejects import LINE, Rejects

NO_FILE = "an empty file"


@dataclass(frozen=True)
class Trial:
    """What one file gives: rows with the target's columns, the reason of each rejected line, rows read in all."""

    rows: pl.DataFrame
    rejects: Mapping[int, str]
    read: int
    too_many: bool
    """Whether so many rows are rejected that a run would load nothing of the file."""


def units_at(flow: FlowDefinition, path: Path) -> list[Unit]:
    """The file at `path`, or the members of an archive; with its folders where the flow reads their names."""
    return units_of(file_at(path, path.absolute().as_posix()[1:] if "/" in (flow.loader.file_name or "") else ""))


def try_file(flow: FlowDefinition, path: Path) -> Trial:
    """Read the file at `path`, of an archive the first member. Raises LoadError as a run would."""
    units = units_at(flow, path)
    if not units:
        raise BadFile(path.name, "it has no member that may be data")
    return try_unit(flow, units[0])


def try_unit(flow: FlowDefinition, unit: Unit) -> Trial:
    """Read `unit` and run the handlers on it. Raises FlowError as a run would."""
    flow = _with_new_columns(flow, unit)
    rejects = Rejects(flow.quality.limit)
    pipeline = Pipeline(flow, unit.place, rejects)
    blocks = [pipeline.block(frame) for frame in _frames(flow, unit, rejects)]
    frame = pipeline.all(blocks or [pipeline.block(reading.empty(flow.loader))])
    rows = _taken(flow, unit, frame, rejects, newest=bool(flow.target.key))
    return Trial(rows, dict(sorted(rejects.reasons.items())), rejects.rows, rejects.exceeded)


def _frames(flow: FlowDefinition, unit: Unit, rejects: Rejects) -> Iterator[pl.DataFrame]:
    """The rows of the unit as they are read, one frame at a time."""
    with Opener() as opener, reading.frames(opener, unit, flow, rejects) as (read, _):
        yield from read


def _taken(
    flow: FlowDefinition, unit: Unit, frame: pl.DataFrame, rejects: Rejects, newest: bool = False
) -> pl.DataFrame:
    """The rows that the table takes; of one key only the `newest`."""
    frame = frame.with_columns(rejects.lines(frame))
    taken = conform.conform(flow, unit.place, frame, rejects)
    taken = conform.newest_of_keys(flow, taken, rejects) if newest else taken
    return frame.filter(pl.col(LINE).is_in(taken[LINE].implode())).select(*flow.target.columns)


def _with_new_columns(flow: FlowDefinition, unit: Unit) -> FlowDefinition:
    """The flow with the columns that a run would add for `unit`."""
    if flow.loader.new_columns != "add":
        return flow
    rejects = Rejects(flow.quality.limit)
    for _ in _frames(flow, unit, rejects):
        pass
    return new_columns.extended(flow, new_columns.named(flow, unit.place, rejects.undeclared))


@dataclass(frozen=True)
class Step:
    """Rows after a step: how many there are, and the first of them."""

    title: str
    count: int
    rows: pl.DataFrame


def preview(flow: FlowDefinition, unit: Unit, rows: int = 10) -> Iterator[Step]:
    """The rows of `unit` as they are read, after each handler, and as the table takes them. Raises FlowError."""
    flow = _with_new_columns(flow, unit)
    rejects = Rejects(flow.quality.limit)
    frame = pl.concat([reading.empty(flow.loader), *_frames(flow, unit, rejects)], how="diagonal_relaxed")
    yield Step("read", frame.height, frame.drop(LINE).head(rows))
    for number, step in enumerate(flow.handlers, 1):
        pipeline = Pipeline(flow.model_copy(update={"handlers": [step]}), unit.place, rejects)
        frame = pipeline.all([pipeline.block(frame)])
        yield Step(f"{number} {step.name}", frame.height, frame.select(pl.exclude(LINE)).head(rows))
    frame = _taken(flow, unit, frame, rejects)
    yield Step(f"table {flow.target.table}", frame.height, frame.head(rows))
    if rejects:
        found = sorted(rejects.reasons.items())
        reasons = pl.DataFrame(found, schema={"line": pl.Int64, "reason": pl.String}, orient="row")
        yield Step("rejected", len(rejects), reasons.head(rows))


def check(flow: FlowDefinition) -> None:
    """Run the handlers before the first `call` on a frame of no rows. Raises FlowError that names what is wrong.

    What a user's function does with no rows is its own affair, so it is looked up and not called.
    """
    for path in flow.functions:
        function(path, flow.file)
    before = next((n for n, step in enumerate(flow.handlers) if isinstance(step.config, Call)), len(flow.handlers))
    rejects = Rejects(flow.quality.limit)
    pipeline = Pipeline(flow.model_copy(update={"handlers": flow.handlers[:before]}), NO_FILE, rejects)
    frame = pipeline.all([pipeline.block(reading.empty(flow.loader))])
    if before == len(flow.handlers):
        conform.conform(flow, NO_FILE, frame, rejects)
