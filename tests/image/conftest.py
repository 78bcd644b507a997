"""An engine for the tests of the image; without one they skip, or fail where IMAGE_TEST says that they have to run."""

import os
from collections.abc import Iterator

import pytest
from docker.errors import DockerException

import docker
from tests.deploy.compose_file import services
from tests.image.compose_engine import UID
from tests.image.image_builds import other_images, project_image


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The Docker Engine of this machine; DOCKER_HOST names another."""
    try:
        client = docker.from_env(timeout=900)
        client.ping()
    except DockerException as error:
        if os.environ.get("IMAGE_TEST"):
            raise
        pytest.skip(f"needs a Docker Engine that this user may use (make image-test): {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def project(engine: docker.DockerClient) -> str:
    """The tag of the image of this checkout."""
    project_image(engine, "marketdata-assets:local", uid=UID)
    return "marketdata-assets:local"


@pytest.fixture(scope="session")
def kinds(engine: docker.DockerClient, project: str) -> dict[str, str]:
    """By service, whether its image is the real one or a stand-in."""
    own = {name: "image" for name, one in services().items() if "marketdata-assets" in one["image"]}
    return {**other_images(engine), **own}
