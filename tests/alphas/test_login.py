"""Logins: stored, shared, renewed once for all who need it, rejected, and completed by an identity check."""

import asyncio
import json
import logging
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from brain_clients import EMAIL, NOVEMBER, PASSWORD, children, client, with_client

from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.api_requests import Page
from marketdata_assets.alphas.errors import ApiUnavailable, IdentityCheckRequired, LoginRejected, RequestRejected
from marketdata_demo.servers.brain import BrainServer, spread

LIST = "GET /users"
LOGIN = "POST /authentication"


@pytest.fixture
def server() -> Iterator[BrainServer]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, spread(NOVEMBER.start, NOVEMBER.end, 3))
        yield server


async def page(one: BrainClient) -> Page:
    return await one.page("regular", NOVEMBER)


async def pages(one: BrainClient, number: int = 5) -> list[Page | BaseException]:
    return await asyncio.gather(*(page(one) for _ in range(number)), return_exceptions=True)


def test_login_is_kept_for_the_next_process_in_a_private_file(server: BrainServer, tmp_path: Path) -> None:
    for _ in range(2):
        with_client(server, tmp_path, page)
    assert server.logins == 1
    folder = tmp_path / "brain"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert [file.name for file in folder.iterdir() if file.suffix == ".session"] == ["lk.session"]


def test_login_of_another_user_or_server_is_not_used(server: BrainServer, tmp_path: Path) -> None:
    server.add_user("other@example.com", "p")
    with_client(server, tmp_path, page)
    assert with_client(server, tmp_path, page, email="other@example.com", password="p").count == 0
    with BrainServer() as elsewhere:
        elsewhere.add_user("other@example.com", "p")
        with_client(elsewhere, tmp_path, page, email="other@example.com", password="p")
        assert elsewhere.logins == 1
        assert elsewhere.asked(LIST) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"owner": 7}'])
def test_torn_session_file_means_a_new_login(server: BrainServer, tmp_path: Path, content: bytes) -> None:
    with_client(server, tmp_path, page)
    (tmp_path / "brain" / "lk.session").write_bytes(content)
    assert with_client(server, tmp_path, page).count == 3
    assert server.logins == 2


def test_dead_login_is_renewed_once_for_all_requests(server: BrainServer, tmp_path: Path) -> None:
    async def work(one: BrainClient) -> None:
        async with client(server, tmp_path) as other:
            await pages(one)
            await pages(other)
            server.expire_sessions()
            found = await asyncio.gather(pages(one, 10), pages(other, 10))
            assert [answer.count for answers in found for answer in answers if isinstance(answer, Page)] == [3] * 20

    with_client(server, tmp_path, work)
    assert server.logins == 2


def test_processes_share_one_renewal(server: BrainServer, tmp_path: Path) -> None:
    with_client(server, tmp_path, page)
    server.expire_sessions()
    code = (
        "import asyncio, sys; from pathlib import Path; from test_login import *; from types import SimpleNamespace;"
        "with_client(SimpleNamespace(url=sys.argv[1]), Path(sys.argv[2]), pages)"
    )
    command = [sys.executable, "-c", code, server.url, str(tmp_path)]
    started = [subprocess.Popen(command, cwd=Path(__file__).parent, env=children()) for _ in range(3)]
    assert [child.wait(120) for child in started] == [0, 0, 0]
    assert server.logins == 2
    assert server.asked(LIST) >= 16


def test_login_about_to_end_is_checked_and_renewed(tmp_path: Path) -> None:
    with BrainServer(session_seconds=3000) as server:
        server.add_user(EMAIL, PASSWORD)
        with_client(server, tmp_path, page)
        file = tmp_path / "brain" / "lk.session"

        def age(left: float) -> None:
            stored = json.loads(file.read_bytes())
            stored["session"]["expires"] = time.time() + left
            file.write_text(json.dumps(stored))

        age(1000)
        with_client(server, tmp_path, page)
        assert (server.logins, server.asked("GET /authentication")) == (1, 1)
        with_client(server, tmp_path, page)
        assert (server.logins, server.asked("GET /authentication")) == (1, 1)
        age(-1)
        with_client(server, tmp_path, page)
        assert (server.logins, server.asked("GET /authentication")) == (2, 1)


