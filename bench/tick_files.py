"""Scans of a folder of many dropped files of ticks: what a tick of the sensor takes, and how far its cursor grows.

Each scan registers files for its time limit and then gives some to a run, as the sensor does, in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.figure import Figure, spread
from bench.load_once import peak_mb
from bench.size import sized
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings

FILES = sized(100_000, 20)
SCANS = sized(7, 2)
FILES_OF_A_FOLDER = 1000


def figures() -> Iterator[Figure]:
    """Wall and CPU time of a scan, memory on top of the libraries, and the size of the cursor."""
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        folder = Path(home) / "files"
        _write(folder)
        settings = Settings(home=Path(home) / "stack", clickhouse_url=None)
        with LocalStack(settings, services=("clickhouse",)) as stack:
            url = stack.endpoints.clickhouse_url or ""
            command = [sys.executable, "-m", "bench.tick_files", url, str(folder)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    scans = [json.loads(line) for line in done.stdout.splitlines()]
    size, last = f"{FILES:,} files, {SCANS} scans", scans[-1]
    for name, target in (("wall_s", 5.0), ("cpu_s", 5.0)):
        taken = [one[name] for one in scans]
        yield Figure(f"ticks.file_scan_{name}", median(taken), "s", ("<=", target), f"{size}; {spread(taken)}")
    detail = f"{size}; peak above the {last['base_mb']:.0f} MB of Python and its libraries"
    yield Figure("ticks.file_scan_mb", last["peak_mb"] - last["base_mb"], "MB", ("<=", 200), detail)
    yield Figure("ticks.file_scan_cursor_bytes", last["cursor"], "bytes", ("<=", 1000), size)


def _write(folder: Path) -> None:
    head = "symbol,ts,open,high,low,close,volume"
    for number in range(FILES):
        below = folder / f"{number // FILES_OF_A_FOLDER:03d}"
        below.mkdir(parents=True, exist_ok=True)
        day = f"{600000 + number // 50:06d}.SH,2025-{1 + number % 12:02d}-{1 + number % 28:02d}"
        rows = "".join(f"{day} 09:{minute}:00,1,1,1,1,100\n" for minute in (31, 32, 33))
        (below / f"{number:06d}.csv").write_text(f"{head}\n{rows}")


def _scan(url: str, folder: Path) -> None:
    from marketdata_assets.stores.clickhouse import connect
    from marketdata_assets.ticks import file_scan
    from marketdata_assets.ticks.files import Files
    from marketdata_assets.ticks.providers_file import shipped
    from marketdata_assets.ticks.tables import ensure

    config, cursor = shipped().files, None
    assert config
    with connect(url) as client:
        ensure(client)
        base = peak_mb()
        for _ in range(SCANS):
            wall, cpu = time.perf_counter(), time.process_time()
            found = file_scan.scan(
                client, Files(folder, config), cursor, now_ns=time.time_ns(), quiet_seconds=0, seconds=file_scan.SECONDS
            )
            file_scan.mark(client, found)
            cursor = found.cursor
            taken = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
            print(json.dumps(taken | {"cursor": len(cursor), "base_mb": base, "peak_mb": peak_mb()}), flush=True)


if __name__ == "__main__":
    _scan(sys.argv[1], Path(sys.argv[2]))
