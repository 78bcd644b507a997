"""Accounts, their e-mail and password: where they are looked for, what is said without them, that they stay hidden.

The problems of the accounts file are in test_config_files.
"""

import json
from pathlib import Path

import pytest

from marketdata_assets.alphas.accounts import Account, Credentials, credential_variables, find_credentials, read
from marketdata_assets.alphas.errors import NoCredentials
from marketdata_assets.config_files import InvalidConfigFile

EMAIL, PASSWORD = credential_variables("a@b.1")


def secret_file(folder: Path, content: object, mode: int = 0o600) -> Path:
    file = folder / "credentials.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    file.chmod(mode)
    return file


def test_accounts_are_read_in_their_order_with_defaults(tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    assert read(file) == []
    entries = [
        {"user_key": "lk", "description": "first", "enabled": False},
        {"key": "a@b.c"},
        {"user_key": "1_x", "enabled": True},
    ]
    file.write_text(json.dumps(entries))
    assert read(file) == [Account("lk", "first", False), Account("a@b.c"), Account("1_x")]


def test_variables_are_named_after_the_account() -> None:
    assert (EMAIL, PASSWORD) == ("MARKETDATA_BRAIN_EMAIL_A_B_1", "MARKETDATA_BRAIN_PASSWORD_A_B_1")


@pytest.mark.parametrize("names", [("账户一", "账户二"), ("a.b", "a-b"), ("lk", "LK")])
@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_accounts_of_one_variable_are_refused_only_where_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str], suffix: str
) -> None:
    file, variable = tmp_path / "accounts.json", credential_variables(names[0])[0]
    file.write_text(json.dumps([{"user_key": name} for name in names]))
    assert [one.key for one in read(file)] == [*names]
    own = secret_file(tmp_path, {name: {"email": name, "password": "canary"} for name in names})
    assert [find_credentials(name, {}, own).email for name in names] == [*names]
    monkeypatch.setenv(variable + suffix, "me")
    with pytest.raises(InvalidConfigFile, match=f"1: accounts '{names[0]}' and '{names[1]}' both read .* {variable}"):
        read(file)


def test_environment_comes_before_the_file(tmp_path: Path) -> None:
    file = secret_file(tmp_path, {"a@b.1": {"email": "f", "password": "canary"}})
    assert find_credentials("a@b.1", {EMAIL: "e", PASSWORD: "p"}, file) == Credentials("e", "p")
    assert find_credentials("a@b.1", {EMAIL: "", PASSWORD: ""}, file) == Credentials("f", "canary")


@pytest.mark.parametrize(
    ("account", "environ", "words"),
    [
        ("lk", {EMAIL: "e", PASSWORD: "p"}, ["account lk has no credentials"]),
        ("a@b.1", {EMAIL: "e"}, [f"{PASSWORD} is not set"]),
        ("a@b.1", {}, [EMAIL, PASSWORD, "{folder}/none.json", "0600"]),
    ],
)
def test_message_says_what_is_missing(tmp_path: Path, account: str, environ: dict[str, str], words: list[str]) -> None:
    with pytest.raises(NoCredentials) as caught:
        find_credentials(account, environ, tmp_path / "none.json")
    assert all(word.format(folder=tmp_path) in str(caught.value) for word in words)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_file_that_others_may_read_is_refused_with_the_command(tmp_path: Path, mode: int) -> None:
    file = secret_file(tmp_path, {"lk": {"email": "e", "password": "canary"}}, mode)
    with pytest.raises(NoCredentials, match=f"mode {mode:04o}.*chmod 600 {file}") as caught:
        find_credentials("lk", {}, file)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"lk": "canary', "not JSON"),
        (["canary"], "expected a section"),
        ({"lk": "canary"}, "expected a section with keys email, password"),
        ({"lk": {"email": "e", "pasword": "canary"}}, "pasword: unknown key; did you mean 'password'"),
        ({"lk": {"email": "canary"}}, "password: is missing"),
        ({"lk": {"email": 7, "password": "canary"}}, "email: should be a valid string"),
        ({"other": {"email": "e", "password": "canary"}}, "Set MARKETDATA"),
    ],
)
def test_file_that_does_not_serve_says_why_and_shows_nothing(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(NoCredentials, match=message) as caught:
        find_credentials("lk", {}, secret_file(tmp_path, content))
    assert "canary" not in str(caught.value)


def test_repr_hides_both() -> None:
    assert repr(Credentials("canary", "canary")) == "Credentials()"
