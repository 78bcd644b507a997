"""Nothing writes to the account: every request that can reach BRAIN reads, but for logins."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets import alphas
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.api_requests import decode_authentication
from marketdata_assets.alphas.errors import RequestRejected, UnsafeId
from marketdata_assets.alphas.record_sets import RECORD_SETS
from marketdata_demo.servers.brain import BrainServer, spread
from tests.alphas.brain_clients import EMAIL, NOVEMBER, PASSWORD, with_client

ALPHA = next(iter(spread(NOVEMBER.start, NOVEMBER.end, 1)))
OF_ALPHA = r"alphas/\w+(/check|/(recordsets|correlations)/[\w-]+)?"
READS = re.compile(rf"GET /(authentication|operators|data-sets|data-fields|users/self/alphas|{OF_ALPHA})")
LOGINS = re.compile(r"POST /authentication(/persona)?")


@pytest.fixture
def server() -> Iterator[BrainServer]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, [ALPHA], persona="headers")
        yield server


async def everything(one: BrainClient) -> set[str]:
    """Send each kind of request that there is, and return the names of the client's methods that sent them."""
    await one.page("regular", NOVEMBER)
    await one.ordered("regular", "-dateModified")
    await one.alpha(ALPHA.id)
    for record_set in RECORD_SETS:
        await one.records(ALPHA.id, record_set)
    await one.listed("/operators", {})
    for path in ("/data-sets", "/data-fields"):
        await one.listed(path, {"instrumentType": "EQUITY", "region": "USA", "delay": 1, "universe": "TOP3000"})
    return {"page", "ordered", "alpha", "records", "listed"}


def test_all_requests_of_the_client_read_or_log_in(server: BrainServer, tmp_path: Path) -> None:
    async def ask(one: BrainClient) -> set[str]:
        server.before(lambda: server.person_arrives(EMAIL), 1, "POST /authentication/persona")
        with pytest.raises(Exception, match="identity check"):
            await one.login.session()
        await one.login.finish(interval=0.01, limit=5.0)
        return await everything(one)

    sent = with_client(server, tmp_path, ask)
    assert sent == {name for name, _ in inspect.getmembers(BrainClient, inspect.iscoroutinefunction) if name[0] != "_"}
    paths = {line.partition("?")[0] for line in server.log}
    assert {line for line in paths if not READS.fullmatch(line) and not LOGINS.fullmatch(line)} == set()
    assert {line for line in paths if line.startswith("POST")} == {
        "POST /authentication",
        "POST /authentication/persona",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/alphas/{ALPHA.id}/submit"),
        ("PATCH", f"/alphas/{ALPHA.id}"),
        ("PUT", f"/alphas/{ALPHA.id}"),
        ("POST", "/simulations"),
        ("DELETE", "/simulations/1"),
        ("DELETE", "/authentication"),
        ("POST", "/authentication/../alphas/A/submit"),
        ("POST", "/authentication/%2e%2e/alphas/A/submit"),
        ("POST", "/authentications"),
        ("POST", "//authentication"),
        ("post", "/alphas"),
    ],
)
def test_a_request_that_could_write_is_not_sent(server: BrainServer, tmp_path: Path, method: str, path: str) -> None:
    async def ask(one: BrainClient) -> Any:
        return await one._api.send(method, path, decode_authentication, ("a", "b"))

    with pytest.raises(RequestRejected, match="nothing is sent"):
        with_client(server, tmp_path, ask)
    assert server.log == []


def test_a_link_of_an_identity_check_that_is_no_login_is_not_sent(server: BrainServer, tmp_path: Path) -> None:
    """Whatever BRAIN names as the link, the password and a POST go to logins only."""
    headers = {"WWW-Authenticate": "persona", "Location": f"/alphas/{ALPHA.id}/submit"}
    server.fail(401, 1, "POST /authentication", headers=headers)

    async def ask(one: BrainClient) -> None:
        with pytest.raises(Exception, match="identity check"):
            await one.login.session()
        await one.login.finish(interval=0.01, limit=5.0)

    with pytest.raises(RequestRejected, match=r"submit.*nothing is sent"):
        with_client(server, tmp_path, ask)
    assert server.asked("submit") == 0


def test_the_client_is_the_only_way_to_brain() -> None:
    """One module has an HTTP client; the others have of httpx what names a status or a part of an answer."""
    clients, used = set(), set()
    for file in Path(alphas.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and any(name.name == "HttpClient" for name in node.names):
                clients.add(file.stem)
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
                assert not {"urllib.request", "http.client", "requests", "aiohttp", "socket"} & set(names), file
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "httpx":
                used.add(node.attr)
    assert clients == {"api_requests"}
    assert used <= {"codes", "Response", "Cookies", "URL"}


def test_names_of_alphas_cannot_lead_elsewhere(server: BrainServer, tmp_path: Path) -> None:
    async def ask(one: BrainClient) -> None:
        for name in ("A/submit", "../simulations", "A\\submit", ""):
            with pytest.raises(UnsafeId):
                await one.alpha(name)
        assert one.requests == 0

    with_client(server, tmp_path, ask)
    assert server.log == []
