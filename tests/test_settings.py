"""Variables with values that cannot be used, or that nothing reads: each by name, with the remedy, and no secret."""

import json
from pathlib import Path

import pytest

from marketdata_assets.alphas import catalogues
from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.alphas.record_sets import RECORD_SETS, asset_name
from marketdata_assets.secret_values import unescaped
from marketdata_assets.settings import MONGO_DATASETS, BadSettings, Settings

WRONG = [
    ("WORKERS", "abc", "MARKETDATA_WORKERS: 'abc' should be a valid integer"),
    ("WORKERS", "0", "MARKETDATA_WORKERS: '0' should be greater than or equal to 1"),
    ("TICKS_MONTHS", "1", "MARKETDATA_TICKS_MONTHS: '1' should be greater than or equal to 2"),
    ("EXCHANGE_DAYS", "1", "MARKETDATA_EXCHANGE_DAYS: '1' should be greater than or equal to 2"),
    ("LOG_FORMAT", "xml", "MARKETDATA_LOG_FORMAT: 'xml' should be 'text' or 'json'"),
    ("EXCHANGE_HOSTS", "okx=https://host", "MARKETDATA_EXCHANGE_HOSTS: 'okx=https://host' is no JSON"),
    (
        "BAR_DIR",
        "bars",
        "MARKETDATA_BAR_DIR: nothing reads a variable of this name; did you mean 'MARKETDATA_BARS_DIR'?",
    ),
    ("MONGO_URL", "x", "did you mean 'MARKETDATA_MONGO_URI'?"),
    ("POSTGRES_DNS_FILE", "/x", "did you mean 'MARKETDATA_POSTGRES_DSN'?"),
    ("POSTGRES_DSN", "postgresql://u:can/ary@h/db", "MARKETDATA_POSTGRES_DSN: its password has '/'"),
    (
        "MONGO_DATABASES",
        '{"regular": "wq"}',
        "names 'regular', which is not kept in MongoDB; did you mean 'regular_alphas'?",
    ),
    ("MONGO_DATABASES", '{"super_alphas": "a b"}', "MARKETDATA_MONGO_DATABASES: 'a b' String should match pattern"),
    (
        "MONGO_DATABASES",
        '{"super_alphas": "regular_alphas"}',
        "puts regular_alphas and super_alphas into one database 'regular_alphas'; give each its own",
    ),
    ("ALERT_SMTP", "smtp://u:can#ary@h:587", "MARKETDATA_ALERT_SMTP: its password has '#'"),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_a_wrong_variable_is_named(name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MARKETDATA_{name}", value)
    with pytest.raises(BadSettings) as error:
        Settings()
    assert said in str(error.value)
    assert "ary" not in str(error.value).replace("variable", "")


def test_all_wrong_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, _ in WRONG[1:3] + WRONG[6:9]:
        monkeypatch.setenv(f"MARKETDATA_{name}", value)
    with pytest.raises(BadSettings) as error:
        Settings()
    assert len(str(error.value).splitlines()) == 5


def test_an_address_of_budgets_that_is_none_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_BUDGETS", "mysql://me:secret@db.example/budgets")
    with pytest.raises(BadSettings, match=r"MARKETDATA_BUDGETS.*db\.example") as caught:
        Settings()
    assert "secret" not in str(caught.value)


def test_every_dataset_of_mongodb_can_have_another_database(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(MONGO_DATASETS) == {
        *map(database_name, KINDS),
        *map(asset_name, RECORD_SETS),
        *map(catalogues.asset_name, catalogues.NAMES),
    }
    names = {name: f"my-{name}" for name in MONGO_DATASETS}
    monkeypatch.setenv("MARKETDATA_MONGO_DATABASES", json.dumps(names))
    assert Settings().mongo_databases == names


@pytest.mark.parametrize("name", ["BRAIN_PASSWORD_LK", "BRAIN_EMAIL_A_B_1_FILE", "UID", "TEST_TIMESCALE_DSN", "INPUT"])
def test_variables_that_others_read_are_none_of_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MARKETDATA_{name}", "x")
    Settings()


def test_folders_that_do_not_exist_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_BARS_DIR", str(tmp_path / "bras"))
    monkeypatch.setenv("MARKETDATA_TICKS_DIR", str(tmp_path))
    missing = f"MARKETDATA_BARS_DIR: {tmp_path / 'bras'} is no folder; create it, or correct the variable"
    assert Settings().missing_folders() == [missing]


@pytest.mark.parametrize(
    ("url", "mark"),
    [
        ("postgresql://u:pa/ss@h/db", "/"),
        ("postgresql://u:12/ss@h/db", "/"),
        ("mongodb://u:p?x@h", "?"),
        ("redis://:p#x@h:1", "#"),
        ("nats://tok/en@h", "/"),
        ("http://u:p@ss/x@h", "/"),
        ("http://u:p%2F@h:8123/x", ""),
        ("postgresql://h:5432/db?user=a@b", ""),
        ("mongodb://u:p@h1:27017,h2:1/db?x=y", ""),
        ("redis://h:6379?x=a@b", ""),
        ("host=x password=a/b@c", ""),
        ("postgresql:///db?host=/tmp&user=a@b", ""),
    ],
)
def test_a_password_that_ends_the_host_is_found(url: str, mark: str) -> None:
    assert unescaped(url) == mark
