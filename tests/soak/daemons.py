"""Dagster's daemons, one turn at a time: their own loops, whose waiting is left to the simulation.

The definitions are loaded in this process, so sensors and schedules are evaluated by its clock.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.asset_daemon import AssetDaemon
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.daemon import (
    BackfillDaemon,
    DagsterDaemon,
    MonitoringDaemon,
    SchedulerDaemon,
    SensorDaemon,
    SpanMarker,
)
from dagster._daemon.freshness import FreshnessDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._utils.error import SerializableErrorInfo

from tests.soak.runs import loaded_once

ONE_AT_A_TIME = {"use_threads": False}
LOCATION = "marketdata_assets"


class NoWaiting(threading.Event):
    """For daemons that wait for the clock: it is not theirs to turn."""

    def wait(self, timeout: float | None = None) -> bool:
        return False


class Daemons:
    """All daemons of an instance. A new one knows nothing of what another had in memory, as after a restart."""

    def __init__(self, context: WorkspaceProcessContext) -> None:
        self._context = context
        self._daemons: list[DagsterDaemon[Any]] = [
            MonitoringDaemon(interval_seconds=context.instance.run_monitoring_poll_interval_seconds),
            EventLogConsumerDaemon(),
            SchedulerDaemon(),
            SensorDaemon(ONE_AT_A_TIME),
            AssetDaemon(ONE_AT_A_TIME, pre_sensor_interval_seconds=30),
            BackfillDaemon(ONE_AT_A_TIME),
            FreshnessDaemon(),
            QueuedRunCoordinatorDaemon(interval_seconds=5),
        ]
        self._loops = {daemon.daemon_type(): self._loop(daemon) for daemon in self._daemons}

    def _loop(self, daemon: DagsterDaemon[Any]) -> Iterator[Any]:
        return daemon.core_loop(self._context, NoWaiting())

    def turn(self) -> list[tuple[str, str]]:
        """Let each daemon do what is due; returns what went wrong, by daemon."""
        errors = []
        for daemon in self._daemons:
            name = daemon.daemon_type()
            try:
                errors += [(name, error) for error in _span(self._loops[name])]
            except Exception as error:
                # As the daemon's controller does: the loop begins anew.
                errors.append((name, f"{type(error).__name__}: {error}"))
                self._loops[name] = self._loop(daemon)
        return errors


def _span(loop: Iterator[Any]) -> Iterator[str]:
    """One iteration of a loop, or nothing when its interval is not over."""
    inside, idle = False, 0
    for told in loop:
        if isinstance(told, SerializableErrorInfo):
            yield told.to_string()
        if told is SpanMarker.START_SPAN:
            inside = True
        elif told is SpanMarker.END_SPAN or (not inside and (idle := idle + 1) > 3):
            return


@contextmanager
def workspace(instance: dg.DagsterInstance) -> Iterator[WorkspaceProcessContext]:
    """The definitions of the project as the only code location, in this process."""
    for name in ("dagster", "dagster.daemon"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", dg.BetaWarning)
    target = LoadableTargetOrigin(module_name="marketdata_assets.definitions")
    origin = InProcessCodeLocationOrigin(target, location_name=LOCATION)
    with (
        # A code server opens the instance anew for each look; here one and the same serves all.
        loaded_once(),
        patch.object(dg.SensorEvaluationContext, "instance", instance),
        patch.object(dg.ScheduleEvaluationContext, "instance", instance),
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as context,
    ):
        for entry in context.create_request_context().get_code_location_entries().values():
            assert entry.code_location, entry.load_error
        yield context
