"""One host's load of a flow, over the Ray cluster of an address: definition, folder, database, address."""

import json
import sys
from pathlib import Path

from marketdata_assets.fanout import Fanout
from marketdata_assets.flows.definition import read
from marketdata_assets.flows.run import PRELOAD, run_flow


def main(definition: Path, folder: Path, dsn: str, address: str) -> None:
    report = run_flow(read(definition), dsn, folder, run_id="hosts", fanout=Fanout(0, PRELOAD, ray=address))
    print(json.dumps({"rows": report.rows, "failed": [str(unit.error) for unit in report.failed]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
