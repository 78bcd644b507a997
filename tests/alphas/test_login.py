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
from typing import Any

import pytest

from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.api_requests import Page
from marketdata_assets.alphas.errors import (
    ApiUnavailable,
    IdentityCheckRequired,
    LoginRejected,
    LoginThrottled,
    RequestRejected,
)
from marketdata_assets.budget import Budget
from marketdata_demo.servers.brain import BrainServer, spread
from tests.alphas.brain_clients import EMAIL, NOVEMBER, PASSWORD, children, client, with_client

LIST = "GET /users"
LOGIN = "POST /authentication"


@pytest.fixture
def server() -> Iterator[BrainServer]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, spread(NOVEMBER.start, NOVEMBER.end, 3))
        yield server


async def page(one: BrainClient) -> Page:
    return await one.page("regular", NOVEMBER)


async def asked_for(one: BrainClient) -> None:
    """The login that a person asks for."""
    await one.login.session(requested=True)


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


def test_torn_session_file_means_a_new_login(server: BrainServer, tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"{", b"\xff\xfe", b'{"owner": 7}'), 1):
        with_client(server, tmp_path, page)
        (tmp_path / "brain" / "lk.session").write_bytes(content)
        assert with_client(server, tmp_path, page).count == 3
        assert server.logins == number + 1


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
        "import asyncio, sys, types; from pathlib import Path; from tests.alphas.brain_clients import *\n"
        "async def pages(one): await asyncio.gather(*(one.page('regular', NOVEMBER) for _ in range(5)))\n"
        "with_client(types.SimpleNamespace(url=sys.argv[1]), Path(sys.argv[2]), pages)"
    )
    command = [sys.executable, "-c", code, server.url, str(tmp_path)]
    started = [subprocess.Popen(command, cwd=Path(__file__).parent, env=children()) for _ in range(2)]
    assert [child.wait(120) for child in started] == [0, 0]
    assert server.logins == 2
    assert server.asked(LIST) >= 11


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
        before = await one.login.seconds_left()
        await one.login.session()
        during = await one.login.seconds_left()
        server.expire_sessions()
        return before, during, await one.login.seconds_left()

    before, during, after = with_client(server, tmp_path, work)
    assert (before, after) == (0, 0)
    assert 14390 < during <= 14400


def test_wrong_password_is_sent_once_until_it_changes_or_a_person_asks_for_it(tmp_path: Path) -> None:
    with BrainServer(lock_after=3) as server:
        server.add_user(EMAIL, PASSWORD)
        found = with_client(server, tmp_path, pages, password="wrong")
        assert all(isinstance(error, LoginRejected) for error in found)
        assert "lk (401: Incorrect authentication credentials.)" in str(found[0])
        assert (server.refused_logins, server.asked(LIST)) == (1, 0)
        for body, refused in ((page, 1), (page, 1), (asked_for, 2), (page, 2)):
            with pytest.raises(LoginRejected, match=r"401: Incorrect.*marketdata alphas login --account lk"):
                with_client(server, tmp_path, body, password="wrong")
            assert (server.refused_logins, server.requests) == (refused, refused)
        assert "wrong" not in (tmp_path / "brain" / "lk.session").read_text()
        assert with_client(server, tmp_path, page).count == 0
        assert server.logins == 1


def test_login_that_is_taken_and_then_refused_ends(server: BrainServer, tmp_path: Path) -> None:
    server.before(server.expire_sessions, times=99, where=LIST)
    found = with_client(server, tmp_path, pages)
    assert all(isinstance(error, LoginRejected) for error in found)
    for _ in range(2):
        with pytest.raises(LoginRejected, match="accepts the login, and still answers 401, at 20") as caught:
            with_client(server, tmp_path, page)
        assert "password" not in str(caught.value)
    assert server.logins == 1
    server.no_more_faults()
    with_client(server, tmp_path, asked_for)
    assert with_client(server, tmp_path, page).count == 3


