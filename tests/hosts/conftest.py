"""Tests on several hosts skip, and say why, where hosts cannot be made."""

import pytest

from marketdata_demo import hosts


@pytest.fixture(autouse=True, scope="session")
def needs_hosts() -> None:
    if cause := hosts.why_not():
        pytest.skip(cause)
