"""Test servers of the providers, and clients of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tick_clients import NOW, Clients
from tushare_server import TushareServer
from yahoo_server import YahooServer


@pytest.fixture
def tushare_server() -> Iterator[TushareServer]:
    with TushareServer() as server:
        yield server


@pytest.fixture
def yahoo_server() -> Iterator[YahooServer]:
    with YahooServer(now=NOW) as server:
        yield server


@pytest.fixture
def clients(tmp_path: Path) -> Clients:
    return Clients(tmp_path)
