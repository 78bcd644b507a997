"""The services of ours as the compose file has them, running as processes."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.compose_processes import Machine, deployed, write_flow
from tests.ui.browser import browser, missing_browser
from tests.ui.pages import add_flow

pytestmark = pytest.mark.slow
LOADED = "{workspaceOrError {... on Workspace {locationEntries {name locationOrLoadError {__typename}}}}}"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with deployed(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


def test_webserver_has_the_assets_of_the_code_server(machine: Machine) -> None:
    url = f"{machine.url}/graphql"
    assert httpx.post(url, json={"query": LOADED}, timeout=60).status_code == 401
    login = {"Authorization": f"Bearer {machine.token}"}
    answer = httpx.post(url, json={"query": LOADED}, headers=login, timeout=60).json()
    (location,) = answer["data"]["workspaceOrError"]["locationEntries"]
    assert location["name"] == "marketdata_assets"
    assert location["locationOrLoadError"]["__typename"] == "RepositoryLocation", json.dumps(answer)


def test_market_page_has_the_login_of_the_ui(machine: Machine) -> None:
    url = f"http://127.0.0.1:{machine.ports['3100']}/api/flows"
    assert httpx.get(url, timeout=60).status_code == 401
    answer = httpx.get(url, headers={"Authorization": f"Bearer {machine.token}"}, timeout=60)
    assert (answer.status_code, {"stock_daily"} <= {one["name"] for one in answer.json()["flows"]}) == (200, True)


def test_prometheus_is_told_of_servers_tables_and_runs(machine: Machine) -> None:
    url = f"http://127.0.0.1:{machine.ports['9101']}/metrics"
    end = time.monotonic() + 120
    while 'marketdata_scrape_success{look="assets"}' not in (text := httpx.get(url).text):
        assert time.monotonic() < end, text
        time.sleep(0.5)
    assert 'marketdata_server_up{server="Postgres"} 1.0' in text
    assert 'marketdata_server_up{server="MongoDB"} 0.0' in text, "there is none at that address"
    assert 'marketdata_scrape_success{look="bars"} 1.0' in text
    assert 'marketdata_scrape_success{look="alphas"} 0.0' in text
    assert 'marketdata_rows{account="",asset="stock_1min_qfq",group="bars"} 0.0' in text
    assert 'marketdata_runs{status="STARTED"} 0.0' in text


def test_passwords_of_servers_are_in_no_environment_and_no_argument(machine: Machine) -> None:
    canary = (machine.secrets / "postgres_password").read_bytes()
    for name, process in machine.running.items():
        for what in ("environ", "cmdline"):
            seen = Path(f"/proc/{process.pid}/{what}")
            if not seen.exists():
                pytest.skip("needs /proc")
            assert canary not in seen.read_bytes(), f"{what} of {name}"
            assert seen.read_bytes()


def test_nothing_is_written_beside_the_folders_of_the_volumes(machine: Machine) -> None:
    made = {path.name for path in machine.folder.iterdir()}
    assert made - {"stack", "code.log", "webserver.log", "web.log", "metrics.log", "workspace.yaml"} == {
        "data", "input", "secrets", "providers", ".env", ".env.example", "prepare.sh",
    }  # fmt: skip
    assert (machine.folder / "data" / "dagster" / "dagster.yaml").is_file()


def test_a_flow_that_is_added_is_on_the_page_after_the_button_is_pressed(machine: Machine) -> None:
    if missing := missing_browser():
        assert not os.environ.get("CI"), missing
        pytest.skip(missing)
    with browser(machine.url, machine.token) as chromium:
        add_flow(chromium, lambda: write_flow(machine.folder / "input" / "flows", "closes", "Closing prices."))
