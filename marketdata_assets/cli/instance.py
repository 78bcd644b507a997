"""The Dagster instance of a data folder, and runs of our jobs in this process.

Everything heavy is imported inside the functions, so that `marketdata --help` stays quick.
"""

import datetime as dt
import os
import re
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from marketdata_assets import logs, secret_values, state_files
from marketdata_assets.cli import output
from marketdata_assets.errors import TerminalError, TransientError
from marketdata_assets.loading.file_ledger import FileEntry, counts, summary
from marketdata_assets.local import endpoints, run_lock
from marketdata_assets.local.endpoints import Endpoints
from marketdata_assets.months import alpha_months, bar_months
from marketdata_assets.server_addresses import is_port
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import AssetCheckEvaluation, DagsterInstance, ExecuteInProcessResult

PACKAGE = Path(__file__).parents[1]
"""Has dagster.yaml and workspace.yaml."""
MAX_EXAMPLE = 400
MODULE = "marketdata_assets.definitions"
LOCATION = "marketdata_assets"  # the code location, as workspace.yaml names it
REPOSITORY = "__repository__"
GRPC_TIMEOUT = "DAGSTER_GRPC_TIMEOUT_SECONDS"
DAGSTER = {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    # By default Dagster gives up on a code server after a minute, which loading code takes on a busy machine.
    GRPC_TIMEOUT: "300",
    # Events of a run over many months are written in a few statements, not in some for each month.
    "DAGSTER_EVENT_BATCH_SIZE": "500",
}
"""What all processes of Dagster get; kubernetes/base/settings.yaml has the same."""
STORAGE = tuple(f"DAGSTER_PG_{name}" for name in ("HOST", "PORT", "DB", "USER", "PASSWORD"))
NUMBERS = re.compile(r"DAGSTER_\w+_(SECONDS|SIZE)")  # which Dagster reads when it is imported
PORT = "DAGSTER_PG_PORT"
PASSWORD = "DAGSTER_PG_PASSWORD"  # noqa: S105 - the name of the variable


class CannotRun(TerminalError):
    """What a command needs is missing: a storage, a program, files, symbols or a flow."""


