"""A collector and a real Prometheus that scrapes it; prints what Prometheus found.

Usage: prometheus_run.py PROGRAM FOLDER
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent), str(HERE.parent / "exchanges")]

import httpx  # noqa: E402
from service_runs import LONGEST, SPOT, market, program, running, text_of  # noqa: E402

from marketdata_assets.local.process import free_port  # noqa: E402
from marketdata_demo.venues.binance_venue import BinanceVenue  # noqa: E402

DOCKER = HERE.parents[1] / "docker"


def configured(folder: Path, target: str) -> Path:
    """The shipped configuration, with this collector as its target and a scrape each second."""
    config = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for rules in config["rule_files"]:
        (folder / rules).write_text((DOCKER / rules).read_text())
    (folder / "targets").mkdir()
    (folder / "targets" / "collector.yml").write_text(yaml.safe_dump([{"targets": [target]}]))
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    return file


async def look(folder: Path) -> dict[str, Any]:
    with BinanceVenue("spot", ["ABCUSDT"], seed=7) as venue:
        async with running(text_of({"spot": market(venue, ["ABCUSDT"], SPOT)}), folder) as run:
            await run.subscribed()
            await run.emit(venue, 200)
            expected = len(venue.source().trades["ABCUSDT"])
            await run.until(lambda: run.collector.status().markets[0].counters.records["trade"] == expected)
            port = free_port()
            file = configured(folder, f"127.0.0.1:{run.collector.server.port}")
            options = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
            options.append(f"--web.listen-address=127.0.0.1:{port}")
            with program("prometheus", *options, folder=folder, port=port):
                return await asked(f"http://127.0.0.1:{port}", expected)


async def asked(url: str, expected: int) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url) as client:
        end = time.monotonic() + LONGEST
        trades = 'collector_records_total{data_type="trade"}'
        while not (found := await value(client, trades)) and time.monotonic() < end:
            await asyncio.sleep(0.2)
        rules: list[Any] = []
        while time.monotonic() < end:
            groups = (await client.get("/api/v1/rules")).json()["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            if rules and all(rule["health"] != "unknown" for rule in rules):
                break
            await asyncio.sleep(0.2)
        return {
            "up": await value(client, 'up{job="collector"}'),
            "trades": found,
            "expected": expected,
            "rules": [rule["name"] for rule in rules],
            "unhealthy_rules": [rule["name"] for rule in rules if rule["health"] != "ok"],
        }


async def value(client: httpx.AsyncClient, expression: str) -> str | None:
    answer = await client.get("/api/v1/query", params={"query": expression})
    # Until it is ready, Prometheus answers without JSON.
    rows = answer.json().get("data", {}).get("result", []) if answer.status_code == 200 else []
    return str(rows[0]["value"][1]) if rows else None


if __name__ == "__main__":
    print(json.dumps(asyncio.run(look(Path(sys.argv[2])))))
