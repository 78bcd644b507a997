"""A run of ticks in a process of its own that is killed while its second month is loaded."""

import os
import signal
import sys
from collections.abc import Sequence

import dagster as dg
from bar_runs import execute
from tick_runs import EARLIER, MONTH, SYMBOLS

from marketdata_assets.defs import partition_results
from marketdata_assets.defs.ticks import assets
from marketdata_assets.defs.ticks.run_config import JOB, adhoc_config
from marketdata_assets.ticks.reports import UnitReport


class Dying(assets.Marks):
    """Is killed when units have ended after the first that it logged."""

    def __call__(self, units: Sequence[UnitReport]) -> None:
        if self.logged:
            os.kill(os.getpid(), signal.SIGKILL)
        super().__call__(units)


if __name__ == "__main__":
    partition_results.AT_ONCE, assets.Marks = len(SYMBOLS), Dying  # type: ignore[misc]
    months = dict.fromkeys((MONTH, EARLIER), SYMBOLS)
    with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
        execute(instance, JOB, adhoc_config(months, ["tick_data"], providers=["files"]))