@dataclass(frozen=True)
class RunOutcome:
    """How a run of a job ended: its id, what its assets reported, and why a step failed.

    `run_id` is None when there was nothing to do and no run was started. `checks_in_error` are the failed checks that
    are more than a warning.
    """

    success: bool
    run_id: str | None
    metadata: dict[str, dict[str, Any]]
    checks_failed: tuple[str, ...] = ()
    checks_passed: int = 0
    error: str | None = None
    checks_in_error: tuple[str, ...] = ()
    files: Sequence[FileEntry] = ()
    """The watched folder of the domain, as it is after the run."""
    examples: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Of each failed check what it objects to, the first few."""

    def as_json(self) -> dict[str, Any]:
        """The fields that every command reports."""
        return {
            "success": self.success,
            "run_id": self.run_id,
            "error": self.error,
            "checks_passed": self.checks_passed,
            "checks_failed": list(self.checks_failed),
            **({"examples": self.examples} if self.examples else {}),
            **({"files": counts(self.files)} if self.files else {}),
        }

    def print_problems(self, whose: str = "") -> None:
        """Print the error and the failed checks, with the name of whom they belong to."""
        if self.error:
            output.fail(f"{whose}: {self.error}" if whose else self.error)
        for name in self.checks_failed:
            self.print_check(name, f" ({whose})" if whose else "")

    def print_check(self, name: str, whose: str = "") -> None:
        """Print a failed check with the first of its examples."""
        first = next(iter(self.examples.get(name, ())), {})
        example = ", ".join(f"{key} {value}" for key, value in first.items())
        such_as = f": such as {example[:MAX_EXAMPLE]}" if example else ""
        output.warn("check failed", f"{name}{whose}{such_as}")

    def print_files(self) -> None:
        """Print the states of the delivered files, where there are any: the last line of every load."""
        if self.files:
            output.console().print(f"files         {summary(self.files)}")


def finish(
    outcome: RunOutcome,
    as_json: bool,
    document: Callable[[RunOutcome], Mapping[str, Any]],
    show: Callable[[RunOutcome], None],
) -> None:
    """Print how a run ended, for machines or for people; exit with 1 when it failed."""
    files = [f"files         {summary(outcome.files)}"] if outcome.files else []
    output.result(as_json, document(outcome), *files, show=partial(show, outcome), success=outcome.success)


def environment(settings: Settings, found: Endpoints) -> dict[str, str]:
    """The variables with which Dagster's processes find storage, servers and folders; makes DAGSTER_HOME.

    Raises CannotRun when the folder that the settings name has no dagster.yaml.
    """
    home = settings.root / "dagster"
    state_files.private_folder(settings.root)
    state_files.private_folder(home)  # logs of runs and the token of the UI are below
    if settings.dagster_home is None:
        _place((PACKAGE / "dagster.yaml").read_bytes(), home / "dagster.yaml")
    elif not (settings.dagster_home / "dagster.yaml").is_file():
        raise CannotRun(f"MARKETDATA_DAGSTER_HOME: {settings.dagster_home} has no dagster.yaml; put it there")
    given = {"MARKETDATA_WORKERS": str(settings.workers)} if settings.workers else {}
    given |= {"MARKETDATA_FLOWS_DATA": str(settings.flows_data_folder)} if settings.flows_data else {}
    # What a file says is read from it by who needs it; Dagster reads variables alone.
    servers = {
        name: url
        for name, url in endpoints.as_environment(found).items()
        if os.environ.get(name) or not os.environ.get(name + secret_values.SUFFIX)
    }
    password = secret_values.from_files([PASSWORD], os.environ)
    return (
        password
        | servers
        | given
        | {
            "MARKETDATA_HOME": str(settings.root),
            "MARKETDATA_FLOWS_DIR": str(settings.flows_folder),
            "DAGSTER_HOME": str((settings.dagster_home or home).absolute()),
            "DAGSTER_COMPUTE_LOG_DIR": str(home / "logs"),
            **DAGSTER,
            GRPC_TIMEOUT: os.environ.get(GRPC_TIMEOUT) or DAGSTER[GRPC_TIMEOUT],
        }
    )


def _place(content: bytes, file: Path) -> None:
    """Write the file in one step, and only where it is another: processes that start at the same time read it."""
    if not file.exists() or file.read_bytes() != content:
        state_files.write(file, content)


def adopt(settings: Settings) -> None:
    """Let this process, and those that it starts, find Dagster's storage and the servers. Raises CannotRun."""
    os.environ.update(dagster_storage(settings))


def dagster_storage(settings: Settings) -> dict[str, str]:
    """The environment of a process that uses Dagster's storage. Raises CannotRun."""
    found = {**os.environ, **environment(settings, endpoints.resolve(settings))}
    if "DAGSTER_PG_HOST" not in found:
        raise CannotRun(
            'no storage for Dagster: no local stack is running and DAGSTER_PG_HOST is not set. Run "marketdata up" in'
            " another terminal, or set DAGSTER_PG_HOST, _PORT, _DB, _USER and _PASSWORD."
        )
    missing = [name for name in STORAGE if name not in found]
    if missing and settings.dagster_home is None:
        raise CannotRun(
            f"{', '.join(missing)}: not set, though DAGSTER_PG_HOST is; Dagster's storage needs all of them"
        )
    for name, value in found.items():
        if not (is_port(value) if name == PORT else not NUMBERS.fullmatch(name) or value.replace(".", "").isdecimal()):
            raise CannotRun(
                f"{name}: {value!r} is no {'port' if name == PORT else 'whole number'}; correct or unset it"
            )
    return found


