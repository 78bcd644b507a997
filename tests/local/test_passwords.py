"""No server of the local stack answers without its password, and no other user of the machine can read one."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pymongo
import pytest

from marketdata_assets.errors import TransientError
from marketdata_assets.local import password
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.secret_values import without_password
from marketdata_assets.stores import clickhouse, mongo, postgres
from marketdata_assets.stores.errors import LoginRejected
from tests.cli.commands import settings as settings_of

READ = "SELECT count() FROM file('/etc/passwd', 'LineAsString')"
OTHER_USER = 65534


def ask_clickhouse(login: str, stack: LocalStack) -> bool:
    """Whether a file of this machine is read."""
    url = urlsplit(stack.endpoints.clickhouse_url or "")
    return httpx.post(f"http://{login}127.0.0.1:{url.port}/", content=READ).status_code == 200


def ask_nats(login: str, stack: LocalStack) -> bool:
    """Whether the server answers anything but its refusal."""
    user, _, secret = login.removesuffix("@").partition(":")
    given = json.dumps({"user": user, "pass": secret, "verbose": False}).encode()
    with socket.create_connection(("127.0.0.1", urlsplit(stack.endpoints.nats_url or "").port or 0)) as connection:
        lines = connection.makefile("rb")
        assert lines.readline().startswith(b"INFO ")
        connection.sendall(b"CONNECT " + given + b"\r\nPING\r\n")
        return lines.readline() == b"PONG\r\n"


def ask_postgres(login: str, stack: LocalStack) -> bool:
    """Whether a program of this machine is run."""
    url = urlsplit(stack.endpoints.postgres_dsn or "")
    try:
        with psycopg.connect(f"postgresql://{login}127.0.0.1:{url.port}/marketdata") as connection:
            connection.execute("COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'")
    except psycopg.OperationalError as error:
        assert "password" in str(error) or "authentication" in str(error)
        return False
    return True


def ask_mongo(login: str, stack: LocalStack) -> bool:
    """Whether the names of the databases are told."""
    url = urlsplit(stack.endpoints.mongo_uri or "")
    try:
        with pymongo.MongoClient[dict[str, object]](f"mongodb://{login}127.0.0.1:{url.port}/") as client:
            client.list_database_names()
    except (pymongo.errors.OperationFailure, pymongo.errors.ConfigurationError):
        return False
    return True


ASK: dict[str, Callable[[str, LocalStack], bool]] = {
    "clickhouse_url": ask_clickhouse,
    "nats_url": ask_nats,
    "postgres_dsn": ask_postgres,
    "mongo_uri": ask_mongo,
}


@pytest.mark.parametrize("name", ASK)
def test_a_server_refuses_all_but_its_own_login(local_stack: LocalStack, name: str) -> None:
    own = urlsplit(getattr(local_stack.endpoints, name)).netloc.rpartition("@")[0]
    assert ASK[name](f"{own}@", local_stack)
    for login in (
        "",
        "marketdata:@",
        "marketdata:wrong@",
        f"{own}x@",
        f"nobody:{own.partition(':')[2]}@",
        "postgres@",
        "default:@",
    ):
        assert not ASK[name](login, local_stack), login


def list_databases(uri: str) -> object:
    with mongo.databases(mongo.Server(uri, {})) as databases:
        return databases["regular_alphas"].list_collection_names()


CONNECT: dict[str, Callable[[str], AbstractContextManager[object]]] = {
    "clickhouse_url": clickhouse.connect,
    "postgres_dsn": postgres.connect,
    "mongo_uri": lambda uri: nullcontext(list_databases(uri)),
}


@pytest.mark.parametrize("name", CONNECT)
def test_a_wrong_password_is_no_server_that_is_away(local_stack: LocalStack, name: str) -> None:
    """Nothing is tried again, and the advice is not to start the server."""
    own = getattr(local_stack.endpoints, name)
    secret = urlsplit(own).password or ""
    with CONNECT[name](own):
        pass
    with (
        pytest.raises(LoginRejected, match=r"user, password and database") as raised,
        CONNECT[name](own.replace(secret, "wrong")),
    ):
        pass
    assert not isinstance(raised.value, TransientError)


def test_clickhouse_takes_its_password_in_headers_of_its_own(local_stack: LocalStack) -> None:
    url = urlsplit(local_stack.endpoints.clickhouse_url or "")
    address, secret = f"http://127.0.0.1:{url.port}/", url.password or ""
    headers = {"X-ClickHouse-User": "marketdata", "X-ClickHouse-Key": secret}
    assert httpx.post(address, content="SELECT 1", headers=headers).text == "1\n"
    wrong = [
        headers | {"X-ClickHouse-Key": ""},
        headers | {"X-ClickHouse-User": "default"},
        {"X-ClickHouse-Key": secret},
    ]
    for one in (*wrong, {"Authorization": "Basic %%%"}, {"Authorization": f"Bearer {secret}"}):
        refused = httpx.post(address, content="SELECT 1", headers=one)
        assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
        assert "MARKETDATA_CLICKHOUSE_URL" in refused.text
        assert httpx.get(address, params={"query": "SELECT 1"}, headers=one).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://[evil"},
        {"Host": "evil.example"},
        {"Host": "evil.example:8123"},
        {"Host": ""},
    ],
)
def test_a_web_page_gets_no_answer_of_clickhouse_even_with_the_password(
    local_stack: LocalStack, headers: dict[str, str]
) -> None:
    url = local_stack.endpoints.clickhouse_url or ""
    assert httpx.post(url, content="SELECT 1").text == "1\n"
    assert httpx.post(url, content="SELECT 1", headers={"Origin": "http://localhost:3000"}).text == "1\n"
    assert httpx.post(url, content="SELECT 1", headers=headers).status_code == 403
    assert httpx.get(url, params={"query": "SELECT 1"}, headers=headers).status_code == 403
    assert httpx.get(url.rpartition("/")[0] + "/ping", headers=headers).status_code == 403


def test_a_refused_body_of_any_length_ends_with_the_answer(local_stack: LocalStack) -> None:
    url = urlsplit(local_stack.endpoints.clickhouse_url or "")
    answer = httpx.post(f"http://127.0.0.1:{url.port}/", content=b"x" * 900_000)
    assert (answer.status_code, answer.headers["Connection"]) == (403, "close")


def test_passwords_are_private_and_survive_a_restart(local_home: Path) -> None:
    with LocalStack(settings_of(local_home), services=["clickhouse", "nats"]) as stack:
        first = [urlsplit(url).password for url in (stack.endpoints.clickhouse_url, stack.endpoints.nats_url) if url]
        secret = [local_home / "stack.json", local_home / "nats" / "nats.conf", local_home / "nats" / "password"]
        assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
        assert {(local_home / name).stat().st_mode & 0o777 for name in ("nats", "clickhouse")} == {0o700}
    with LocalStack(settings_of(local_home), services=["clickhouse", "nats"]) as stack:
        second = [urlsplit(url).password for url in (stack.endpoints.clickhouse_url, stack.endpoints.nats_url) if url]
    assert first == second
    assert len(set(first)) == 2


@pytest.mark.slow
def test_users_that_others_made_before_the_password_are_removed(local_home: Path) -> None:
    with LocalStack(settings_of(local_home), services=["mongo"]) as stack:
        with pymongo.MongoClient[dict[str, object]](stack.endpoints.mongo_uri) as client:
            client.kept.things.insert_one({"x": 7})
            client.admin.command("createUser", "other", pwd="other", roles=["root"])
        assert ask_mongo("other:other@", stack)
    (local_home / "mongo" / "user_made").unlink()
    with LocalStack(settings_of(local_home), services=["mongo"]) as stack:
        assert not ask_mongo("other:other@", stack)
        with pymongo.MongoClient[dict[str, object]](stack.endpoints.mongo_uri) as client:
            assert [one["x"] for one in client.kept.things.find({})] == [7]


def test_no_command_line_of_a_server_has_its_password(local_stack: LocalStack) -> None:
    psutil = pytest.importorskip("psutil")
    lines = [" ".join(psutil.Process(one.pid).cmdline()) for one in local_stack.started]
    for one in local_stack.started:
        secret = local_stack.server(one.name).password
        assert len(secret) >= 32
        assert not any(secret in line for line in lines)


def test_the_addresses_that_people_see_have_no_password(local_stack: LocalStack) -> None:
    for name in ASK:
        url = getattr(local_stack.endpoints, name)
        assert (urlsplit(url).password or "?") not in without_password(url)


def test_two_processes_that_look_at_once_agree_on_the_password(local_home: Path) -> None:
    code = "import sys, pathlib as p, marketdata_assets.local.password as of; print(of.of(p.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(local_home)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate()[0].strip() for process in both}
    assert said == {password.of(local_home)}


def as_another_user(check: Callable[[], list[str]]) -> list[str]:
    """What `check` finds in a child that has become another user of the machine."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        found = ["the check failed"]
        try:
            os.setgroups([])
            os.setgid(OTHER_USER)
            os.setuid(OTHER_USER)
            found = check()
        finally:
            os.write(writing, json.dumps(found).encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as answer:
        return [str(one) for one in json.loads(answer.read())]


def open_places(home: Path) -> list[str]:
    """Files that can be read, and files and folders that can be written, from `home` down."""
    found: list[str] = []
    for folder, _, files in os.walk(home):
        found += [f"writable {folder}"] if os.access(folder, os.W_OK) else []
        for path in (Path(folder, name) for name in files):
            found += [f"readable {path}"] if os.access(path, os.R_OK) else []
            found += [f"writable {path}"] if os.access(path, os.W_OK) else []
    return found


def secrets_of_processes(pids: list[int], secrets: list[str]) -> list[str]:
    """Environments that can be read, and command lines with a secret."""
    found = []
    for pid in pids:
        with suppress(PermissionError):
            found.append(f"environment {Path(f'/proc/{pid}/environ').read_text()}")
        line = Path(f"/proc/{pid}/cmdline").read_text()
        found += [f"command line of {pid}" for secret in secrets if secret in line]
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_of_the_machine_reads_and_writes_nothing(local_stack: LocalStack) -> None:
    home = local_stack.settings.root
    home.chmod(0o755)
    (home / "open").write_text("anyone")
    servers = [local_stack.server(one.name) for one in local_stack.started]
    assert len(servers) == 4
    assert all((home / one.name / "password").exists() for one in local_stack.started)
    pids = [one.pid for one in servers]
    secrets = [one.password for one in servers]
    assert open_places(home), "the owner finds more than anyone"
    assert as_another_user(lambda: open_places(home)) == [f"readable {home / 'open'}"]
    assert as_another_user(lambda: secrets_of_processes(pids, secrets)) == []
    assert as_another_user(lambda: sockets(home)) == []


def sockets(home: Path) -> list[str]:
    """Unix sockets from `home` down that accept a connection."""
    found = []
    for folder, _, files in os.walk(home):
        for path in (Path(folder, name) for name in files):
            if path.is_socket():
                with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
                    client.connect(str(path))
                    found.append(str(path))
    return found
