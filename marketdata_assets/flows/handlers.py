"""What each handler of `steps` does to a frame, one function for each config class; and all of a flow on one unit.

An exception out of a handler becomes one that names flow, unit, handler and the frame's shape.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from marketdata_assets.flows import casting, frames, steps
from marketdata_assets.flows.code import function
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.steps import Call, Step
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.run import describe, is_interrupt

if TYPE_CHECKING:
    import pandas as pd

EPOCH_FORM = "loader.types or parse: {COLUMN: {type: timestamp, epoch: ms}}"


@dataclass(frozen=True)
class Given:
    """Where rejected rows go, and the flow's file, beside which the user's modules are."""

    rejects: Rejects
    file: Path | None


@lru_cache(maxsize=1000)
def expression(text: str) -> pl.Expr:
    """SQL over columns."""
    return pl.sql_expr(text)


def computed(frame: pl.DataFrame, expressions: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """The columns of `expressions`, a constant in every row. They see each Decimal as a double."""
    used = {name for value in expressions.values() for name in value.meta.root_names()}
    wide = [name for name in used & {*frame.columns} if isinstance(frame[name].dtype, pl.Decimal)]
    source = frames.with_columns(frame, [frame[name].cast(pl.Float64) for name in wide]) if wide else frame
    found = source.select(**expressions)
    if found.height == 1 != frame.height:
        found = pl.DataFrame([values.new_from_index(0, frame.height) for values in found.get_columns()])
    return found


def conditions(frame: pl.DataFrame, texts: Sequence[str]) -> list[pl.Series]:
    """For each row whether each SQL condition holds; NULL where that is not known."""
    found = computed(frame, {str(number): expression(text) for number, text in enumerate(texts)})
    for text, values in zip(texts, found.get_columns(), strict=True):
        if values.dtype not in (pl.Boolean, pl.Null):
            raise TypeError(f"{text!r} is no condition: it gives {values.dtype}")
    return found.get_columns()


def rename(config: steps.Rename, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    return frame.rename(config.columns)


def select(config: steps.Select, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    kept = [LINE] if LINE in frame.columns else []  # goes with a row whatever is selected
    return frame.select(*config.columns, *kept)


def parse(config: steps.Parse, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    frame.select(*config.types)  # polars names a missing column
    return casting.parse(frame, config.types, given.rejects)


def derive(config: steps.Derive, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    """What has no value, such as a division by zero, is NULL."""
    for columns in _independent(tuple(config.columns.items())):
        found = computed(frame, {name: expression(text) for name, text in columns.items()})
        for name, text in columns.items():
            if found.schema[name].is_temporal() and _only_numbers(frame, expression(text)):
                raise TypeError(f"{name}: {text!r} takes a number for a time; parse it with {EPOCH_FORM}")
        frame = frames.with_columns(frame, map(_finite, found.get_columns()))
    return frame


@lru_cache(maxsize=1000)
def _independent(columns: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    """Columns and their SQL in order, those together that can be computed at once: none of them uses another."""
    groups: list[dict[str, str]] = [{}]
    for name, text in columns:
        if groups[-1].keys() & {*expression(text).meta.root_names(), name}:
            groups.append({})
        groups[-1][name] = text
    return groups


def _finite(values: pl.Series) -> pl.Series:
    """The values, NULL where one is infinite or no number."""
    if not values.dtype.is_float():
        return values
    finite = np.isfinite(values.to_numpy())  # NULL is nan here
    if np.count_nonzero(finite) == len(values) - values.null_count():
        return values
    return values.set(pl.Series(~finite), None)


def _only_numbers(frame: pl.DataFrame, value: pl.Expr) -> bool:
    """Whether an expression is made of columns, all of them numbers."""
    names = value.meta.root_names()
    return bool(names) and all(frame.schema[name].is_numeric() for name in names)


def drop_invalid(config: steps.DropInvalid, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    """A row goes out by the first rule that it breaks, whose name is the reason."""
    kept = dict(zip(config.rules, conditions(frame, list(config.rules.values())), strict=True))
    if all(holds.null_count() == 0 and holds.all() for holds in kept.values()):
        return frame
    reasons = pl.coalesce(
        pl.when(~holds.fill_null(False)).then(pl.lit(f"breaks the rule {name!r}")) for name, holds in kept.items()
    )
    said = frame.select(reasons.alias("reason"))["reason"]
    return given.rejects.take_out(frame, said.is_not_null(), said)


def flag(config: steps.Flag, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    if config.when is not None:
        (holds,) = conditions(frame, [config.when])
        return frames.with_columns(frame, [holds.fill_null(False).alias(config.column)])
    found = conditions(frame, list(config.flags.values()))
    marks = [
        pl.when(holds.fill_null(False)).then(pl.lit(name)) for name, holds in zip(config.flags, found, strict=True)
    ]
    return frame.with_columns(pl.concat_list(marks).list.drop_nulls().alias(config.column))


def sort(config: steps.Sort, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    *groups, last = config.by
    if not config.descending and all(frame[name].n_unique() <= 1 for name in groups) and frame[last].is_sorted():
        return frame  # plainly no row has to move
    return frame.sort(config.by, descending=config.descending, maintain_order=True)


def running_count(config: steps.RunningCount, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    return _with(config, frame, {config.name: pl.int_range(1, pl.len() + 1, dtype=pl.Int32)})


def moving_average(config: steps.MovingAverage, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    means = {
        config.name.format(column=config.column, window=window): pl.col(config.column).rolling_mean(window)
        for window in config.windows
    }
    return _with(config, frame, means)


def volatility(config: steps.Volatility, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    deviation = pl.col(config.column).rolling_std(config.window)
    if config.annual is not None:
        deviation = deviation * config.annual**0.5
    return _with(config, frame, {config.name.format(column=config.column, window=config.window): deviation})


def ema(config: steps.Ema, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    name = config.name.format(column=config.column, span=config.span)
    return _with(config, frame, {name: _ema(pl.col(config.column), config.span)})


def rsi(config: steps.Rsi, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    """100 where nothing has fallen, NULL where nothing has moved."""
    change = pl.col(config.column).diff()

    def wilder(moves: pl.Expr) -> pl.Expr:
        return moves.ewm_mean(alpha=1 / config.window, adjust=False, min_samples=config.window)

    up, down = wilder(change.clip(lower_bound=0)), wilder((-change).clip(lower_bound=0))
    strength = pl.when(up + down > 0).then(100 * up / (up + down))
    return _with(config, frame, {config.name.format(column=config.column, window=config.window): strength})


def macd(config: steps.Macd, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    line = _ema(pl.col(config.column), config.fast) - _ema(pl.col(config.column), config.slow)
    signal = _ema(line, config.signal)
    name = config.name.format(column=config.column)
    return _with(config, frame, {name: line, f"{name}_signal": signal, f"{name}_histogram": line - signal})


def _ema(values: pl.Expr, span: int) -> pl.Expr:
    return values.ewm_mean(span=span, adjust=False, min_samples=span)


def _with(config: steps.Grouped, frame: pl.DataFrame, columns: dict[str, pl.Expr]) -> pl.DataFrame:
    """Add `columns`, each computed within its group and order; rows stay where they are."""
    order = config.order_by or None
    grouped = any(frame[name].n_unique() > 1 for name in config.group_by)
    if grouped or (order and (len(order) > 1 or not frame[order[0]].is_sorted())):
        groups = config.group_by or pl.lit(1)
        columns = {name: value.over(groups, order_by=order) for name, value in columns.items()}
    return frames.with_columns(frame, computed(frame, columns).get_columns())


def unpivot(config: steps.Unpivot, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    kept = [*config.keep, *([LINE] if LINE in frame.columns else [])]
    frame = frame.unpivot(index=kept, variable_name=config.name, value_name=config.value)
    return frame.drop_nulls(config.value) if config.drop_missing else frame


def call(config: steps.Call, frame: pl.DataFrame, given: Given) -> pl.DataFrame | Awaitable[pl.DataFrame]:
    called = function(config.function, given.file)
    if config.frame == "pandas":
        import pandas as pd

        given_frame = pd.DataFrame({column.name: _pandas_values(column) for column in frame})  # rows numbered from 0
        return _from_pandas(called(given_frame, **config.arguments), frame)
    return called(frame, **config.arguments)  # type: ignore[no-any-return]


def _pandas_values(column: pl.Series) -> Any:
    """A column as pandas has it: days are midnights, decimals doubles."""
    import pandas as pd

    if isinstance(column.dtype, pl.Decimal):
        column = column.cast(pl.Float64)
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        return pd.Series(column.to_numpy()).dt.tz_localize("UTC").dt.tz_convert(column.dtype.time_zone)
    known = column.dtype.is_numeric() or isinstance(column.dtype, pl.Date | pl.Datetime)
    return column.to_numpy() if known else pd.Series(column.to_list(), dtype=object)


def _from_pandas(frame: "pd.DataFrame", before: pl.DataFrame) -> pl.DataFrame:
    """The frame that a handler gave for `before`; an index that has a name is a column."""
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    columns = [_polars_column(str(name), frame[name], before.schema.get(str(name))) for name in frame.columns]
    return pl.DataFrame(columns)


def _polars_column(name: str, values: "pd.Series[Any]", before: pl.DataType | None) -> pl.Series:
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        zone = getattr(values.dtype, "tz", None)
        plain = values.dt.tz_convert("UTC").dt.tz_localize(None) if zone else values
        times = pl.Series(name, plain.to_numpy().astype("datetime64[us]"))
        if zone:
            return times.dt.replace_time_zone("UTC")
        days = times.cast(pl.Date)
        return days if before == pl.Date and (days.cast(times.dtype) == times).all() else times
    found = pl.Series(name, [None if _is_missing(value) else value for value in values.tolist()], strict=False)
    if found.dtype == pl.Null and before is not None:
        return found.cast(before)
    return found.cast(pl.Int64) if name == LINE else found


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


Handler = Callable[[Any, pl.DataFrame, Given], pl.DataFrame | Awaitable[pl.DataFrame]]

HANDLERS: Mapping[str, Handler] = {
    handler.__name__: handler
    for handler in (
        *(rename, select, parse, derive, drop_invalid, flag, sort, unpivot, call),
        *(running_count, moving_average, volatility, ema, rsi, macd),
    )
}
"""By the names that the YAML has."""

Numbered = tuple[int, Step]


class Pipeline:
    """The handlers for one unit at `place`; rejected rows go to `rejects`."""

    def __init__(self, flow: FlowDefinition, place: str, rejects: Rejects) -> None:
        self._flow = flow
        self._place = place
        self._given = Given(rejects, flow.file)
        numbered = list(enumerate(flow.handlers, 1))
        self._blockwise: list[Numbered] = list(takewhile(lambda pair: not pair[1].config.whole, numbered))
        self._rest: list[Numbered] = numbered[len(self._blockwise) :]
        self.made = 0
        """Rows that a step has made beside those that it was given."""
        self.left_out = 0
        """Rows that a step has left out without a reason."""

    @property
    def whole(self) -> bool:
        """Whether some handler needs all rows of the unit."""
        return bool(self._rest)

    def block(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The handlers before the first that needs all rows, on a block."""
        return self._run(self._blockwise, frame)

    def all(self, blocks: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """The other handlers, on all blocks together."""
        return self._run(self._rest, pl.concat(blocks, rechunk=True))

    def count(self, given: int, returned: int, rejected: int) -> None:
        """Account for the rows of one step."""
        self.left_out += max(0, given - returned - rejected)
        self.made += max(0, returned + rejected - given)

    def _run(self, steps: Sequence[Numbered], frame: pl.DataFrame) -> pl.DataFrame:
        for number, step in steps:
            rejected = len(self._given.rejects)
            try:
                result = HANDLERS[step.name](step.config, frame, self._given)
                if inspect.isawaitable(result):
                    result = _awaited(result)
                if not isinstance(result, pl.DataFrame):
                    raise TypeError(f"it gave {type(result).__name__}, not a polars DataFrame")
            except FlowError:
                raise
            except BaseException as error:  # of a user's function, such as SystemExit
                if is_interrupt(error):
                    raise
                shape = (frame.height, frame.width - (LINE in frame.columns))
                title = f"{step.name} {step.config.function}" if isinstance(step.config, Call) else step.name
                name = f"{number} ({title})"
                raise FlowError(
                    f"flow {self._flow.name}, {self._place}: handler {name} on {shape[0]} rows x {shape[1]} columns:"
                    f" {describe(error)}. Nothing of the file is loaded; correct the handler or the file and run the"
                    " flow again."
                ) from error
            self.count(frame.height, result.height, len(self._given.rejects) - rejected)
            frame = result
        return frame


def _awaited(result: Awaitable[pl.DataFrame]) -> pl.DataFrame:
    """The end of an async function, also where a loop of the caller's is running."""

    async def wait() -> pl.DataFrame:
        return await result

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, wait()).result()
