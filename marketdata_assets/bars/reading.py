"""A block of a bar file to typed columns. What a typed value may be is in `rules`.

Two lanes give the same columns. The fast lane lets polars parse the block as it is and gives up at the first
irregularity; the careful lane then takes that block line by line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import polars as pl
from polars.exceptions import PolarsError

from marketdata_assets.bars.layout import COLUMNS, NUMBERS
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.text import Block, count
from marketdata_assets.loading.text_table import check_headers, read_even, read_rows

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
TIME_LENGTH = 19
USUAL_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"
TIME = (
    r"^(?<date>[0-9]{4}(?:-[0-9]{1,2}-|/[0-9]{1,2}/)[0-9]{1,2})[ T](?<minute>[0-9]{1,2}:[0-9]{2})"
    r"(?<second>:[0-5][0-9])?(?:\.0+)?(?: ?(?<offset>Z|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9]))?$"
)
"""A date and a time of day, to the minute or second, with its offset from UTC if it has one."""
CLOCK = "Asia/Shanghai"
COMPACT = r"^(\d{4})(\d\d)(\d\d)[ T]?(\d\d):?(\d\d)(?::?(\d\d)(?:\.?000)?)?$"  # 20240102093100, 20240102 09:31
EPOCHS = r"^1\d{9}(?:\d{3}){0,3}$"  # since 1970, from 2001 on, in seconds, ms, us or ns
OFFSET = r"(?:Z|[+-]\d\d:?\d\d)$"
MIDNIGHT = r"[ T]00:00:00(?:\.0+)?$"


@dataclass(frozen=True)
class Rows:
    """A block's rows: `time` as datetime, `code` and `name` as text, numbers as float64.

    `texts` are the same rows before they were typed, with their lines; None when each line of `block` is a row, with
    cells by `names`. Amounts of `texts` are in so many `yuan`.
    """

    frame: pl.DataFrame
    names: tuple[str, ...]
    block: Block
    texts: pl.DataFrame | None = None
    yuan: int = 1

    @cached_property
    def _split(self) -> list[bytes]:
        return self.block.text.split(b"\n")

    def line(self, row: int) -> int:
        """The number of `row` in the file, 1 being the header."""
        return self.block.first_line + row if self.texts is None else int(self.texts[LINE][row])

    def cell(self, row: int, column: str) -> str:
        """One value of `row` as it was read."""
        if self.texts is not None:
            return str(self.texts[column][row] or "")
        return self._split[row].decode("utf-8", "backslashreplace").split(",")[self.names.index(column)].strip()

    def exact(self, row: int, column: str) -> Decimal:
        """A number of `row` as it was read, in the unit of the table."""
        return Decimal(self.cell(row, column)) * (self.yuan if column == "amount" else 1)


def typed(block: Block, names: tuple[str, ...], rejects: Rejects, place: str) -> Rows:
    """Parse a block whose columns are `names`; lines that have no typed form go to `rejects`.

    Raises BadFile for another header below the first, of the file at `place`.
    """
    rows = _fast(block, names)
    if rows is None:
        texts = read_rows(block.decoded(), names, rejects, multiline=False)
        in_file = {ours: name for name, ours in COLUMNS.items()}
        check_headers(place, texts, [in_file[name] for name in names])
        return cast(texts, rejects)
    rejects.rows += rows.frame.height
    return rows


def _fast(block: Block, names: tuple[str, ...]) -> Rows | None:
    text = block.text if block.text.endswith(b"\n") else block.text + b"\n"
    frame = read_even(text, {name: pl.Float64 if name in NUMBERS else pl.String for name in names})
    if frame is None:
        return None
    time = frame["time"]
    odd = (time.str.len_bytes() != TIME_LENGTH).any() or time.str.ends_with("60").any()
    usual = count(text, b" ") == frame.height or time.str.contains(USUAL_TIME).all()
    if odd or not usual:  # what to_datetime takes leniently
        return None
    try:
        return Rows(frame.with_columns(time.str.to_datetime(TIME_FORMAT, time_unit="us", strict=True)), names, block)
    except PolarsError:
        return None


def times(texts: pl.Series) -> pl.Series:
    """The exchange's wall clock that texts as TIME say, converted from the offset that they have; null for others."""
    part = texts.str.extract_groups(TIME).struct.unnest()
    date = part["date"].str.replace_all("/", "-", literal=True)
    clock = date + " " + part["minute"] + part["second"].fill_null(":00")
    local = clock.str.to_datetime(TIME_FORMAT, time_unit="us", strict=False)
    if part["offset"].null_count() < len(texts):
        moment = clock + part["offset"].str.replace("Z", "+00:00", literal=True)
        utc = moment.str.to_datetime(f"{TIME_FORMAT}%z", time_unit="us", strict=False)
        local = utc.dt.convert_time_zone(CLOCK).dt.replace_time_zone(None).zip_with(part["offset"].is_not_null(), local)
    return local.alias("time")


