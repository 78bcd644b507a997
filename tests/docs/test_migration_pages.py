"""The page of migration: every key of the earlier alpha tool has an equivalent or an explanation; figures hold."""

import re
from pathlib import Path

import pytest

from marketdata_assets.alphas.api import CONCURRENCY
from marketdata_assets.alphas.api_requests import LONGEST_BLOCK_SECONDS, RETRY_POLICY
from tests.docs.blocks_of_pages import PROJECT

PAGE = PROJECT / "docs" / "migrate.md"
KEYS_OF_THE_ALPHA_TOOL = (
    *("db_host", "db_port", "db_name_regular", "db_name_super", "workers", "batch_size", "user_key", "enabled"),
    *("IMPORT_MODE", "FAST_MODE", "TIME_RANGE_HOURS", "TIME_RANGE_BUFFER_DAYS", "USE_PRELOAD", "INTERVAL_HOURS"),
    *("DAYS", "START_TIME", "END_TIME", "MAX_WORKERS", "MAX_RETRIES", "INITIAL_BACKOFF", "BACKOFF_MULTIPLIER"),
    *("MAX_BACKOFF", "HTTP_TIMEOUT", "auto", "incremental", "manual"),
    *("--workers", "--batch-size", "--import-mode", "--db-host", "--db-port", "--no-preload"),
)


def rows(page: Path) -> list[tuple[str, str]]:
    """What was, and what is now, of every table."""
    cells = [line.strip("| \n").split(" | ", 1) for line in page.read_text().splitlines() if line.startswith("| ")]
    return [(one[0], one[1]) for one in cells if len(one) == 2]


@pytest.mark.parametrize("key", KEYS_OF_THE_ALPHA_TOOL)
def test_every_key_of_the_alpha_tool_has_an_equivalent_or_an_explanation(key: str) -> None:
    named = re.compile(rf"`[^`]*(?<![\w-]){re.escape(key)}(?![\w-])[^`]*`")
    found = [now for earlier, now in rows(PAGE) if named.search(earlier)]
    assert found
    assert all(now.strip() for now in found)


def test_retries_and_timeouts_are_those_of_the_client() -> None:
    now = dict(rows(PAGE))
    policy = RETRY_POLICY
    assert f"up to {CONCURRENCY} concurrent requests" in now["`MAX_WORKERS` (5)"]
    assert f"{policy.max_retries} retries of each request" in now["`MAX_RETRIES` (3)"]
    pauses = now["`INITIAL_BACKOFF` (8 s), `BACKOFF_MULTIPLIER` (2), `MAX_BACKOFF` (240 s)"]
    assert f"{policy.backoff:.0f} s, doubled up to {policy.max_backoff:.0f} s" in pauses
    assert f"up to {LONGEST_BLOCK_SECONDS / 60:.0f} minutes" in pauses
    assert now["`HTTP_TIMEOUT` (30 s)"] == f"{policy.timeout:.0f} s"
