"""One read of minute bars by a peer, in its own environment: `pandas` or `connectorx`. Prints rows and wall seconds."""

import json
import sys
import time


def main() -> None:
    name, url, query = sys.argv[1:]
    taken, rows = [], 0
    for _ in range(3):
        if name == "connectorx":
            import connectorx

            started = time.perf_counter()
            rows = connectorx.read_sql(url, query, return_type="polars").height
        else:
            import pandas as pd
            import sqlalchemy

            engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
            started = time.perf_counter()
            rows = len(pd.read_sql(query, engine))
        taken.append(time.perf_counter() - started)
    print(json.dumps({"rows": rows, "wall_s": sorted(taken)[1]}))


if __name__ == "__main__":
    main()
