"""The services of the compose file as containers: they start in order, become healthy, do their work and come back.

Servers whose images cannot be pulled here are stand-ins; the table that is printed says which. Grafana has none and is
left out then.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import docker
from marketdata_demo import sample_bars
from tests.deploy.compose_file import PROJECT
from tests.deploy.compose_processes import write_flow
from tests.image import venue_certificate
from tests.image.compose_engine import PORTS, UID, Project, free_ports, prepared_project
from tests.image.image_builds import PROGRAMS
from tests.ui.browser import Browser, browser, missing_browser
from tests.ui.pages import add_flow

pytestmark = pytest.mark.slow
VENUE = "www.deribit.com"
COUNT = """
import sys
from pathlib import Path
from marketdata_assets.stores.postgres import connect
with connect(Path("/run/secrets/postgres_dsn").read_text().strip()) as connection:
    print(connection.execute(sys.argv[1]).fetchone()[0])
"""
TRADES = """
from pathlib import Path
from marketdata_assets.stores.clickhouse import connect
with connect(Path("/run/secrets/clickhouse_url").read_text().strip()) as client:
    print(client.command("SELECT count() FROM exchange_trades"))
"""
BACKFILL = """mutation ($wanted: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $wanted) {
    __typename ... on LaunchBackfillSuccess {backfillId} ... on PythonError {message}}}"""
STATE = "query ($id: String!) {partitionBackfillOrError(backfillId: $id) {... on PartitionBackfill {status}}}"


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return free_ports(PORTS)


@pytest.fixture(scope="module")
def stack(
    engine: docker.DockerClient, kinds: dict[str, str], ports: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """Every service of the profiles core, live and viewer, healthy."""
    one = prepared_project(engine, "image-test", tmp_path_factory.mktemp("compose"), ports, kinds)
    heartbeat = one.folder / "providers" / "heartbeat_url"
    heartbeat.write_text(f"https://{VENUE}/heartbeat")
    heartbeat.with_name("alert_webhook").write_text(f"https://{VENUE}/alerts")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", heartbeat.parent], check=True)
    certificate = tmp_path_factory.mktemp("certificate")
    one.authority = venue_certificate.write(certificate, VENUE)
    one.down()
    try:
        mounts = {certificate: "/certificate", PROJECT: "/source"}
        one.stand_in("venue", PROGRAMS, "venue.py", VENUE, mounts)
        one.up(list(one.services))
        yield one
    finally:
        one.down()


@pytest.fixture(scope="module")
def loaded(stack: Project) -> int:
    """Rows of a year of bars that a person has dropped and loaded from the command line."""
    drop_a_year(stack, 2023)
    stack.run("code", "marketdata", "ingest", "bars", "--months", "2023-01:2023-03", "--workers", "2")
    return rows(stack)


def drop_a_year(stack: Project, year: int) -> None:
    """Put a zip of bars where the services read, as their user."""
    folder = stack.folder / "input" / "bars"
    sample_bars.write_year(folder, year)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", folder], check=True)


def rows(stack: Project, where: str = "true") -> int:
    query = f"SELECT count(*) FROM stock_1min_qfq WHERE {where}"
    return int(stack.run("code", "python", "-c", COUNT, query).split()[-1])


@pytest.fixture(scope="module")
def token(stack: Project) -> str:
    """The token of the webserver."""
    found = ""
    while not found:  # of a busy engine, the output of a command can be empty
        found = stack.run("webserver", "cat", "/data/dagster/ui_token").strip()
    return found


def ask(ports: dict[str, int], token: str, query: str, **variables: object) -> dict[str, object]:
    """What the webserver answers to a GraphQL query of whoever has its token."""
    url, login = f"http://127.0.0.1:{ports['DAGSTER_PORT']}/graphql", {"Authorization": f"Bearer {token}"}
    answer = httpx.post(url, json={"query": query, "variables": variables}, headers=login, timeout=60).json()
    assert "errors" not in answer, answer
    data: dict[str, object] = answer["data"]
    return data


def become(stack: Project, name: str, since: float, seconds: float = 180) -> float:
    """Wait until a service is healthy again; the seconds since `since`."""
    while not stack.done(name):
        assert time.monotonic() < since + seconds, stack.log(name)
        time.sleep(0.2)
    return time.monotonic() - since


def test_every_service_starts_in_order_and_becomes_healthy(stack: Project, kinds: dict[str, str]) -> None:
    print("\nservice         server     healthy or done after")
    for name in stack.services:
        print(f"{name:15} {kinds[name]:10} {stack.seconds[name]:.1f} s")
    assert stack.seconds.keys() == stack.services.keys()


def test_containers_are_confined_as_the_file_says(stack: Project) -> None:
    for name, service in stack.services.items():
        attributes = stack.containers[name].attrs
        host, config = attributes["HostConfig"], attributes["Config"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0 < host["PidsLimit"], name
        assert (config["User"] or "root") not in ("root", "0"), name
        assert set(service["networks"]) == {one.removeprefix("image-test_") for one in _networks(attributes)}


def _networks(attributes: dict[str, dict[str, dict[str, object]]]) -> list[str]:
    return list(attributes["NetworkSettings"]["Networks"])


def test_servers_are_those_that_doctor_expects(stack: Project) -> None:
    _, said = stack.containers["code"].exec_run(["marketdata", "doctor", "--json"])
    servers = {one["store"]: one for one in json.loads(said)["servers"]}
    assert len(servers) == 4
    for name, one in servers.items():
        assert one["version"], f"{name}: {one}"


def test_internal_network_leads_nowhere(stack: Project) -> None:
    reach = "import socket; socket.create_connection(('198.51.100.1', 80), timeout=3)"
    code, said = stack.containers["daemon"].exec_run(["python", "-c", reach])
    assert code != 0
    assert b"unreachable" in said or b"timed out" in said, said


def test_bars_are_loaded_and_a_backfill_of_the_ui_goes_on(
    stack: Project, loaded: int, ports: dict[str, int], token: str
) -> None:
    assert loaded > 10_000
    partitions = ["2023-04", "2023-05"]
    wanted = {
        "assetSelection": [{"path": ["stock_1min_qfq"]}],
        "partitionNames": partitions,
        "fromFailure": False,
        "tags": [],
    }
    answer = ask(ports, token, BACKFILL, wanted=wanted)["launchPartitionBackfill"]
    assert isinstance(answer, dict)
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    end, state = time.monotonic() + 300, ""
    while state not in ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"):
        assert time.monotonic() < end, stack.log("daemon") + stack.log("code")
        found = ask(ports, token, STATE, id=answer["backfillId"])["partitionBackfillOrError"]
        assert isinstance(found, dict)
        state = found["status"]
        time.sleep(1)
    assert state == "COMPLETED_SUCCESS", stack.log("code")
    assert rows(stack, "time >= '2023-04-01' AND time < '2023-06-01'") > loaded / 3


def test_people_see_the_assets_in_both_uis(
    stack: Project, loaded: int, ports: dict[str, int], token: str, tmp_path: Path
) -> None:
    if missing := missing_browser():
        pytest.skip(missing)
    tokens = {
        "DAGSTER_PORT": token,
        "VIEWER_PORT": (stack.folder / "secrets" / "viewer_token").read_text().strip(),
    }
    for port, secret in tokens.items():
        chromium = Browser(f"http://127.0.0.1:{ports[port]}", secret)
        try:
            chromium.open("/assets/stock_1min_qfq")
            chromium.until(lambda page=chromium: "stock_1min_qfq" in page.text() and "2023" in page.text(), "the bars")
            chromium.shot(Path(os.environ.get("IMAGE_TEST_SHOTS", tmp_path)) / f"{port.lower()}.png")
        finally:
            chromium.driver.quit()


def test_a_flow_that_is_added_is_on_the_page_after_the_button_is_pressed(
    stack: Project, ports: dict[str, int], token: str
) -> None:
    if missing := missing_browser():
        pytest.skip(missing)
    with browser(f"http://127.0.0.1:{ports['DAGSTER_PORT']}", token) as chromium:
        add_flow(chromium, lambda: drop_flow(stack))


def drop_flow(stack: Project) -> None:
    """Put a flow where the code server looks for them, as its user."""
    folder = stack.folder / "input" / "flows"
    write_flow(folder, "closes", "Closing prices.")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", folder], check=True)


def test_prometheus_reaches_what_it_scrapes(stack: Project, ports: dict[str, int]) -> None:
    url, end, up = f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}/api/v1/targets", time.monotonic() + 120, set()
    while up != {"collector", "drain", "pipeline"}:
        assert time.monotonic() < end, up
        active = httpx.get(url, timeout=10).json()["data"]["activeTargets"]
        up = {one["scrapePool"] for one in active if one["health"] == "up"}
        time.sleep(1)


def test_alertmanager_has_the_alert_of_prometheus_that_is_always_on(stack: Project) -> None:
    if "alertmanager" not in stack.services:
        pytest.skip("needs an image of Alertmanager")
    end, said = time.monotonic() + 120, ""
    while '"Watchdog"' not in said:
        assert time.monotonic() < end, stack.log("prometheus") + stack.log("alertmanager")
        said = stack.run("prometheus", "wget", "-q", "-O", "-", "http://alertmanager:9093/api/v2/alerts")
        time.sleep(1)


def test_trades_of_the_venue_reach_the_table_through_collector_stream_and_drain(stack: Project) -> None:
    seen, end = 0, time.monotonic() + 120
    while seen < 100:
        assert time.monotonic() < end, stack.log("collector") + stack.log("drain")
        seen = int(stack.run("code", "python", "-c", TRADES).split()[-1])
        time.sleep(1)


def test_a_backup_is_restored_into_emptied_databases(stack: Project, loaded: int) -> None:
    before = rows(stack)
    stack.run("code", "marketdata", "backup", "/data/backup-1")
    names = "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public'"
    tables = stack.run("code", "python", "-c", COUNT, names).strip()
    drop = COUNT.replace("print(connection.execute(sys.argv[1]).fetchone()[0])", "connection.execute(sys.argv[1])")
    stack.run("code", "python", "-c", drop, f"DROP TABLE {tables} CASCADE")
    stack.run("code", "marketdata", "restore", "/data/backup-1", "--store", "postgres")
    assert rows(stack) == before


def test_a_killed_service_comes_back_healthy(stack: Project, loaded: int) -> None:
    lasting = [name for name, one in stack.services.items() if one.get("restart") != "no"]
    print("\nservice         healthy again after SIGKILL")
    for name in lasting:
        began, pid = time.monotonic(), stack.kill(name)
        while stack.state(name)["Pid"] in (0, pid):
            assert time.monotonic() < began + 60, stack.log(name)
            time.sleep(0.1)
        print(f"{name:15} {become(stack, name, began):.1f} s")
    for name in lasting:
        become(stack, name, time.monotonic())
    before = rows(stack)
    drop_a_year(stack, 2022)
    stack.run("code", "marketdata", "ingest", "bars", "--months", "2022-06", "--workers", "2")
    assert rows(stack) > before >= loaded
