"""One file through a flow without a database: what would land, and what would be refused.

For tests of a flow, and for `marketdata flows check`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marketdata_assets.flows import conform
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.loader import content
from marketdata_assets.flows.pipeline import Pipeline
from marketdata_assets.flows.reading import Reader, empty
from marketdata_assets.flows.rejects import LINE, Rejects
from marketdata_assets.flows.units import Unit


@dataclass(frozen=True)
class Trial:
    """What one file gives: rows with the target's columns, the reason of each refused line, rows read in all."""

    rows: pl.DataFrame
    rejects: Mapping[int, str]
    read: int
    too_many: bool
    """Whether so many rows are refused that a run would land nothing of the file."""


def try_file(flow: FlowDefinition, path: Path) -> Trial:
    """Read `path` and run the handlers on it. Raises FlowError as a run would."""
    stat = path.stat()
    unit = Unit(path.name, path, stat.st_size, stat.st_mtime_ns)
    rejects = Rejects(flow.quality)
    pipeline = Pipeline(flow, unit.name, rejects)
    with content(unit, flow.loader) as text:
        reader = Reader(flow.loader, text.names, rejects)
        frames = [pipeline.block(empty(flow.loader)), *(pipeline.block(reader.frame(block)) for block in text.blocks)]
    frame = pipeline.all(frames)
    frame = frame.with_columns(rejects.lines(frame))
    landing = conform.conform(flow, unit.name, frame, rejects)
    if flow.target.key:
        landing = conform.refuse_repeated(flow, landing, rejects)
    rows = frame.filter(pl.col(LINE).is_in(landing[LINE].implode())).select(*flow.target.columns)
    return Trial(
        rows, dict(sorted(rejects.reasons.items())), rejects.rows, flow.quality.exceeded(len(rejects), rejects.rows)
    )
