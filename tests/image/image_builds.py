"""The images of the compose file on this machine: those of the project, and stand-ins for what cannot be pulled."""

import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from docker.errors import APIError, BuildError, ImageNotFound

import docker
from tests.deploy.compose_file import PROJECT, services

FOLDER = PROJECT / "tests" / "image" / "stand_ins"
PROGRAMS = "marketdata-stand-ins"
STAND_INS = {
    "timescaledb": 'ENTRYPOINT ["postgres.sh"]',
    "dagster-db": 'ENTRYPOINT ["postgres.sh"]',
    "mongodb": 'ENTRYPOINT ["docker-entrypoint.sh"]',
    "clickhouse": 'ENTRYPOINT ["clickhouse.py"]',
    "redis": "",
    "prometheus": 'ENTRYPOINT ["prometheus"]',
    "alertmanager": 'ENTRYPOINT ["alertmanager.sh"]',
}
"""By service: what is called in the container. Grafana has none."""
NATS_BASE = "nats:2.15.0-alpine"


def built(client: docker.DockerClient, tag: str, **how: object) -> str:
    """Build an image and return its id; raises with the last lines of the build's output."""
    try:
        image, _ = client.images.build(tag=tag, network_mode="host", rm=True, **how)
    except BuildError as error:
        said = "".join(str(line.get("stream", line)) for line in list(error.build_log)[-30:])
        raise AssertionError(f"{tag} was not built:\n{said}") from error
    return str(image.id)


def project_image(
    client: docker.DockerClient,
    tag: str,
    *,
    uid: int,
    cached: bool = True,
    source: Path = PROJECT,
    lock: str = "requirements.lock",
) -> str:
    """The image of the project, from the Dockerfile of a checkout, with this user and what a lock of `docker` names."""
    arguments = {"UID": str(uid), "GID": str(uid), "LOCK": lock}
    return built(client, tag, path=str(source), dockerfile="docker/Dockerfile", buildargs=arguments, nocache=not cached)


def other_images(client: docker.DockerClient) -> Mapping[str, str]:
    """By service, "image" or "stand-in", for each whose image is here now."""
    kinds = dict(_pulled(client))
    wanted = {name: services()[name]["image"] for name in STAND_INS if name not in kinds}
    nats = "image" if _have(client, NATS_BASE) else "stand-in"
    if wanted or nats == "stand-in":
        built(client, PROGRAMS, fileobj=_programs(), custom_context=True)
    for name, image in wanted.items():
        built(client, image, fileobj=io.BytesIO(f"FROM {PROGRAMS}\n{STAND_INS[name]}\n".encode()))
        kinds[name] = "stand-in"
    if nats == "stand-in":
        built(client, NATS_BASE, fileobj=io.BytesIO(f"FROM {PROGRAMS}\n".encode()))
    built(client, services()["nats"]["image"], path=str(PROJECT / "docker" / "nats"))
    return kinds | {"nats": nats, "mongodb-setup": kinds["mongodb"]}


def _programs() -> io.BytesIO:
    """What the stand-ins are built from; the project's own .dockerignore leaves it out."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(FOLDER / "Dockerfile", "Dockerfile")
        for name in ("requirements.lock", "marketdata_assets/__init__.py", "marketdata_assets/local", FOLDER):
            tar.add(PROJECT / name, str((PROJECT / name).relative_to(PROJECT)), filter=_plain)
    packed.seek(0)
    return packed


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Without compiled modules, times and owners, so that an unchanged folder is built once."""
    member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
    return None if "__pycache__" in member.name else member


def _pulled(client: docker.DockerClient) -> Iterator[tuple[str, str]]:
    for name, service in services().items():
        if "build" not in service and _have(client, service["image"]):
            yield name, "image"


def _have(client: docker.DockerClient, image: str) -> bool:
    """Whether the image is here or can be pulled; a stand-in of an earlier run is none."""
    try:
        found = client.images.get(image)
    except ImageNotFound:
        try:
            client.images.pull(image)
        except APIError:
            return False
        return True
    return PROGRAMS not in found.labels
