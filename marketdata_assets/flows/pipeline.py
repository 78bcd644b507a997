"""The handlers of a flow on one unit: those that take a block at a time, then, from the first that needs all, the rest.

An exception out of a handler becomes one that names flow, unit, handler and the frame's shape.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

import polars as pl

from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.handlers import HANDLERS, Given
from marketdata_assets.flows.steps import Call, Step
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.run import describe, is_interrupt

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
