"""Bars in the binary format of qlib: calendars, instruments, and one file for each stock and field.

`features/sh600000/close.day.bin` is little-endian float32: the place of the first value in `calendars/day.txt`, then a
value for each entry of the calendar, NaN where there is no bar. https://github.com/microsoft/qlib, scripts/dump_bin.py.
"""

import datetime as dt
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import polars as pl

from marketdata_assets.export.folder import Report, Tally, each, exclusive
from marketdata_assets.export.parquet import days_of, files_by_code, version_of
from marketdata_assets.export.parquet import export as export_parquet
from marketdata_assets.export.versions import digest
from marketdata_assets.read.bars import Query
from marketdata_assets.read.resampling import MINUTES, PRICES, Frequency, times_of_day
from marketdata_assets.state_files import SHARED, write

STAGE = ".bars"
"""The Parquet dataset below the folder that the files are made of; it saves reading the tables again."""
VERSION = ".version"
NAMES = {"1d": "day", "1w": "1week", "1mo": "1month", **{freq: f"{minutes}min" for freq, minutes in MINUTES.items()}}
"""qlib's names of frequencies."""

_write = partial(write, mode=SHARED)


def export(
    folder: Path,
    query: Query,
    codes: Sequence[str] | None = None,
    *,
    connection: str | None = None,
    workers: int = 2,
    tally: Tally | None = None,
) -> Report:
    """Make qlib's files of these stocks equal to the tables; None is all of them.

    Fields: open, high, low, close, amount (yuan), change (of the close), and, unless the vendor adjusted the prices,
    factor, vwap, and volume, which is divided by the factor, as qlib expects; otherwise volume is in shares. A stock
    whose bars and places in the calendar are the same is left alone. Counts are those of stocks. Raises what
    the Parquet export raises.
    """
    query = replace(query, label="start" if query.freq in MINUTES else "end")  # as qlib's own data has it
    with exclusive(folder, "qlib", asdict(query)):
        stage = folder / STAGE
        tally, staged = tally or Tally(), Tally()
        try:
            export_parquet(stage, query, codes, connection=connection, workers=workers, tally=staged)
        except BaseException:
            tally.total = staged.total
            raise
        tally.add(Report(failed=staged.report.failed))
        files = files_by_code(stage)
        days = {code: days_of(files[code]) for code in sorted(files)}
        calendar = _Calendar(query.freq, sorted({day for of_code in days.values() for day in of_code}))
        _write(folder / "calendars" / f"{NAMES[query.freq]}.txt", _text(map(calendar.text, calendar.labels)))
        each(days, lambda code: _dump(folder, calendar, code, files[code], days[code][-1]), workers, tally)
        _write(folder / "instruments" / "all.txt", _text(calendar.instrument(code, days[code]) for code in days))
        tally.add(_remove_others(folder, days))
        return tally.report


@dataclass(frozen=True)
class _Calendar:
    """The days with bars of any stock, and with them the label of every bar."""

    freq: Frequency
    days: Sequence[dt.date]

    @cached_property
    def times(self) -> Sequence[dt.time]:
        return times_of_day(self.freq, "start")

    @property
    def labels(self) -> Iterator[dt.datetime]:
        return (dt.datetime.combine(day, time) for day in self.days for time in self.times)

    def text(self, label: dt.datetime) -> str:
        return f"{label:%Y-%m-%d %H:%M:%S}" if self.freq in MINUTES else f"{label:%Y-%m-%d}"

    def instrument(self, code: str, days: Sequence[dt.date]) -> str:
        first, last = (dt.datetime.combine(days[at], self.times[at]) for at in (0, -1))
        return f"{_name(code)}\t{self.text(first)}\t{self.text(last)}"

    def places(self, frame: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The place of each row of bars."""
        label = frame.to_series(0)
        day = label.cast(pl.Date).replace_strict(self._place_of_day, return_dtype=pl.Int64)
        if self.freq not in MINUTES:
            return day.to_numpy()
        places = {time: place for place, time in enumerate(self.times)}
        return (day + label.dt.time().replace_strict(places, return_dtype=pl.Int64)).to_numpy()

    def version(self, last: dt.date) -> str:
        """A fingerprint of all places up to a day."""
        return digest(*self.days[: bisect_right(self.days, last)])

    @cached_property
    def _place_of_day(self) -> dict[dt.date, int]:
        return {day: number * len(self.times) for number, day in enumerate(self.days)}


def _dump(folder: Path, calendar: _Calendar, code: str, files: Mapping[int, Path], last: dt.date) -> Report:
    """Write the fields of one stock, unless they are made of the same bars and the same calendar."""
    paths = [files[year] for year in sorted(files)]
    version = digest(*map(version_of, paths), calendar.version(last))
    target = folder / "features" / _name(code).lower()
    mark = target / VERSION
    if mark.exists() and mark.read_text("ascii") == version:
        return Report(unchanged=1)
    mark.unlink(missing_ok=True)
    bars = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in paths])
    places = calendar.places(bars)
    written = 0
    for name, values in _fields(bars).items():
        series = np.full(places[-1] - places[0] + 2, np.nan, "<f4")
        series[0] = places[0]
        series[1 + places - places[0]] = values.cast(pl.Float32).fill_null(float("nan")).to_numpy()
        _write(target / f"{name}.{NAMES[calendar.freq]}.bin", series.tobytes())
        written += series.nbytes
    _write(mark, version.encode())
    return Report(written=1, rows=bars.height, bytes=written)


def _fields(bars: pl.DataFrame) -> dict[str, pl.Series]:
    before = pl.col("close").shift(1)
    change = pl.when(before > 0).then(pl.col("close") / before - 1)
    fields = bars.select(*PRICES, "volume", "amount", "factor", change=change)
    if fields["factor"].null_count():
        return fields.drop("factor").to_dict()
    traded = pl.when(pl.col("volume") > 0).then(pl.col("amount") / pl.col("volume") * pl.col("factor"))
    return fields.with_columns(volume=pl.col("volume") / pl.col("factor"), vwap=traded).to_dict()


def _remove_others(folder: Path, codes: Collection[str]) -> Report:
    """Remove the stocks of which there are no bars any more."""
    names = {_name(code).lower() for code in codes}
    gone = [path for path in (folder / "features").glob("*") if path.name not in names]
    for path in gone:
        rmtree(path)
    return Report(removed=len(gone))


def _name(code: str) -> str:
    """`600000.SH` as qlib has it: `SH600000`."""
    return f"{code[7:]}{code[:6]}"


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