@pytest.mark.parametrize("body", [b"<html>hello", b'{"token": {"expiry": "soon"}}', b"[]"])
def test_login_that_another_server_answers_is_sent_once_and_pauses(
    server: BrainServer, tmp_path: Path, body: bytes
) -> None:
    server.garble(99, LOGIN, body=body)
    for _ in range(3):
        throttled(server, tmp_path)
    assert server.asked(LOGIN) == 1
    server.no_more_faults()
    age(tmp_path, 2.1)
    assert with_client(server, tmp_path, page).count == 3


@pytest.mark.parametrize("seconds", [0, -5])
def test_session_of_an_unknown_length_is_used_until_a_401(tmp_path: Path, seconds: float) -> None:
    class Wordless(BrainServer):
        def _token(self, _: float) -> object:
            return {"user": {"id": "XX00001"}, "token": {"expiry": seconds}}

    with Wordless() as server:
        server.add_user(EMAIL, PASSWORD)
        for hours in (0.0, 0.6, 0.6):
            with_client(server, tmp_path, pages)
            stored = json.loads((tmp_path / "brain" / "lk.session").read_bytes())
            stored["session"]["expires"] -= hours * 3600
            (tmp_path / "brain" / "lk.session").write_text(json.dumps(stored))
        assert with_client(server, tmp_path, page).count == 0
        assert server.logins == 1
        server.expire_sessions()
        with_client(server, tmp_path, page)
        assert server.logins == 2


def test_login_survives_passing_faults(server: BrainServer, tmp_path: Path) -> None:
    server.fail(503, 1, LOGIN)
    server.drop(1, LOGIN)
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


@pytest.fixture
def guarded() -> Iterator[BrainServer]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, spread(NOVEMBER.start, NOVEMBER.end, 3), persona="headers")
        yield server


def needed(server: BrainServer, home: Path) -> IdentityCheckRequired:
    with pytest.raises(IdentityCheckRequired) as caught:
        with_client(server, home, page)
    return caught.value


@pytest.mark.parametrize("persona", ["headers", "body"])
@pytest.mark.parametrize("command", [True, False])
def test_person_is_asked_for_and_login_is_finished_by_a_command_or_when_the_visit_is_noticed(
    guarded: BrainServer, tmp_path: Path, command: bool, persona: Any
) -> None:
    guarded.users[EMAIL].persona = persona
    error = needed(guarded, tmp_path)
    assert error.url.startswith(f"{guarded.url}/authentication/persona?inquiry=inq_")
    assert f"Open {error.url}, then run: marketdata alphas login --account lk" in str(error)
    assert needed(guarded, tmp_path).url == error.url, "the link that was given out must stay good"
    if command:
        threading.Timer(0.3, guarded.person_arrives, [EMAIL]).start()
        with_client(guarded, tmp_path, lambda one: one.login.finish(interval=0.05, limit=5))
    else:
        guarded.person_arrives(EMAIL)
    assert with_client(guarded, tmp_path, page).count == 3
    with_client(guarded, tmp_path, lambda one: one.login.finish(interval=0.01, limit=0.1))
    assert guarded.logins == 1


def test_finish_gives_up_after_its_limit(guarded: BrainServer, tmp_path: Path) -> None:
    with pytest.raises(IdentityCheckRequired):
        with_client(guarded, tmp_path, lambda one: one.login.finish(interval=0.02, limit=0.1))
    assert guarded.asked("POST /authentication/persona") == 5


def age(home: Path, hours: float) -> None:
    """Move the times of what is stored of the login back."""
    file = home / "brain" / "lk.session"
    stored = json.loads(file.read_bytes())
    for holder, name in (("pending", "began"), ("throttle", "until"), ("session", "expires")):
        if holder in stored:
            stored[holder][name] -= hours * 3600
    stored["inquiries"] = [moment - hours * 3600 for moment in stored.get("inquiries", ())]
    file.write_text(json.dumps(stored))


