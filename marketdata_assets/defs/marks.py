"""Materializations that are logged while a load is in progress: progress is visible, and a killed run keeps them.

The cost is bounded: partitions are logged some hundred at once, and at most every few seconds.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import dagster as dg

from marketdata_assets.dagster_internals import StepContext, log_materializations, plan_materialization

AT_ONCE = 200
EVERY_SECONDS = 10.0

Key = TypeVar("Key", bound=Hashable)
Ended = TypeVar("Ended")


class Batches(Generic[Key, Ended]):
    """Logs what has ended in batches; `events` makes the materializations of a batch."""

    def __init__(
        self, context: StepContext, events: Callable[[Mapping[Key, Ended]], Sequence[dg.AssetMaterialization]]
    ) -> None:
        self._context, self._events = context, events
        self._waiting: dict[Key, Ended] = {}
        self.logged: dict[Key, Ended] = {}
        self._since = time.monotonic()

    def take(self, ended: Mapping[Key, Ended]) -> None:
        """Take what is loaded and committed, and log it when there is enough or the last batch was long ago."""
        self._waiting.update(ended)
        late = time.monotonic() - self._since >= EVERY_SECONDS
        if self._waiting and (late or len(self._waiting) >= AT_ONCE):
            log_materializations(self._context, self._events(self._waiting))
            self.logged |= self._waiting
            self._waiting, self._since = {}, time.monotonic()


class Partitions:
    """Logs partitions of one asset as they are complete; the step reports them again at its end, with figures.

    `metadata` leaves out those that no source covers: they are not materialized.
    """

    def __init__(
        self,
        context: StepContext,
        asset: dg.AssetKey,
        metadata: Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]] | None = None,
    ) -> None:
        self._context, self._asset, self._metadata = context, asset, metadata
        self._batches = Batches[str, None](context, self._of)

    def __call__(self, complete: Iterable[str]) -> None:
        self._batches.take(dict.fromkeys(complete))

    def show_failed(self, failed: Iterable[str]) -> None:
        """Let Dagster show as failed those that were complete and failed later in the run."""
        for key in sorted(self._batches.logged.keys() & set(failed)):
            plan_materialization(self._context, self._asset, key)

    def _of(self, keys: Mapping[str, None]) -> list[dg.AssetMaterialization]:
        known = self._metadata([*keys]) if self._metadata else {key: {} for key in keys}
        return [dg.AssetMaterialization(self._asset, partition=key, metadata=known[key]) for key in sorted(known)]