def test_short_lives_are_renewed_at_their_half(tmp_path: Path) -> None:
    with BrainServer(session_seconds=3.0) as server:
        server.add_user(EMAIL, PASSWORD)

        async def work(one: BrainClient) -> int:
            pages = 0
            while server.logins < 2:
                await page(one)
                pages += 1
                await asyncio.sleep(0.1)
            return pages

        assert with_client(server, tmp_path, work) == server.asked(LIST)  # none was rejected for an expired login


def test_seconds_left_by_the_word_of_the_api(server: BrainServer, tmp_path: Path) -> None:
    async def work(one: BrainClient) -> tuple[float, float, float]:
        before = await one.seconds_left()
        await one.login()
        during = await one.seconds_left()
        server.expire_sessions()
        return before, during, await one.seconds_left()

    before, during, after = with_client(server, tmp_path, work)
    assert (before, after) == (0, 0)
    assert 14390 < during <= 14400


def test_wrong_password_is_tried_once_however_many_ask(server: BrainServer, tmp_path: Path) -> None:
    found = with_client(server, tmp_path, pages, password="wrong")
    assert all(isinstance(error, LoginRejected) for error in found)
    assert "lk (401: Incorrect authentication credentials.)" in str(found[0])
    assert (server.refused_logins, server.asked(LIST)) == (1, 0)


def test_wrong_password_is_not_sent_again_until_it_changes(tmp_path: Path) -> None:
    with BrainServer(lock_after=2) as server:
        server.add_user(EMAIL, PASSWORD)
        for _ in range(5):
            with pytest.raises(LoginRejected, match=r"401: Incorrect.*marketdata alphas login --account lk"):
                with_client(server, tmp_path, page, password="wrong")
        assert (server.refused_logins, server.requests) == (1, 1)
        assert "wrong" not in (tmp_path / "brain" / "lk.session").read_text()
        assert with_client(server, tmp_path, page).count == 0
        assert server.logins == 1


def test_rejected_password_is_sent_again_when_a_person_asks_for_it(server: BrainServer, tmp_path: Path) -> None:
    async def again(one: BrainClient) -> None:
        await one.login(again=True)

    for body, refused in ((page, 1), (page, 1), (again, 2), (page, 2)):
        with pytest.raises(LoginRejected):
            with_client(server, tmp_path, body, password="wrong")
        assert server.refused_logins == refused


def test_login_that_is_taken_and_then_refused_ends(server: BrainServer, tmp_path: Path) -> None:
    server.before(server.expire_sessions, times=99, where=LIST)
    found = with_client(server, tmp_path, pages)
    assert all(isinstance(error, LoginRejected) for error in found)
    assert server.logins <= 3


def test_login_survives_passing_faults(server: BrainServer, tmp_path: Path) -> None:
    server.fail(503, 1, LOGIN)
    server.drop(1, LOGIN)
    server.garble(1, LOGIN)
    assert with_client(server, tmp_path, page).count == 3


@pytest.mark.usefixtures("all_log_lines")
def test_logins_retries_and_rejections_are_logged_without_secrets(
    server: BrainServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "marketdata_assets")
    server.add_user("guarded@example.com", PASSWORD, persona="headers")
    server.fail(429, 1, LIST)
    with_client(server, tmp_path, page, account="logged")
    server.expire_sessions()
    with_client(server, tmp_path, page, account="logged")
    cookie = json.loads((tmp_path / "brain" / "logged.session").read_bytes())["session"]["cookies"][0]["value"]
    for account, email, password in (("bad", EMAIL, "canary"), ("guarded", "guarded@example.com", PASSWORD)):
        with pytest.raises((LoginRejected, IdentityCheckRequired)):
            with_client(server, tmp_path, page, account=account, email=email, password=password)
    events = [record.getMessage().partition(" ")[0] for record in caplog.records]
    assert {"logged_in", "request_failed", "session_expired", "login_rejected", "identity_check_required"} <= {*events}
    assert events.count("logged_in") == 2
    assert "429" in caplog.text
    for secret in (EMAIL, PASSWORD, "canary", "guarded@example.com", cookie):
        assert secret not in caplog.text