@pytest.mark.parametrize("how", ["forgotten", "an hour old"])
def test_link_that_is_no_longer_good_is_replaced_by_a_person_or_after_half_a_day(
    guarded: BrainServer, tmp_path: Path, how: str
) -> None:
    first = needed(guarded, tmp_path)
    if how == "forgotten":
        guarded._inquiries.clear()
    else:
        age(tmp_path, 1.1)
    for hours in (0, 0, 5, 5):
        age(tmp_path, hours)
        error = needed(guarded, tmp_path)
        assert error.url == ""
        assert "No link is requested before 20" in str(error)
    assert guarded.asked(f"{LOGIN}/persona") == (how == "forgotten")
    assert guarded.asked(LOGIN) == 1 + (how == "forgotten")
    if how == "forgotten":
        age(tmp_path, 2.1)
        second = needed(guarded, tmp_path)
    else:
        with pytest.raises(IdentityCheckRequired) as caught:
            with_client(guarded, tmp_path, asked_for)
        second = caught.value
    assert second.url.startswith(guarded.url)
    assert second.url != first.url
    assert needed(guarded, tmp_path).url == second.url


def test_old_link_that_was_answered_counts_when_a_person_logs_in(guarded: BrainServer, tmp_path: Path) -> None:
    needed(guarded, tmp_path)
    age(tmp_path, 1.1)
    guarded.person_arrives(EMAIL)
    with_client(guarded, tmp_path, asked_for)
    assert with_client(guarded, tmp_path, page).count == 3
    assert guarded.logins == 1


def test_two_identity_checks_a_day_are_requested_without_a_person(guarded: BrainServer, tmp_path: Path) -> None:
    for _ in range(2):
        assert needed(guarded, tmp_path).url
        guarded.person_arrives(EMAIL)
        assert with_client(guarded, tmp_path, page).count == 3
        guarded.expire_sessions()
        age(tmp_path, 4.1)
    assert needed(guarded, tmp_path).url == ""
    assert len(guarded._inquiries) == 2
    age(tmp_path, 16)
    assert needed(guarded, tmp_path).url


THROTTLED = {"detail": "BIOMETRICS_THROTTLED"}


def throttled(server: BrainServer, home: Path, body: Any = page) -> LoginThrottled:
    with pytest.raises(LoginThrottled) as caught:
        with_client(server, home, body)
    return caught.value


@pytest.mark.parametrize("status", [429, 401])
def test_throttled_login_is_sent_once_and_its_pause_grows(server: BrainServer, tmp_path: Path, status: int) -> None:
    server.fail(status, times=1000, where=LOGIN, body=THROTTLED)
    sent = 0
    for pause in (2, 4, 8, 16, 24, 24):
        sent += 1
        error = throttled(server, tmp_path)
        assert f"{status}: BIOMETRICS_THROTTLED, at 20" in str(error)
        assert "marketdata alphas login --account lk" in str(error)
        age(tmp_path, pause - 0.1)
        throttled(server, tmp_path)
        assert server.requests == sent
        age(tmp_path, 0.2)
    found = with_client(server, tmp_path, pages)
    assert all(isinstance(one, LoginThrottled) for one in found)
    assert server.requests == sent + 1


def test_person_may_log_in_while_logins_are_throttled(server: BrainServer, tmp_path: Path) -> None:
    server.fail(429, times=2, where=LOGIN, body=THROTTLED)
    throttled(server, tmp_path)
    throttled(server, tmp_path, asked_for)
    age(tmp_path, 3.9)
    throttled(server, tmp_path)
    assert server.asked(LOGIN) == 2, "the second throttled login, though a person's, doubles the pause"
    with_client(server, tmp_path, asked_for)
    assert with_client(server, tmp_path, page).count == 3
    assert server.logins == 1


def test_longer_pause_that_the_server_asks_for_is_kept(server: BrainServer, tmp_path: Path) -> None:
    server.fail(429, 1, LOGIN, headers={"Retry-After": str(7 * 3600)}, body=THROTTLED)
    throttled(server, tmp_path)
    age(tmp_path, 6.9)
    throttled(server, tmp_path)
    age(tmp_path, 0.2)
    assert with_client(server, tmp_path, page).count == 3


