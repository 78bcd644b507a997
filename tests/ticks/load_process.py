"""A process that loads what it is told when it is told to, for tests that kill it or set it against another."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks.load_run import Limits
from marketdata_demo.servers.tushare import TushareServer
from tests.ticks.tick_clients import Clients
from tests.ticks.tick_loads import Loader, units

PROJECT = Path(__file__).parents[2]


class LoadProcess:
    """Is ready when this returns, and begins with `begin`."""

    def __init__(self, url: str, server: TushareServer, home: Path, symbols: Sequence[str], **options: Any) -> None:
        told = json.dumps([url, server.url, str(home), list(symbols), options])
        self.child = subprocess.Popen(
            [sys.executable, __file__, told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
        )
        assert self.child.stdout
        assert self.child.stdout.readline() == "ready\n"

    def begin(self) -> None:
        assert self.child.stdin
        self.child.stdin.write("go\n")
        self.child.stdin.flush()

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    def end(self, signal: int | None = None) -> dict[str, str]:
        """Symbol and outcome of each unit; nothing of a process that a signal ended."""
        if signal is not None:
            with suppress(ProcessLookupError):
                self.child.send_signal(signal)
        out, err = self.child.communicate(timeout=120)
        assert signal is not None or self.child.returncode == 0, err
        found: dict[str, str] = json.loads(out) if self.child.returncode == 0 else {}
        return found


class _Elsewhere:
    """The address of a server that runs in another process."""

    def __init__(self, url: str) -> None:
        self.url = url


def main(url: str, provider: str, home: str, symbols: list[str], options: dict[str, Any]) -> None:
    with clickhouse.connect(url) as client:
        loader = Loader(client, Clients(Path(home)), _Elsewhere(provider))  # type: ignore[arg-type]
        print("ready", flush=True)
        sys.stdin.readline()
        limits = options.pop("limits", {"items": 4, "seconds": 0.01})
        changes = {"limits": Limits(**limits), "turns": Path(home) / "turns"}
        report = loader(units(symbols), **(changes | options))
    print(json.dumps({unit.symbol: unit.error or unit.outcome for unit in report.units}))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
