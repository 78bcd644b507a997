"""A ClickHouse of a test's own, which can go away and come back."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings


class OwnClickHouse:
    """Runs on one folder and port, however often it is stopped and started."""

    def __init__(self, home: Path) -> None:
        self._home, self._port, self._open = home, 0, ExitStack()
        self.start()

    def start(self) -> None:
        settings = Settings(home=self._home, clickhouse_url=None, clickhouse_port=self._port)
        self.stack = self._open.enter_context(LocalStack(settings, services=("clickhouse",)))
        assert self.stack.endpoints.clickhouse_url
        self.url = self.stack.endpoints.clickhouse_url
        self._port = urlsplit(self.url).port or 0

    def stop(self) -> None:
        self._open.close()
        self._open = ExitStack()

    def kill(self) -> None:
        os.kill(self.stack.server("clickhouse").pid, signal.SIGKILL)
        self.stop()
