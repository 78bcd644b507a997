"""Services without containers: the commands of the page exist, and its variables are read, as those of the unit are."""

import re
import shlex

import pytest
import yaml

from marketdata_assets.secret_values import SUFFIX
from tests.deploy.compose_file import DOCKER, OURS, PROJECT
from tests.deploy.readers import known, refuses_what_it_does_not_know

UNIT = DOCKER / "systemd" / "marketdata@.service"
PAGE = (PROJECT / "docs" / "deploy.md").read_text()
BLOCKS = re.findall(r"^```(ini|yaml)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = dict(re.findall(r"^# /etc/marketdata/(\w+)\nCOMMAND=(.*)$", PAGE, re.MULTILINE))


def unit() -> dict[str, list[str]]:
    """The lines of [Service], those with the same name together."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().partition("[Service]")[2].partition("[Install]")[0].strip().splitlines():
        name, _, value = line.partition("=")
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_of_the_page_exists(name: str) -> None:
    words = shlex.split(COMMANDS[name].replace("/etc/marketdata/workspace.yaml", str(DOCKER / "workspace.yaml")))
    refuses_what_it_does_not_know(words)
    started = re.findall(r"marketdata@(\w+)", PAGE.partition("systemctl enable")[2])
    assert {*started} == COMMANDS.keys() == {*OURS} - {"viewer"}


def test_every_variable_is_one_that_somebody_reads_and_secrets_are_named_once() -> None:
    shown = {line.partition("=")[0] for kind, text in BLOCKS if kind == "ini" for line in text.splitlines()}
    shown = {name for name in shown if name.isupper()} - {"COMMAND", "COMPOSE_FILE"}
    of_unit = {value.partition("=")[0].removesuffix(SUFFIX) for value in unit()["Environment"]}
    assert len(shown) > 5
    assert shown | of_unit <= known()
    loaded = dict(value.split(":") for value in unit()["LoadCredential"])
    files = {value.partition("=%d/")[2] for value in unit()["Environment"]}
    assert files == loaded.keys()
    assert set(loaded.values()) == {f"/etc/marketdata/secrets/{name}" for name in loaded}
    for name in loaded:
        assert f"`{name}`" in PAGE, name


def test_unit_gives_no_rights_and_is_started_again() -> None:
    service = unit()
    assert (service["User"], service["Restart"]) == (["marketdata"], ["always"])
    assert service["ExecStart"] == ["/opt/marketdata-assets/.venv/bin/marketdata exec $COMMAND"]
    assert service["OOMPolicy"] == ["continue"], "a run without memory would end all others"
    for name in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "RestrictSUIDSGID"):
        assert service[name] == ["true"]


def test_workspace_of_the_page_is_where_the_code_server_listens() -> None:
    (text,) = (text for kind, text in BLOCKS if kind == "yaml")
    server = yaml.safe_load(text)["load_from"][0]["grpc_server"]
    assert server["location_name"] == "marketdata_assets"
    assert COMMANDS["code"].endswith(f"--host {server['host']} --port {server['port']}")
