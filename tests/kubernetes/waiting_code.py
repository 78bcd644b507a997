"""A code location as an image has it: its job notes which version of the code it runs, and ends when it may."""

import os
import time
from pathlib import Path

import dagster as dg

from marketdata_assets.defs.executor import locked_executor

FOLDER = Path(os.environ["WAITING_FOLDER"])
VERSION = os.environ["CODE_VERSION"]


@dg.op
def waits(context: dg.OpExecutionContext) -> None:
    (FOLDER / f"{context.run_id}.{VERSION}").touch()
    while not {FOLDER / "all.ends", FOLDER / f"{context.run_id}.ends"} & set(FOLDER.iterdir()):
        time.sleep(0.05)


@dg.job
def waiting() -> None:
    waits()


defs = dg.Definitions(jobs=[waiting], executor=locked_executor)
