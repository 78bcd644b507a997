"""First starts of all services on empty volumes, again and again: each becomes healthy, and none is started twice."""

import os
from pathlib import Path

import pytest

import docker
from tests.image.compose_engine import PORTS, free_ports, prepared_project

pytestmark = pytest.mark.slow
FIRST_STARTS = int(os.environ.get("IMAGE_TEST_STARTS", "2"))


@pytest.mark.parametrize("start", range(FIRST_STARTS))
def test_first_start_from_empty_volumes(
    engine: docker.DockerClient, kinds: dict[str, str], tmp_path: Path, start: int
) -> None:
    ports = free_ports(PORTS)
    one = prepared_project(engine, f"first-start-{start}", tmp_path, ports, kinds)
    core = [name for name, service in one.services.items() if "core" in service["profiles"]]
    one.down()
    try:
        one.up(core)
        print(f"healthy after {max(one.seconds.values()):.1f} s")
        assert not [name for name in core if one.containers[name].attrs["RestartCount"]]
    finally:
        one.down()