@pytest.mark.parametrize("asked", ["1790000000", "99999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "+inf", "-nan"])
def test_no_pause_is_longer_than_a_day(server: BrainServer, tmp_path: Path, asked: str) -> None:
    """Whatever the server asks for: a time in seconds since 1970, or a date that means never."""
    server.fail(429, 1, LOGIN, headers={"Retry-After": asked}, body=THROTTLED)
    for _ in range(2):
        throttled(server, tmp_path)
    assert server.asked(LOGIN) == 1
    age(tmp_path, 24.1)
    assert with_client(server, tmp_path, page).count == 3


def test_throttled_identity_check_keeps_the_link(guarded: BrainServer, tmp_path: Path) -> None:
    needed(guarded, tmp_path)
    guarded.fail(429, 1, f"{LOGIN}/persona", body=THROTTLED)
    for _ in range(3):
        throttled(guarded, tmp_path)
    assert guarded.asked(f"{LOGIN}/persona") == 1
    guarded.person_arrives(EMAIL)
    with_client(guarded, tmp_path, asked_for)
    assert (guarded.logins, with_client(guarded, tmp_path, page).count) == (1, 3)


@pytest.mark.parametrize(
    "body", [{"detail": "Request was throttled."}, {"error": "BIOMETRICS_THROTTLED"}, {"detail": "biometrics"}, {}]
)
def test_a_429_throttles_logins_in_whatever_words(server: BrainServer, tmp_path: Path, body: Any) -> None:
    server.fail(429, 9, LOGIN, body=body)
    for _ in range(2):
        throttled(server, tmp_path)
    assert server.asked(LOGIN) == 1


def test_server_that_names_a_short_wait_is_no_throttled_login(server: BrainServer, tmp_path: Path) -> None:
    server.fail(429, 1, LOGIN, body={"detail": "Request was throttled. Expected available in 30 seconds."})
    blocked: list[float] = []

    class Budgeted(Budget):
        def block(self, seconds: float) -> None:
            blocked.append(seconds)

    budget = Budgeted(tmp_path / "budgets", "lk", 1.0, 2000)
    assert with_client(server, tmp_path, page, budget=budget).count == 3
    assert blocked == [30.0]


@pytest.mark.parametrize("status", [400, 403])
def test_login_that_is_refused_is_sent_once(server: BrainServer, tmp_path: Path, status: int) -> None:
    server.fail(status, 9, LOGIN, body={"detail": "Account is locked."})
    for _ in range(3):
        with pytest.raises(LoginRejected, match=rf"\({status}: Account is locked"):
            with_client(server, tmp_path, page)
    assert server.asked(LOGIN) == 1
    server.no_more_faults()
    with_client(server, tmp_path, asked_for)
    assert with_client(server, tmp_path, page).count == 3


def test_identity_check_that_is_refused_is_polled_once(guarded: BrainServer, tmp_path: Path) -> None:
    needed(guarded, tmp_path)
    guarded.fail(403, 9, f"{LOGIN}/persona", body={"detail": "Account is locked."})
    for _ in range(3):
        with pytest.raises(LoginRejected, match="Account is locked"):
            with_client(guarded, tmp_path, page)
    assert guarded.asked(f"{LOGIN}/persona") == 1


def test_link_to_another_server_gets_no_password(server: BrainServer, tmp_path: Path) -> None:
    with BrainServer() as elsewhere:
        headers = {"WWW-Authenticate": "persona", "Location": f"{elsewhere.url}/authentication/persona?inquiry=x"}
        server.fail(401, 1, LOGIN, headers=headers)
        assert needed(server, tmp_path).url.startswith(elsewhere.url)
        with pytest.raises(RequestRejected, match="link is of another server"):
            with_client(server, tmp_path, lambda one: one.login.finish(interval=0.01, limit=0.1))
        assert elsewhere.requests == 0


def test_api_that_is_away_during_a_login_may_be_tried_again(server: BrainServer, tmp_path: Path) -> None:
    async def work(one: BrainClient) -> Page:
        server.fail(500, 4, LOGIN)
        with pytest.raises(ApiUnavailable):
            await page(one)
        return await page(one)

    assert with_client(server, tmp_path, work).count == 3
