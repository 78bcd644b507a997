"""The list of accounts: what is read, and what is refused with a place and a remedy."""

import json
from pathlib import Path

import pytest

from marketdata_assets.alphas.accounts import Account, read
from marketdata_assets.alphas.errors import BadAccounts


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"not JSON"),
        ({"lk": {}}, r"expected a list .* was dict"),
        (["lk"], r"accounts\.json\[0\]: expected an object"),
        (
            [{"user_key": "a"}, {"user_kye": "b"}],
            r"accounts\.json\[1\]: unknown key 'user_kye'; did you mean 'user_key'",
        ),
        ([{"user_key": "a", "zzz": 1}], r"unknown key 'zzz'; did you mean '\w+'"),
        ([{"description": "x"}], r"user_key is missing"),
        ([{"user_key": "a", "key": "a"}], r"give one"),
        ([{"user_key": ""}], r"account name ''"),
        ([{"user_key": "a/b"}], r"account name 'a/b'"),
        ([{"user_key": "a\n"}], r"account name"),
        ([{"user_key": 7}], r"account name 7"),
        ([{"user_key": "."}], r"account name '\.'"),
        ([{"user_key": ".."}], r"account name '\.\.'"),
        ([{"user_key": "system.x"}], r"account name 'system\.x'"),
        ([{"user_key": "a", "enabled": "yes"}], r"enabled must be true or false, was 'yes'"),
        ([{"user_key": "a", "description": None}], r"description must be text"),
        ([{"user_key": "a"}, {"user_key": "a"}], r"'a' is listed twice"),
        ([{"user_key": "a.b"}, {"user_key": "A_B"}], r"'a\.b' and 'A_B' would both take their e-mail from"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(BadAccounts, match=message):
        read(written(tmp_path, content))


def test_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadAccounts, match="cannot be read"):
        read(tmp_path)
