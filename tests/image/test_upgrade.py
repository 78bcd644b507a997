"""An upgrade on the same volumes, from another image of the present commit, or of IMAGE_TEST_UPGRADE_FROM."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import docker
from marketdata_demo import sample_bars
from tests.deploy.compose_file import PROJECT
from tests.image.compose_engine import UID, free_ports
from tests.image.image_builds import other_images, project_image
from tests.image.real_compose import Compose, prepared_copy, program

BEFORE = os.environ.get("IMAGE_TEST_UPGRADE_FROM", "HEAD")
"""A commit whose tables have the present schema version; the newest release, as soon as there is one."""
pytestmark = pytest.mark.slow
WANTED = ("code", "webserver", "daemon", "metrics")
COUNT = """
import sys
from pathlib import Path
from marketdata_assets.stores.postgres import connect
with connect(Path("/run/secrets/postgres_dsn").read_text().strip()) as connection:
    print("=", *connection.execute(sys.argv[1]).fetchone())
"""
DIGEST = """SELECT count(*),
  sum(hashtextextended(concat_ws('|', code, time, open, high, low, close, volume, amount), 0))
FROM stock_1min_qfq WHERE time < '2023-04-01'"""
RUNS = "query {runsOrError {... on Runs {results {runId status}}}}"


@pytest.fixture
def stack(engine: docker.DockerClient, project: str, tmp_path: Path) -> Iterator[Compose]:
    """The services of the earlier commit, as a person has prepared and started them."""
    command = program()
    if command is None or not has_commit(BEFORE):
        pytest.skip(f"needs the commit {BEFORE} of the history, and Docker Compose 2 or later (make image-test)")
    other_images(engine)
    source = tmp_path / "before"
    source.mkdir()
    archive = subprocess.run(["git", "archive", BEFORE], cwd=PROJECT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], cwd=source, input=archive, check=True)
    project_image(engine, "marketdata-assets:before", uid=UID, source=source)
    folder = tmp_path / "docker"
    folder.mkdir()
    prepared_copy(folder, values("before"), engine.version()["Version"], source / "docker")
    one = Compose(command, folder)
    one("down", "--volumes", "--remove-orphans", "--timeout", "10")
    try:
        one("up", "--detach", "--wait", "--no-build", *WANTED)
        yield one
    finally:
        one("down", "--volumes", "--remove-orphans", "--timeout", "10")


def has_commit(name: str) -> bool:
    found = subprocess.run(["git", "cat-file", "-e", f"{name}^{{commit}}"], cwd=PROJECT, capture_output=True)
    return found.returncode == 0


def values(version: str) -> dict[str, str]:
    return {
        "COMPOSE_FILE": "compose.yaml:of-this-engine.yaml",
        "COMPOSE_PROJECT_NAME": "upgrade",
        "DAGSTER_PORT": str(free_ports(["DAGSTER_PORT"])["DAGSTER_PORT"]),
        "MARKETDATA_UID": str(UID),
        "MARKETDATA_GID": str(UID),
        "MARKETDATA_VERSION": version,
    }


def drop_a_year(stack: Compose, year: int) -> None:
    folder = stack.folder / "input" / "bars"
    sample_bars.write_year(folder, year)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", folder], check=True)


def selected(stack: Compose, query: str) -> list[str]:
    """The values of the first row."""
    said = stack("exec", "-T", "code", "python", "-c", COUNT, query)
    return next(line.split()[1:] for line in said.splitlines() if line.startswith("= "))


def runs(stack: Compose) -> dict[str, str]:
    found = stack.ask(RUNS)["runsOrError"]
    assert isinstance(found, dict)
    return {one["runId"]: one["status"] for one in found["results"]}


def test_volumes_of_an_earlier_version_are_taken_over(engine: docker.DockerClient, stack: Compose) -> None:
    drop_a_year(stack, 2023)
    stack("exec", "-T", "code", "marketdata", "ingest", "bars", "--months", "2023-01:2023-03", "--workers", "2")
    digest, history = selected(stack, DIGEST), runs(stack)
    assert int(digest[0]) > 10_000
    assert history
    prepared_copy(stack.folder, values("local"), engine.version()["Version"])
    stack("up", "--detach", "--wait", "--no-build", *WANTED)
    print(stack("logs", "migrate"))
    assert selected(stack, DIGEST) == digest
    assert history.items() <= runs(stack).items(), "the runs of before are in the UI"
    stack("exec", "-T", "code", "marketdata", "ingest", "bars", "--months", "2023-01:2023-04", "--workers", "2")
    assert selected(stack, DIGEST) == digest, "what is loaded is not loaded again"
    (more,) = selected(stack, "SELECT count(*) FROM stock_1min_qfq WHERE time >= '2023-04-01'")
    assert int(more) > 1000
