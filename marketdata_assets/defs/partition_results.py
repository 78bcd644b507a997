"""Results of runs over many partitions: the good ones are materialised, and a Failure names the rest."""

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import dagster as dg

from marketdata_assets.dagster_internals import (
    StepContext,
    finish_step,
    is_of_command,
    log_materializations,
    plan_materialization,
)
from marketdata_assets.errors import MarketDataError, TransientError
from marketdata_assets.loading.reports import UnitReport
from marketdata_assets.secret_values import masked

MAX_LISTED = 20
OF_TABLE = ("dagster/row_count", "preview", "candlesticks")
"""Metadata about a whole table, and not about a run or a partition."""
RETRY_SECONDS = (60, 300, 900)
"""How long a step waits each time before it is run again after an outage."""


def finish_partitions(
    context: dg.AssetExecutionContext,
    metadata: dict[str, Any],
    by_key: Mapping[str, Mapping[str, Any]],
    failed: Mapping[str, str],
) -> dg.MaterializeResult:
    """Materialize each partition of `by_key` that has not `failed`, and no other of the run; raise Failure with the
    causes of those that have.

    A partition has its own figures; the last one has those OF_TABLE too. All of `metadata` is of the step's output.
    Where a partition is not materialized, Dagster computes its status again, or an earlier failure would stay.
    """
    if set(context.partition_keys) - by_key.keys():
        context.instance.wipe_asset_cached_status([context.asset_key])
    good = {key: dict(by_key[key]) for key in sorted(by_key.keys() - failed.keys())}
    for key in [*good][-1:]:
        good[key] |= {name: metadata[name] for name in OF_TABLE if name in metadata}
    result = finish_step(context, good, metadata)
    if failed:
        raise failure(failed, len({*by_key, *failed}), metadata)
    return result


def log_partitions(
    context: StepContext, asset: str, by_key: Mapping[str, Mapping[str, Any]], failed: Collection[str] = ()
) -> None:
    """Log partitions that no step of the run materializes, with their figures; those that `failed` show as failed."""
    good = sorted(by_key.keys() - set(failed))
    log_materializations(context, [dg.AssetMaterialization(asset, partition=key, metadata=by_key[key]) for key in good])
    for key in sorted(failed):
        plan_materialization(context, dg.AssetKey(asset), key)


@dataclass(frozen=True)
class Ended:
    """How a load of an asset ended: its totals, the metadata of each partition, and the causes of those that failed."""

    metadata: dict[str, Any]
    by_key: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]


def log_ended(context: StepContext, ended: Mapping[str, Ended]) -> dict[str, str]:
    """Materialize the partitions of each asset that did not fail; the causes of the others, by asset and partition."""
    failed: dict[str, str] = {}
    for asset, load in ended.items():
        log_partitions(context, asset, load.by_key, load.failed)
        failed |= {f"{asset} {key}": cause for key, cause in load.failed.items()}
    return failed


def finish_selected(context: dg.OpExecutionContext, ended: Mapping[str, Ended], metadata: dict[str, Any]) -> None:
    """Do as `log_ended` at the end of an op that loads a selection; raise Failure naming the partitions that failed."""
    if failed := log_ended(context, ended):
        raise failure(failed, sum(len({*one.by_key, *one.failed}) for one in ended.values()), metadata)
    context.add_output_metadata(metadata)


def selected(context: dg.AssetExecutionContext) -> Collection[dg.AssetKey]:
    """The assets of the run."""
    return context.run.asset_selection or {*context.job_def.asset_layer.executable_asset_keys}


def run_partitions(context: dg.AssetExecutionContext) -> Sequence[str]:
    """The partitions of the run. Raises Failure where it has none, as a job that is launched without choosing any."""
    if context.has_partition_key or context.has_partition_key_range:
        return [*context.partition_keys]
    raise dg.Failure(
        f"{context.job_name} loads partitions, and this run names none. Press Materialize, not Launch run, and choose"
        ' them there; "marketdata status --due" lists those that are due, which the nightly repair requests.',
        allow_retries=False,
    )


@contextmanager
def as_dagster_failure() -> Iterator[None]:
    """Let an error of this project fail the step with its own message, a transient one after RETRY_SECONDS.

    A run of a command fails at once: a person is waiting for it.
    """
    try:
        yield
    except Exception as error:
        mask_chain(error)
        if not isinstance(error, MarketDataError):
            raise
        if isinstance(error, TransientError):
            retry_later(str(error))
        raise dg.Failure(description=str(error), allow_retries=False) from error


def mask_chain(error: BaseException | None) -> None:
    """Take the secrets out of the texts of an exception and its causes: their traceback is logged and shown."""
    while error is not None:
        error.args = tuple(masked(one) if isinstance(one, str) else one for one in error.args)
        error = error.__cause__ or error.__context__


