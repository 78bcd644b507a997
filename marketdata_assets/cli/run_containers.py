"""`marketdata run-containers`: the service that starts each run in a container of its own."""

from pathlib import Path
from typing import Annotated

import typer

from marketdata_assets.cli import output
from marketdata_assets.errors import TerminalError
from marketdata_assets.run_containers.container import Limits
from marketdata_assets.standard_streams import service


@service()
def run_containers(
    socket: Annotated[Path, typer.Option(help="where requests are taken")],
    cpus: Annotated[float, typer.Option(min=0.01, help="cores of one run, at most")] = 2.0,
    memory: Annotated[str, typer.Option(help="memory of one run, at most, as 512m or 4g")] = "4g",
    processes: Annotated[int, typer.Option(min=8, help="processes of one run, at most")] = 512,
) -> None:
    """Start each run in a container of its own, for the daemon and the UI of the compose file.

    It runs in a container of the compose project, with the socket of the Docker Engine. Containers of runs are made
    from that of the service `code`. Runs until SIGTERM, which stops no run."""
    limits = Limits(cpus, memory, processes)
    output.notes().print(f"runs get {cpus:g} cores and {limits.memory_bytes >> 20} MB each; requests at {socket}")
    try:
        from docker.errors import DockerException

        from marketdata_assets.run_containers.engine import Engine
        from marketdata_assets.run_containers.service import serve
    except ModuleNotFoundError as error:
        raise TerminalError("docker is not installed; run: pip install 'marketdata-assets[containers]'") from error
    try:
        engine = Engine.of_this_container(limits)
    except DockerException as error:
        raise TerminalError(
            f"the Docker Engine does not answer: {error}. DOCKER_GID in .env has to be the group of the socket that is"
            " mounted, as `stat -c %g /var/run/docker.sock` prints it."
        ) from error
    serve(engine, socket)
