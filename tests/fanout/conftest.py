"""A Ray cluster with a token of its own, on loopback."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketdata_assets.local.process import free_port
from tests.fanout.cluster_of_ray import ray_start


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """Short, for the paths of sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_address(ray_folder: Path) -> Iterator[str]:
    """A cluster of one machine with two CPUs."""
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 3, "RAY_USAGE_STATS_ENABLED": "0"}
    variables |= {"RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0"}  # nobody needs those
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        port = free_port()
        options = ("--head", f"--port={port}", "--num-cpus=2", f"--temp-dir={ray_folder}", "--include-dashboard=false")
        with ray_start(ray_folder / "head.log", *options, f"--ray-client-server-port={free_port()}"):
            yield f"127.0.0.1:{port}"
            import ray

            ray.shutdown()
