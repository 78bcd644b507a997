"""A writer in a process of its own: orders as JSON lines on stdin, each run by a fork that can be killed alone.

An order is `[url, seed, [symbol, ...], turns or null, rounds]`; the answer is the fork's process number.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

from marketdata_assets.stores import clickhouse
from tests.ticks.tick_rows import land, one


def write(url: str, seed: int, symbols: list[str], turns: str | None, rounds: int) -> None:
    """Land the symbols with the numbers of `seed`, `seed` + 1000 and so on, each time as one publish."""
    with clickhouse.connect(url) as client:
        for number in range(rounds):
            landings = [one(symbol, seed=seed + 1000 * number, minutes=5 + seed) for symbol in symbols]
            land(client, landings, turns=None if turns is None else Path(turns))


def main() -> None:
    """Fork for each order; imports are paid for once."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for order in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                write(*json.loads(order))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