# The identity check.


@pytest.fixture(params=["headers", "body"])
def guarded(request: pytest.FixtureRequest) -> Iterator[BrainServer]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, spread(NOVEMBER.start, NOVEMBER.end, 3), persona=request.param)
        yield server


def needed(server: BrainServer, home: Path) -> IdentityCheckRequired:
    with pytest.raises(IdentityCheckRequired) as caught:
        with_client(server, home, page)
    return caught.value


def test_person_is_asked_for_with_link_and_command(guarded: BrainServer, tmp_path: Path) -> None:
    error = needed(guarded, tmp_path)
    assert error.url.startswith(f"{guarded.url}/authentication/persona?inquiry=inq_")
    assert f"Open {error.url}, then run: marketdata alphas login --account lk" in str(error)
    assert needed(guarded, tmp_path).url == error.url, "the link that was given out must stay good"


@pytest.mark.parametrize("command", [True, False])
def test_login_is_finished_by_another_process_or_when_the_visit_is_noticed(
    guarded: BrainServer, tmp_path: Path, command: bool
) -> None:
    needed(guarded, tmp_path)
    if command:
        threading.Timer(0.3, guarded.person_arrives, [EMAIL]).start()
        with_client(guarded, tmp_path, lambda one: one.finish_login(interval=0.05, limit=5))
    else:
        guarded.person_arrives(EMAIL)
    assert with_client(guarded, tmp_path, page).count == 3
    assert guarded.logins == 1


def test_finish_gives_up_after_its_limit(guarded: BrainServer, tmp_path: Path) -> None:
    with pytest.raises(IdentityCheckRequired):
        with_client(guarded, tmp_path, lambda one: one.finish_login(interval=0.02, limit=0.1))
    assert guarded.asked("POST /authentication/persona") == 5


def test_link_that_is_no_longer_good_is_replaced(guarded: BrainServer, tmp_path: Path) -> None:
    first = needed(guarded, tmp_path)
    guarded._inquiries.clear()
    second = needed(guarded, tmp_path)
    assert second.url != first.url


def test_link_to_another_server_gets_no_password(server: BrainServer, tmp_path: Path) -> None:
    with BrainServer() as elsewhere:
        headers = {"WWW-Authenticate": "persona", "Location": f"{elsewhere.url}/authentication/persona?inquiry=x"}
        server.fail(401, 1, LOGIN, headers=headers)
        assert needed(server, tmp_path).url.startswith(elsewhere.url)
        with pytest.raises(RequestRejected, match="link is of another server"):
            with_client(server, tmp_path, lambda one: one.finish_login(interval=0.01, limit=0.1))
        assert elsewhere.requests == 0


def test_finish_of_a_living_login_does_nothing(server: BrainServer, tmp_path: Path) -> None:
    with_client(server, tmp_path, lambda one: one.finish_login(interval=0.01, limit=0.1))
    with_client(server, tmp_path, lambda one: one.finish_login(interval=0.01, limit=0.1))
    assert server.logins == 1


def test_api_that_is_away_during_a_login_may_be_tried_again(server: BrainServer, tmp_path: Path) -> None:
    async def work(one: BrainClient) -> Page:
        server.fail(500, 4, LOGIN)
        with pytest.raises(ApiUnavailable):
            await page(one)
        return await page(one)

    assert with_client(server, tmp_path, work).count == 3
