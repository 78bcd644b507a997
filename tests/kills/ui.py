"""What a person starts in the UI of the stack: runs of jobs, and backfills of partitions."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.kills.stack import Stack

LAUNCH = """mutation ($wanted: ExecutionParams!) {
  launchPipelineExecution(executionParams: $wanted) {__typename ... on PythonError {message}}}"""
BACKFILL = """mutation ($wanted: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $wanted) {__typename ... on PythonError {message}}}"""
IN_PROGRESS = """{runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}) {
  ... on Runs {count}}}"""
LOCATION = {"repositoryLocationName": "marketdata_assets", "repositoryName": "__repository__"}
SECONDS = 10.0


@dataclass(frozen=True)
class Wanted:
    """A run of a job or, with partitions, a backfill of assets; `config` is by op."""

    name: str
    config: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    assets: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()

    def request(self) -> tuple[str, Mapping[str, object]]:
        """The mutation, and its parameters."""
        config = {"ops": {op: {"config": values} for op, values in self.config.items()}}
        if not self.partitions:
            return LAUNCH, {"selector": {**LOCATION, "jobName": self.name}, "runConfigData": config}
        assets = [{"path": [asset]} for asset in self.assets]
        return BACKFILL, {"assetSelection": assets, "partitionNames": self.partitions, "runConfigData": config}


def in_progress(stack: Stack) -> int | None:
    """How many runs there are that have not ended; None while the UI, or what it asks, is away."""
    with suppress(OSError, httpx.HTTPError, ValueError, KeyError, TypeError):
        return int(_ask(stack, IN_PROGRESS)["runsOrError"]["count"])
    return None


def start(stack: Stack, wanted: Wanted) -> str:
    """Ask for the run or the backfill; what came of it."""
    query, parameters = wanted.request()
    try:
        (answer,) = _ask(stack, query, wanted=parameters).values()
    except (OSError, httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        return f"not asked: {type(error).__name__}"
    return f"{answer['__typename']} {answer.get('message', '')[:200]}".strip()


def _ask(stack: Stack, query: str, **variables: object) -> dict[str, Any]:
    login = {"Authorization": f"Bearer {(stack.home / 'dagster' / 'ui_token').read_text().strip()}"}
    url = f"http://127.0.0.1:{stack.port}/graphql"
    sent = {"query": query, "variables": variables}
    found = httpx.post(url, json=sent, headers=login, timeout=SECONDS).json()["data"]
    if not isinstance(found, dict):
        raise TypeError("no data")
    return found
