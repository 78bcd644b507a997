"""The page of the first hour prints messages exactly as the tools do."""

from pathlib import Path

import pytest

from marketdata_assets.http_client import SocksProxy
from marketdata_assets.local import machine
from marketdata_assets.local.errors import BadDataFolder, DataFolderBusy, DiskFull, PortTaken
from tests.docs.blocks_of_pages import PROJECT, blocks

PAGE = PROJECT / "docs" / "first-hour.md"
HOME = Path("/home/me/.marketdata")
[FEW] = machine.few_open_files(256)


@pytest.mark.parametrize(
    "message",
    [
        PortTaken("the Dagster UI", 3000, "MARKETDATA_UI_PORT"),
        PortTaken("postgres", 5432, "MARKETDATA_POSTGRES_PORT", zero_is_free=True),
        DataFolderBusy(HOME, "process 4711 (...)"),
        DiskFull(HOME, 120 << 20, 200 << 20),
        BadDataFolder(Path("/mnt/share/.marketdata"), "Read-only file system"),
        SocksProxy("socks5://127.0.0.1:1080"),
        FEW,
    ],
    ids=str,
)
def test_messages_are_those_that_the_tool_prints(message: object) -> None:
    assert str(message) in [line for block in blocks(PAGE, "text") for line in block.text.splitlines()]


def test_the_message_about_an_old_python_is_that_of_make() -> None:
    [_, ours] = blocks(PAGE, "text")[0].text.splitlines()
    assert ours in (PROJECT / "Makefile").read_text()
