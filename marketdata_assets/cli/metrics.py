"""`marketdata metrics`: Prometheus metrics of servers, tables and runs, on loopback by default."""

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from marketdata_assets.cli import output
from marketdata_assets.cli.instance import dagster_instance
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.local.errors import PortTaken
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from marketdata_assets.cli.figures import Figures


def metrics(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0 takes a free one")] = 9101,
    every: Annotated[float, typer.Option(min=1.0, help="seconds between two scrapes of servers and tables")] = 120.0,
    once: Annotated[bool, typer.Option("--once", help="scrape once, print the metrics and exit")] = False,
) -> None:
    """Serve Prometheus metrics for servers, tables and runs at http://HOST:PORT/metrics.

    Runs until Ctrl-C."""
    settings = Settings()
    try:
        from prometheus_client import start_http_server
    except ModuleNotFoundError as error:
        raise CollectorError(
            "prometheus_client is not installed; run: pip install 'marketdata-assets[live]'"
        ) from error
    from marketdata_assets.cli.figures import all_figures
    from marketdata_assets.definitions import defs

    with dagster_instance(settings) as instance:
        figures = all_figures(instance, defs().get_repository_def())
        if once:
            figures.scrape()
            sys.stdout.write(exposition(figures).decode())
            return
        try:
            server, _ = start_http_server(port, host, registry_of(figures))
        except OSError as error:
            raise PortTaken("marketdata metrics", port, "--port") from error
        output.notes().print(f"metrics at http://{host}:{server.server_port}/metrics, updated every {every:g} s")
        while True:
            figures.scrape()
            time.sleep(every)


def exposition(figures: "Figures") -> bytes:
    """All metrics in Prometheus' text format."""
    from prometheus_client import generate_latest

    return generate_latest(registry_of(figures))


def registry_of(figures: "Figures") -> "CollectorRegistry":
    """A registry with these metrics alone."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    class Families(Collector):
        def collect(self) -> "Iterator[Metric]":
            return figures.metrics()

    registry = CollectorRegistry()
    registry.register(Families())
    return registry