@contextmanager
def environment_of(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process for the length of a block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def dagster_instance(settings: Settings) -> "Iterator[DagsterInstance]":
    """Dagster's own storage, for the length of a command. Raises CannotRun, or TransientError where it is down."""
    adopt(settings)
    import dagster as dg
    from dagster_postgres.utils import DagsterPostgresException
    from sqlalchemy.exc import OperationalError

    try:
        with dg.DagsterInstance.get() as instance:
            # By default Dagster opens a new connection for every statement outside of its webserver.
            instance.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=10)
            yield instance
    except (OperationalError, DagsterPostgresException) as error:  # the second when Dagster has tried again in vain
        cause = str(error.orig if isinstance(error, OperationalError) else error).partition("\n")[0]
        raise TransientError(
            f"Dagster's storage is not answering ({cause}). What is committed stays, and the run ends"
            ' as failed; start the server ("marketdata doctor" names what is missing) and give the command again.'
        ) from error


INTERRUPT_POLL_SECONDS = 1.0
OTHERS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupted_by(requested: Callable[[], bool]) -> Iterator[None]:
    """Let OTHERS, and `requested` when it becomes true, interrupt the block like Ctrl-C; `nohup` keeps its meaning.

    Dagster has a handler of SIGINT of its own while a run is in progress, which is the one that is called.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=[requested, ended], daemon=True)
    before = {number: signal.getsignal(number) for number in OTHERS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(requested: Callable[[], bool], ended: threading.Event) -> None:
    while not ended.wait(INTERRUPT_POLL_SECONDS):
        if requested():
            os.kill(os.getpid(), signal.SIGINT)
            return


def run_job(
    settings: Settings,
    job: str,
    partitions: tuple[str, str] | None,
    config: dict[str, Any] | None = None,
    assets: Sequence[str] = (),
    accounts: Sequence[str] = (),
    dynamic: tuple[str, Sequence[str]] | None = None,
) -> RunOutcome:
    """Run `job` for the partitions from the first to the last in this process; the run is on record like any other.

    A job whose config says what it is about has no `partitions`. `assets` leaves out the others of the job. `accounts`
    are made known to Dagster as partitions, and so are the keys in `dynamic`, under the name there.
    """
    import dagster as dg

    from marketdata_assets.dagster_internals import REPOSITORY_LABEL_TAG, assign_to_code_location
    from marketdata_assets.definitions import defs
    from marketdata_assets.defs import run_files
    from marketdata_assets.partitions import BRAIN_ACCOUNTS, range_tags

    logging = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    run_id = str(uuid.uuid4())
    with dagster_instance(settings) as instance:
        _need_processes(instance)
        with (
            run_lock.held(settings.root, run_id),
            interrupted_by(lambda: _is_canceled(instance, run_id)),
            run_files.of_a_command(),
        ):
            if accounts:
                instance.add_dynamic_partitions(str(BRAIN_ACCOUNTS.name), list(accounts))
            if dynamic:
                instance.add_dynamic_partitions(dynamic[0], list(dynamic[1]))
            repository = defs().get_repository_def()
            logs.configure(settings.log_format)  # a command reports its progress itself
            result = repository.get_job(job).execute_in_process(
                instance=instance,
                run_id=run_id,
                tags={REPOSITORY_LABEL_TAG: f"{REPOSITORY}@{LOCATION}"}
                | (range_tags(*partitions) if partitions else {}),
                run_config={**logging, "ops": config or {}},
                asset_selection=[dg.AssetKey(name) for name in assets] or None,
                raise_on_error=False,
            )
            assign_to_code_location(instance, result.run_id, MODULE, LOCATION, REPOSITORY)
            return _outcome(result, instance)


def _need_processes(instance: "DagsterInstance") -> None:
    """Raises CannotRun where runs are containers or pods, and monitoring would end a run that has none."""
    launcher = instance.get_ref().run_launcher_data
    if launcher is not None and launcher.class_name != "DefaultRunLauncher":
        raise CannotRun(
            f"dagster.yaml has runs started by {launcher.class_name}, which would end the run of a command: it has not"
            ' started it. Start the load in the UI, or with "marketdata exec dagster job launch"'
        )


def _is_canceled(instance: "DagsterInstance", run_id: str) -> bool:
    """Whether somebody has canceled the run in the UI; False while the storage does not answer."""
    from dagster import DagsterRunStatus
    from dagster_postgres.utils import DagsterPostgresException
    from sqlalchemy.exc import SQLAlchemyError

    with suppress(SQLAlchemyError, DagsterPostgresException):
        run = instance.get_run_by_id(run_id)
        return run is not None and run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)
    return False


def _outcome(result: "ExecuteInProcessResult", instance: "DagsterInstance") -> RunOutcome:
    from dagster import AssetCheckSeverity, DagsterEventType

    from marketdata_assets.dagster_internals import LOGGED
    from marketdata_assets.defs.partition_results import failure_reason

    metadata: dict[str, dict[str, Any]] = {}
    logged = {DagsterEventType.ASSET_OBSERVATION, DagsterEventType.ASSET_CHECK_EVALUATION}
    events = result.all_events
    if not result.success:  # what a step logs before it fails is on record only
        found = (record.dagster_event for record in instance.all_logs(result.run_id, of_type=logged))
        events = [*(one for one in events if one.event_type not in logged), *(one for one in found if one)]
    for event in events:
        if event.event_type == DagsterEventType.ASSET_OBSERVATION and event.asset_key is not None:
            observed = event.asset_observation_data.asset_observation.metadata
            metadata[event.asset_key.to_user_string()] = {key: value.value for key, value in observed.items()}
        # The events of partitions have their own figures under the same names; the step's output has the totals.
        values = event.step_output_data.metadata if event.is_successful_output else {}
        if event.step_key is not None and "seconds" in values:
            metadata[event.step_key] = {key: value.value for key, value in values.items() if key != LOGGED}
    evaluations = [
        event.asset_check_evaluation_data
        for event in events
        if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    failed = [event for event in events if event.is_step_failure]
    for event in failed:
        failure = event.step_failure_data.user_failure_data
        if failure is not None and event.step_key is not None and "seconds" in failure.metadata:
            metadata[event.step_key] = {key: value.value for key, value in failure.metadata.items() if key != "failed"}
    errors = [failure_reason(event) for event in failed]
    return RunOutcome(
        success=result.success,
        run_id=result.run_id,
        metadata=metadata,
        checks_failed=tuple(e.check_name for e in evaluations if not e.passed),
        checks_in_error=tuple(
            e.check_name for e in evaluations if not e.passed and e.severity == AssetCheckSeverity.ERROR
        ),
        checks_passed=sum(e.passed for e in evaluations),
        error="\n".join(errors) or None,
        examples={e.check_name: shown for e in evaluations if not e.passed and (shown := _examples(e))},
    )


def _examples(evaluation: "AssetCheckEvaluation") -> Sequence[Mapping[str, Any]]:
    given = evaluation.metadata.get("examples")
    found = given.value if given is not None else ()
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else ()


def months_between(text: str | None, alphas: bool = False) -> Sequence[str]:
    """`2024-01:2024-06` or `2024-01` as months of bars, or of alphas; None as every month up to the current one.

    Raises BadParameter when it is neither, names a month that is no partition, or ends before it starts.
    """
    keys = (alpha_months if alphas else bar_months)(dt.datetime.now(dt.UTC))
    if text is None:
        return keys
    first, colon, last = text.partition(":")
    last = last if colon else first
    for month in (first, last):
        if month not in keys:
            cause = f"{month or text!r} is not a month from {keys[0]} to {keys[-1]}; write 2024-01 or 2024-01:2024-06"
            raise typer.BadParameter(cause, param_hint="--months")
    if last < first:
        raise typer.BadParameter(f"{text!r} ends before it starts; write {last}:{first}", param_hint="--months")
    return keys[keys.index(first) : keys.index(last) + 1]


def months_listed(text: str | None) -> Sequence[str]:
    """Months of bars and ranges of them, such as `2024-01,2024-04:2024-06`, ascending; None as every month.

    Raises BadParameter.
    """
    parts = text.split(",") if text else [None]
    return sorted({month for part in parts for month in months_between(part and part.strip())})
