"""A code location with a job that runs until a file is there."""

import os
import time
from pathlib import Path

import dagster as dg

from marketdata_assets.defs.executor import locked_executor


@dg.op
def waits() -> None:
    while not Path(os.environ["RELEASE"]).exists():
        time.sleep(0.05)


@dg.job
def waiting() -> None:
    waits()


defs = dg.Definitions(jobs=[waiting], executor=locked_executor)
