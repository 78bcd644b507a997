"""Values in files: whatever a variable may hold, a file may hold that a variable with _FILE names."""

from pathlib import Path

import pytest

from marketdata_assets.alphas import accounts
from marketdata_assets.resources import Ticks
from marketdata_assets.secret_values import BadSecretFile, find
from marketdata_assets.settings import CollectorSettings, Settings

CANARY = "canary-7f3a"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{CANARY}\n")
    return file


def test_every_setting_can_come_from_a_file(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARKETDATA_UI_HOSTS", raising=False)
    for name in ("MARKETDATA_UI_HOSTS", "MARKETDATA_COLLECTOR_TOKEN", "MARKETDATA_BARS_DIR", "NATS_URL"):
        monkeypatch.setenv(f"{name}_FILE", str(secret))
    settings = Settings()
    assert settings.ui_hosts == CANARY, "without the end of the line"
    assert settings.collector_token is not None
    assert settings.collector_token.get_secret_value() == CANARY
    assert settings.bars_dir == Path(CANARY)
    assert CollectorSettings().nats_url == CANARY


def test_json_in_a_file_is_read_as_it_is_in_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hosts"
    file.write_text('{"okx": "https://host"}')
    monkeypatch.setenv("MARKETDATA_EXCHANGE_HOSTS_FILE", str(file))
    assert Settings().exchange_hosts == {"okx": "https://host"}


def test_variable_goes_before_its_file(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_UI_HOSTS_FILE", str(secret))
    monkeypatch.setenv("MARKETDATA_UI_HOSTS", "here.example")
    assert Settings().ui_hosts == "here.example"
    monkeypatch.setenv("MARKETDATA_UI_HOSTS", "")
    assert Settings().ui_hosts == CANARY, "an empty variable is not set"


@pytest.mark.parametrize(
    ("content", "cause"),
    [(None, "cannot be read"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff" + CANARY.encode(), "is not UTF-8")],
)
def test_file_that_gives_no_value_is_named_and_not_shown(
    content: bytes | None, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.delenv("MARKETDATA_MONGO_URI", raising=False)
    monkeypatch.setenv("MARKETDATA_MONGO_URI_FILE", str(file))
    with pytest.raises(BadSecretFile, match=cause) as refused:
        Settings()
    assert "MARKETDATA_MONGO_URI_FILE" in str(refused.value)
    assert str(file) in str(refused.value)
    assert CANARY not in str(refused.value)
    assert refused.value.__cause__ is None


def test_credentials_of_an_account_come_from_files(secret: Path, tmp_path: Path) -> None:
    environ = {"MARKETDATA_BRAIN_EMAIL_LK": "me@there", "MARKETDATA_BRAIN_PASSWORD_LK_FILE": str(secret)}
    found = accounts.find_credentials("lk", environ, tmp_path / "none")
    assert (found.email, found.password) == ("me@there", CANARY)


def test_token_of_tushare_comes_from_a_file(secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path))
    monkeypatch.delenv("TUSHARE_TOKEN", raising=False)
    assert Ticks().tushare() is None
    monkeypatch.setenv("TUSHARE_TOKEN_FILE", str(secret))
    assert Ticks().tushare() is not None
    assert find("TUSHARE_TOKEN", {"TUSHARE_TOKEN_FILE": str(secret)}) == CANARY