def cast(
    texts: pl.DataFrame, rejects: Rejects, read: Callable[..., pl.Series] = times, shares: bool = False, yuan: int = 1
) -> Rows:
    """Rows of texts, with LINE, as typed rows; `read` takes the times. Volume is in `shares`, else in lots."""
    found = texts.drop(LINE).with_columns(read(texts["time"]), pl.col(*NUMBERS).cast(pl.Float64, strict=False))
    bad = pl.repeat(False, found.height, eager=True)
    for name, kind in [("time", "a time"), *((name, "a number") for name in NUMBERS)]:
        junk = found[name].is_null() & texts[name].is_not_null()
        for line, text in zip(texts[LINE].filter(junk), texts[name].filter(junk), strict=True):
            rejects.add(line, f"{name} {text!r} is not {kind}")
        bad |= junk
    if shares:  # a part of a lot counts as a lot from half on; what is no number of shares stays none of lots
        volume = pl.col("volume")
        lots = pl.when((volume >= 0) & (volume == volume.floor())).then((volume / 100 + 0.5).floor())
        found = found.with_columns(lots.otherwise(volume / 100))
    found = found if yuan == 1 else found.with_columns(pl.col("amount") * yuan)
    return Rows(found.filter(~bad), (), Block(b"", 0), texts.filter(~bad), yuan)


def clock(texts: pl.Series, date: pl.Series | None) -> pl.Series:
    """Times of day with the date that is in another column, as `2024-01-02` and `0931`, in one text."""
    if date is None:
        return texts
    both = pl.DataFrame({"day": date, "time": texts})
    digits = pl.col("time").str.len_chars()
    padded = pl.col("time").str.zfill(pl.when(digits > 6).then(9).when(digits > 4).then(6).otherwise(4))
    padded = padded.str.replace(r"^(\d\d)(\d\d)(?:(\d\d)(?:000)?)?$", "$1:$2:$3").str.strip_suffix(":")
    time = pl.when(pl.col("time").str.contains(r"^\d+$")).then(padded).otherwise("time")
    day = pl.col("day").str.replace(MIDNIGHT, "").str.replace(r"^(\d{4})(\d\d)(\d\d)$", "$1-$2-$3")
    return both.select(time=day + " " + time)["time"]


def any_times(texts: pl.Series, zone: str = CLOCK) -> pl.Series:
    """`times` of texts that may be as COMPACT or EPOCHS say too; `zone` is the clock of those without an offset."""
    written = texts.str.replace(COMPACT, "$1-$2-$3 $4:$5:$6").str.strip_suffix(":")
    local = times(written)
    there = local.dt.replace_time_zone(zone, ambiguous="null", non_existent="null").dt.convert_time_zone(CLOCK)
    local = local.zip_with(written.str.contains(OFFSET), there.dt.replace_time_zone(None))
    epochs = texts.str.contains(EPOCHS)
    microseconds = texts.str.slice(0, 16).str.pad_end(16, "0").cast(pl.Int64, strict=False)
    instant = microseconds.cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(CLOCK).dt.replace_time_zone(None)
    return instant.zip_with(epochs, local).alias("time")
