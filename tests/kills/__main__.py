"""`python -m tests.kills`: kills at random moments on a real stack, and what they left over and lost."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.kills.campaign import Campaign


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10_000)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two kills, on average")
    asked = parser.parse_args()
    print(f"seed {asked.seed}, {asked.kills} kills", flush=True)
    folder, began = Path(tempfile.mkdtemp(prefix="kills-")), time.monotonic()
    found = Campaign(folder, asked.kills, asked.seed, asked.pause, lambda line: print(line, flush=True)).run()
    print("\n".join(found.lines()))
    print(
        f"{found.kills.total()} kills, nothing left over {found.clear_after:.0f} s after the last command,"
        f" idle {found.idle_after:.0f} s later; {time.monotonic() - began:.0f} s in all"
    )
    if found.good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"left for a look: {folder}")
    return 0 if found.good else 1


if __name__ == "__main__":
    sys.exit(main())
