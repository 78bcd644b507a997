"""The list of accounts: order and defaults. Its problems are in test_config_files."""

import json
from pathlib import Path

from marketdata_assets.alphas.accounts import Account, read


def written(folder: Path, content: object) -> Path:
    file = folder / "accounts.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_list_is_read_in_its_order_with_defaults(tmp_path: Path) -> None:
    entries = [
        {"user_key": "lk", "description": "first", "enabled": False},
        {"key": "a@b.c"},
        {"user_key": "1_x", "enabled": True},
    ]
    assert read(written(tmp_path, entries)) == [Account("lk", "first", False), Account("a@b.c"), Account("1_x")]


def test_no_file_is_no_account(tmp_path: Path) -> None:
    assert read(tmp_path / "accounts.json") == []