def retry_later(cause: str) -> None:
    """Have Dagster run the step again after a while, unless it has done so often enough or a command started it.

    What is loaded is not loaded again.
    """
    context = dg.OpExecutionContext.get()
    attempt = context.retry_number
    if not is_of_command(context.run) and attempt < len(RETRY_SECONDS):
        context.log.warning(f"{cause} Tried again in {RETRY_SECONDS[attempt]} s.")
        raise dg.RetryRequested(len(RETRY_SECONDS), RETRY_SECONDS[attempt])


def failure(failed: Mapping[str, str], total: int, metadata: Mapping[str, Any]) -> dg.Failure:
    """A Failure that lists the partitions that failed with their causes, and is not retried."""
    keys = dg.MetadataValue.json([str(key) for key in sorted(failed)])
    what = f"{len(failed)} of {total} partitions failed, the others are done"
    return failure_of(what, (failed[key] for key in sorted(failed)), {**metadata, "failed_partitions": keys})


def failed_files(failed: Sequence[UnitReport], metadata: Mapping[str, Any]) -> dg.Failure:
    """The failure of a run of which some files failed, with the cause of each; it is not retried."""
    causes = [unit.error or unit.unit for unit in failed]
    return failure_of(f"{len(failed)} files failed, the others are loaded", causes, metadata)


def failure_of(what: str, causes: Iterable[str], metadata: Mapping[str, Any]) -> dg.Failure:
    """A Failure that says what failed and lists the causes, each once; it is not retried."""
    distinct = list(dict.fromkeys(causes))
    lines = [f"- {cause}" for cause in distinct[:MAX_LISTED]]
    if len(distinct) > MAX_LISTED:
        lines.append(f"- and {len(distinct) - MAX_LISTED} more")
    text = "\n".join(lines)
    return dg.Failure(f"{what}\n{text}", {**metadata, "failed": dg.MetadataValue.md(text)}, allow_retries=False)


INTERRUPTED = "interrupted: what was committed stays; the same command again loads the rest"


def failure_reason(event: dg.DagsterEvent) -> str:
    """Why a step failed: the description of its Failure, else the message of the original error."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
        return INTERRUPTED
    return error.message.strip() if error is not None else str(event.message)


def find_mismatches(
    instance: dg.DagsterInstance,
    asset: str,
    partitions: dg.PartitionsDefinition,
    loaded: Collection[str],
    others: Iterable[str] = (),
) -> set[str]:
    """Partitions whose status in Dagster differs from the data.

    Of `loaded`, those that Dagster shows as failed or never materialised; of `others`, which may be empty, those that
    it shows as failed. A run killed after its commit leaves such partitions, and so does a load without Dagster.
    """
    keys = sorted({*loaded, *others})
    states = (instance.get_status_by_partition(dg.AssetKey(asset), keys, partitions) if keys else None) or {}
    failed = {key for key in keys if states.get(key) == dg.AssetPartitionStatus.FAILED}
    return failed | {key for key in loaded if states.get(key) is None}


AT_ONCE = 200
EVERY_SECONDS = 10.0

Key = TypeVar("Key", bound=Hashable)
End = TypeVar("End")


class Batches(Generic[Key, End]):
    """Logs what has ended in batches; `events` makes the materializations of a batch."""

    def __init__(
        self, context: StepContext, events: Callable[[Mapping[Key, End]], Sequence[dg.AssetMaterialization]]
    ) -> None:
        self._context, self._events = context, events
        self._waiting: dict[Key, End] = {}
        self.logged: dict[Key, End] = {}
        self._since = time.monotonic()

    def take(self, ended: Mapping[Key, End]) -> None:
        """Take what is loaded and committed, and log it when there is enough or the last batch was long ago."""
        self._waiting.update(ended)
        late = time.monotonic() - self._since >= EVERY_SECONDS
        if self._waiting and (late or len(self._waiting) >= AT_ONCE):
            log_materializations(self._context, self._events(self._waiting))
            self.logged |= self._waiting
            self._waiting, self._since = {}, time.monotonic()


class Partitions(Batches[str, None]):
    """Logs partitions of one asset as they are complete; the step reports them again at its end, with figures.

    `metadata` leaves out those that no source covers: they are not materialized.
    """

    def __init__(
        self,
        context: StepContext,
        asset: dg.AssetKey,
        metadata: Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]] | None = None,
    ) -> None:
        super().__init__(context, self._of)
        self._asset, self._metadata = asset, metadata

    def __call__(self, complete: Iterable[str]) -> None:
        self.take(dict.fromkeys(complete))

    def show_failed(self, failed: Iterable[str]) -> None:
        """Let Dagster show as failed those that were complete and failed later in the run."""
        for key in sorted(self.logged.keys() & set(failed)):
            plan_materialization(self._context, self._asset, key)

    def _of(self, keys: Mapping[str, None]) -> list[dg.AssetMaterialization]:
        known = self._metadata([*keys]) if self._metadata else {key: {} for key in keys}
        return [dg.AssetMaterialization(self._asset, partition=key, metadata=known[key]) for key in sorted(known)]
