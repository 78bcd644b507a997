"""Executes a run in this process, which is that of the run's own container: `execute_run.py RUN_ID`."""

import os
import sys

import dagster as dg

from marketdata_assets.dagster_internals import execute_run_command


def main(run_id: str) -> None:
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            sys.exit(f"run {run_id} is unknown or has ended, so nothing is executed")
        command = execute_run_command(instance, run)
    os.execvp(command[0], command)  # noqa: S606 - the program of this environment


if __name__ == "__main__":
    main(sys.argv[1])
