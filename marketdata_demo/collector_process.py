"""`marketdata collect` as a process of its own: begun, asked how it is, ended in order or killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from marketdata_assets.local.process import free_port

LONGEST = 60.0
"""Seconds that something may take on a busy machine."""

QUICK = {"backoff_seconds": 0.05, "longest_backoff_seconds": 0.3, "snapshot_seconds": 0.3}


@dataclass(frozen=True)
class Place:
    """A market of the configuration and where it is."""

    exchange: str
    market_type: str
    symbols: Sequence[str]
    data_types: Sequence[str]
    url: str
    ws_url: str

    def section(self) -> dict[str, Any]:
        return {
            "symbols": list(self.symbols),
            "data_types": list(self.data_types),
            "ws_url": self.ws_url,
            "base_url": self.url,
        }


@dataclass
class CollectorProcess:
    """One collector in its own folder, or in the one of others; `more` are further sections of its configuration."""

    home: Path
    places: Sequence[Place]
    nats_url: str | None = None
    clickhouse_url: str | None = None
    shard: str = "1/1"
    more: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None
        self.log = self.home / f"collector-{self.shard.replace('/', '-')}.log"
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10.0, trust_env=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._http.close()

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def start(self) -> None:
        """Begin it, again where it was; returns at once."""
        self.home.mkdir(parents=True, exist_ok=True)
        file = self.home / f"collector-{self.shard.replace('/', '-')}.yaml"
        file.write_text(yaml.safe_dump(self._config()))
        command = [str(Path(sys.executable).with_name("marketdata")), "collect", "--config", str(file)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--shard", self.shard, "--json"],
                env=self._environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def status(self) -> dict[str, Any]:
        """What it says of itself; raises httpx.HTTPError while it does not answer."""
        told: dict[str, Any] = self._http.get("/status").raise_for_status().json()
        return told

    def metrics(self) -> str:
        """What Prometheus would read."""
        return self._http.get("/metrics").raise_for_status().text

    def until(self, so: Callable[[dict[str, Any]], Any], seconds: float = LONGEST) -> dict[str, Any]:
        """Wait until something can be said of its status."""
        end, told = time.monotonic() + seconds, dict[str, Any]()
        while True:
            with suppress(httpx.HTTPError):
                told = self.status()
                if so(told):
                    return told
            assert self.process
            assert self.process.poll() is None, f"it ended:\n{self._tail()}"
            assert time.monotonic() < end, f"not so in {seconds} s:\n{json.dumps(told)[:4000]}\n{self._tail()}"
            time.sleep(0.05)

    def subscribed(self) -> dict[str, Any]:
        """Wait until every subscription is confirmed and every book live."""
        return self.until(is_ready)

    def stop(self) -> dict[str, Any]:
        """End it in order; what it did."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=LONGEST)
        assert self.process.returncode == 0, f"{out}\n{self._tail()}"
        report: dict[str, Any] = json.loads(out)
        return report

    def kill(self) -> None:
        """SIGKILL."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def _config(self) -> dict[str, Any]:
        exchanges: dict[str, Any] = {}
        for one in self.places:
            exchanges.setdefault(one.exchange, {"markets": {}})["markets"][one.market_type] = one.section()
        config: dict[str, Any] = {"http": {"port": self.port}, "exchanges": exchanges, "connections": dict(QUICK)}
        for name, values in self.more.items():
            config[name] = {**config.get(name, {}), **values} if isinstance(values, Mapping) else values
        return config

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MARKETDATA_")}
        kept["MARKETDATA_HOME"] = str(self.home)
        if self.nats_url:
            kept["MARKETDATA_NATS_URL"] = self.nats_url
        if self.clickhouse_url:
            kept["MARKETDATA_CLICKHOUSE_URL"] = self.clickhouse_url
        return kept | dict(self.environment)

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


def is_confirmed(told: dict[str, Any]) -> bool:
    """Whether every market has subscriptions, and all are confirmed."""
    listed = [market["subscriptions"] for market in told["markets"]]
    return bool(listed) and all(listed) and all(one["status"] == "confirmed" for some in listed for one in some)


def is_ready(told: dict[str, Any]) -> bool:
    """Whether every subscription is confirmed and every book live."""
    books = [one for market in told["markets"] for one in market["books"]]
    return is_confirmed(told) and all(one["status"] == "live" for one in books)


def sink(told: dict[str, Any], name: str = "jetstream") -> dict[str, Any]:
    """What is said of one sink."""
    found: dict[str, Any] = next(one for one in told["sinks"] if one["name"] == name)
    return found
