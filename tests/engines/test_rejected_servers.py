"""Real servers that are too old are refused: PostgreSQL 14 of npm, ClickHouse 18.16 and NATS 2.9 of Debian 12."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from marketdata_assets.collector.jetstream import stream
from marketdata_assets.local.process import ServerSpec
from marketdata_assets.server_health import check
from marketdata_assets.server_versions import ServerTooOld
from marketdata_assets.stores import clickhouse, postgres
from tests.engines import servers
from tests.engines.packages import NoPackage

pytestmark = pytest.mark.slow


def ask_postgres(url: str) -> None:
    with postgres.connect(url):
        pass


def ask_clickhouse(url: str) -> None:
    with clickhouse.connect(url):
        pass


def ask_nats(url: str) -> None:
    asyncio.run(stream.ensure(url))


@pytest.mark.parametrize(
    ("old", "version", "ask", "name"),
    [
        (lambda: servers.postgres("14.23.0-beta.17"), "PostgreSQL 14.23", ask_postgres, "postgres"),
        (servers.clickhouse_of_debian, "ClickHouse 18.16.1", ask_clickhouse, "clickhouse"),
        (servers.nats_of_debian, "NATS 2.9.10", ask_nats, "nats"),
    ],
    ids=["postgres", "clickhouse", "nats"],
)
def test_old_server_is_refused_with_the_version_that_is_required(
    old: Callable[[], ServerSpec],
    version: str,
    ask: Callable[[str], None],
    name: str,
    tmp_path: Path,
) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)  # PostgreSQL may run as another user
    try:
        spec = old()
    except NoPackage as error:
        pytest.skip(str(error))
    with servers.running(spec, tmp_path) as url:
        with pytest.raises(ServerTooOld, match=f"^{version} is too old: "):
            ask(url)
        health = check(name, url)
        assert not health.ok
        assert "or newer is required" in health.remedy
