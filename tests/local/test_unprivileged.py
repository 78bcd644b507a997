"""Running PostgreSQL as root: the namespace, and the other way where namespaces are refused."""

import os
import tempfile
from pathlib import Path

import pytest

from marketdata_assets.local import postgres, unprivileged
from marketdata_assets.local.errors import RootRefused
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.local.unprivileged import Identity, choose
from tests.cli.commands import settings as settings_of

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give up root")


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unprivileged, "_namespace_works", lambda: False)


def test_identity_reads_back_what_it_wrote() -> None:
    for identity in (Identity("namespace", 65534, 65534), Identity("setuid", 99, 98)):
        assert Identity.parse(str(identity)) == identity


def test_normal_user_needs_no_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert choose(tmp_path, tmp_path) is None


@as_root
def test_files_stay_roots_in_the_namespace(local_home: Path) -> None:
    if not unprivileged._namespace_works():
        pytest.skip("this kernel refuses user namespaces")
    with LocalStack(settings_of(local_home), services=["postgres"]):
        assert {path.stat().st_uid for path in (local_home / "postgres" / "data").iterdir()} == {0}


@as_root
@pytest.mark.usefixtures("no_namespaces")
def test_data_folder_is_given_away_without_namespaces() -> None:
    with tempfile.TemporaryDirectory(prefix="md-") as home:
        Path(home).chmod(0o755)
        settings = settings_of(Path(home))
        for _ in range(2):
            with LocalStack(settings, services=["postgres"]) as stack:
                assert postgres.ready(stack.server("postgres").port, stack.server("postgres").password)
        assert (Path(home) / "postgres" / "data").stat().st_uid != 0
        assert Path(home).stat().st_mode & 0o777 == 0o711


@as_root
@pytest.mark.usefixtures("no_namespaces")
def test_closed_parent_is_named_without_namespaces(local_home: Path) -> None:
    local_home.chmod(0o700)
    stack = LocalStack(settings_of(local_home / "home"), services=["postgres"])
    with pytest.raises(RootRefused, match=f"cannot enter {local_home};.*MARKETDATA_HOME"), stack:
        pass
