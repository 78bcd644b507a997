"""A short campaign of kills; `make kills` is a long one."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.kills.campaign import Campaign


@pytest.mark.slow
def test_ten_kills_leave_nothing_over_and_lose_nothing() -> None:
    # A folder under pytest's own would be too long for PostgreSQL's socket.
    folder, told = Path(tempfile.mkdtemp(prefix="md-")), list[str]()
    found = Campaign(folder, 10, 19, 2.0, told.append).run()
    text = "\n".join([*told, *found.lines()])
    assert found.good, text
    assert found.kills.total() == 10
    assert all(not rows.startswith("0 ") for rows in found.rows.values()), text
    shutil.rmtree(folder)
