"""Bars as a Parquet dataset with hive partitions: `year=2024/code=600000.SH/bars.parquet`, one file for each.

Each file carries the fingerprint of what it was made of, so that a file is always as old as it says.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from marketdata_assets.export import versions
from marketdata_assets.export.folder import Report, Tally, each, exclusive
from marketdata_assets.read.bars import Factors, Query, reader
from marketdata_assets.read.errors import ReadError
from marketdata_assets.read.sources import of_clickhouse
from marketdata_assets.state_files import replacing

NAME = "bars.parquet"
VERSION, DAYS = "marketdata.version", "marketdata.days"


@dataclass(frozen=True)
class Job:
    """Where bars are read and written. `connection` is the address of the source's database."""

    folder: Path
    query: Query
    connection: str | None
    factors: Factors | None


def export(
    folder: Path,
    query: Query,
    codes: Sequence[str] | None = None,
    years: Sequence[int] | None = None,
    *,
    connection: str | None = None,
    workers: int = 2,
    tally: Tally | None = None,
) -> Report:
    """Make the files of these stocks and years equal to the tables; None is all of them.

    A file that is made of the same data is left alone, one whose bars are no longer loaded is removed. One year of one
    stock is in memory for each of `workers` threads. A stock that fails is in the report and keeps its files. `tally`
    has what was done when an error ends the export. Raises OSError, TerminalError, TransientError, MissingFactors,
    NothingLoaded, CannotRead.
    """
    with exclusive(folder, "parquet", asdict(query)):
        factors = None
        if query.computed:
            with of_clickhouse(connection if query.source == "ticks" else None) as client:
                factors = Factors.stored(client, codes, query)
        with reader(query, connection) as opened:
            wanted = versions.of(opened, codes, factors)
        chosen = {
            code: {year: version for year, version in of_code.items() if years is None or year in years}
            for code, of_code in wanted.items()
        }
        existing = _files(folder, codes, years)
        job = Job(folder, query, connection, factors)
        export_code = lambda code: _export_code(job, code, chosen.get(code, {}), existing.get(code, {}))  # noqa: E731
        return each(sorted({*chosen, *existing}), export_code, workers, tally or Tally())


def path_of(folder: Path, code: str, year: int) -> Path:
    """Where the bars of a stock and a year are."""
    return folder / f"year={year}" / f"code={code}" / NAME


def files_by_code(folder: Path) -> dict[str, dict[int, Path]]:
    """All files of the dataset, by code and year."""
    found: dict[str, dict[int, Path]] = {}
    for path in folder.glob(f"year=*/code=*/{NAME}"):
        code, year = path.parent.name.removeprefix("code="), path.parent.parent.name.removeprefix("year=")
        found.setdefault(code, {})[int(year)] = path
    return found


def version_of(path: Path) -> str | None:
    """The fingerprint of what a file was made of."""
    return pl.read_parquet_metadata(path).get(VERSION)


def days_of(files: Mapping[int, Path]) -> list[dt.date]:
    """The days with bars in the files of a stock, by year; the files' rows are not read."""
    found = []
    for year, path in sorted(files.items()):
        text = pl.read_parquet_metadata(path)[DAYS]
        found += [dt.date(year, int(text[at : at + 2]), int(text[at + 2 : at + 4])) for at in range(0, len(text), 4)]
    return found


def _files(folder: Path, codes: Sequence[str] | None, years: Sequence[int] | None) -> dict[str, dict[int, Path]]:
    found = files_by_code(folder)
    return {
        code: {year: path for year, path in paths.items() if years is None or year in years}
        for code, paths in found.items()
        if codes is None or code in codes
    }


def _export_code(job: Job, code: str, wanted: Mapping[int, str], existing: Mapping[int, Path]) -> Report:
    """Write the years of a stock that have changed, and remove those that are gone."""
    stale = [year for year, one in wanted.items() if year not in existing or version_of(existing[year]) != one]
    done = Report(unchanged=len(wanted.keys() & existing.keys() - {*stale}))
    try:
        if stale:
            with reader(job.query, job.connection, factors=job.factors) as opened:
                for year in stale:
                    frame = opened.year(code, year)
                    if not frame.is_empty():
                        done += _write(path_of(job.folder, code, year), frame, wanted[year])
                    elif year in existing:
                        done += _remove(existing[year])
        for year in existing.keys() - wanted.keys():
            done += _remove(existing[year])
    except ReadError as error:
        done += Report(failed={code: str(error)})
    return done


def _write(path: Path, frame: pl.DataFrame, version: str) -> Report:
    days = frame[frame.columns[1]].cast(pl.Date).unique().sort().dt.strftime("%m%d")
    with replacing(path) as file:
        frame.drop("code").write_parquet(file, metadata={VERSION: version, DAYS: "".join(days)})
    return Report(written=1, rows=frame.height, bytes=path.stat().st_size)


def _remove(path: Path) -> Report:
    path.unlink()
    for folder in (path.parent, path.parent.parent):
        with suppress(OSError):  # other files are in it
            folder.rmdir()
    return Report(removed=1)
