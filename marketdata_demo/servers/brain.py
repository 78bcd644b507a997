"""A server on loopback that behaves like the BRAIN API, faults included, in a thread of its own.

    with BrainServer(requests=100, per_seconds=10.0) as server:
        server.add_user("me@example.com", "secret", spread(start, end, 250))
        server.fail(503, times=2, where="offset=100")
        ...  # point a client at server.url
        assert server.overruns == 0

A fault is planned for the next `times` requests whose `METHOD path?query`, as it was sent, contains `where`.
"""

import asyncio
import base64
import datetime as dt
import json
import re
import secrets
import string
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from aiohttp import web

from marketdata_assets.alphas.file_index import list_packages
from marketdata_assets.alphas.files import read_package
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.record_sets import PATHS, RecordSet
from marketdata_demo import sample_alphas, sample_records
from marketdata_demo.servers.loopback import LoopbackServer

SAMPLE_PASSWORD = "sample"
EASTERN = ZoneInfo("America/New_York")
HANG_SECONDS = 60.0
CATALOGUE_PAGE = 50
LETTERS = string.digits + string.ascii_letters


@dataclass(frozen=True)
class Alpha:
    """One alpha in the server's store; `body` is what goes over the wire."""

    id: str
    kind: Kind
    created: dt.datetime
    body: bytes


def served(document: dict[str, Any]) -> Alpha:
    """A document, say of `sample_alphas.alphas`, for the server to hand out."""
    kind: Kind = "super" if document["type"] == "SUPER" else "regular"
    created = dt.datetime.fromisoformat(document["dateCreated"]).astimezone(dt.UTC)
    return Alpha(document["id"], kind, created, json.dumps(document, ensure_ascii=False).encode())


def make(
    number: int, created: dt.datetime, kind: Kind = "regular", *, modified: dt.datetime | None = None, **fields: Any
) -> Alpha:
    """The alpha of this number; the same arguments give the same bytes. `fields` replace top-level ones."""
    [document] = sample_alphas.alphas("server", kind, "2024-11", 1, number)
    modified = modified or created + dt.timedelta(seconds=1)
    dates = {"dateCreated": created.astimezone(EASTERN), "dateModified": modified.astimezone(EASTERN)}
    texts = {name: moment.isoformat() for name, moment in dates.items()}
    return served({**document, "id": alpha_id(number, kind), **texts, **fields})


def spread(
    start: dt.datetime, end: dt.datetime, count: int, kind: Kind = "regular", *, first: int = 0
) -> Iterator[Alpha]:
    """`count` alphas numbered from `first`, evenly over [start, end), on whole seconds."""
    step = (end - start) / max(count, 1)
    for number in range(count):
        moment = (start + step * number).replace(microsecond=0)
        yield make(first + number, moment, kind)


def alpha_id(number: int, kind: Kind) -> str:
    """7 or 8 characters, as the API has both."""
    text = ""
    value = number * 2 + (kind == "super")
    for _ in range(6 + number % 2):
        value, digit = divmod(value, len(LETTERS))
        text = LETTERS[digit] + text
    return "Ax"[number % 2] + text


KINDS: dict[str, Kind] = {"REGULAR": "regular", "SUPER": "super"}
EARLIEST, LATEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_BOUND = re.compile(r"dateCreated(>=|<)(.+)")


_CONDITION = re.compile(r"(status|settings\.\w+|is\.\w+|dateSubmitted)(!=|>=|<=|=|<)(.*)", re.DOTALL)


def fits(document: Any, path: str, sign: str, wanted: str) -> bool:
    """Whether an alpha meets a condition of the list."""
    value = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if sign in ("=", "!="):
        return (str(value) in wanted.split("\x1f")) == (sign == "=")
    if value is None:
        return False
    bound: Any = float(wanted) if path.startswith("is.") else datetime.fromisoformat(wanted)
    value = value if path.startswith("is.") else datetime.fromisoformat(value)
    return bool(value >= bound if sign == ">=" else value <= bound if sign == "<=" else value < bound)


class Refused(Exception):
    """An answer with a JSON body and an error status."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.response = json_answer(status, body, headers)


@dataclass
class Query:
    """The query of the list. What the API would silently ignore is refused here, so that a wrong client fails."""

    limit: int = 10
    offset: int = 0
    kind: str = "regular"
    order: str = "dateCreated"
    conditions: list[tuple[str, ...]] = field(default_factory=list)
    start: datetime = EARLIEST
    end: datetime = LATEST

    @classmethod
    def parsed(cls, text: str) -> "Query":
        query = cls()
        for part in text.split("&"):
            name, _, value = (unquote(piece) for piece in part.partition("="))
            bound = _BOUND.fullmatch(unquote(part))
            if bound:
                moment = datetime.fromisoformat(bound[2])
                if moment.tzinfo is None:
                    raise Refused(400, {"dateCreated": ["A time zone is needed."]})
                setattr(query, "start" if bound[1] == ">=" else "end", moment)
            elif name in ("limit", "offset") and value.isdigit():
                setattr(query, name, int(value))
            elif name == "type" and value in KINDS:
                query.kind = KINDS[value]
            elif condition := _CONDITION.fullmatch(unquote(part)):
                query.conditions.append(tuple(condition.groups()))
            elif name == "order" and value.lstrip("-") == "dateModified":
                query.order = value
            elif (name, value) != ("order", "dateCreated"):
                raise Refused(400, {name: [f'"{value}" is not a valid choice.']})
        return query


def json_answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


class Faults(LoopbackServer):
    """Faults that tests inject into `BrainServer`. The line of a request is its `METHOD path?query`, as it was sent."""

    def fail(
        self,
        status: int,
        times: int = 1,
        where: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> None:
        """Answer with this status."""

        async def answer(_: web.Request) -> web.StreamResponse:
            return json_answer(status, body if body is not None else {"detail": "planned"}, headers)

        self._plan(where, times, answer)

    def cut(self, times: int = 1, where: str = "") -> None:
        """Promise an answer of some length and close the connection in the middle of it."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"count": 3, "results": [')
            assert request.transport
            request.transport.abort()
            return response

        self._plan(where, times, answer)

    def garble(self, times: int = 1, where: str = "", body: bytes = b'{"count": 3, "results": [') -> None:
        """Answer 200 with something that is no sound JSON."""

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(body=body, content_type="application/json")

        self._plan(where, times, answer)

    def before(self, act: Callable[[], object], times: int = 1, where: str = "") -> None:
        """Call `act` right before such a request is answered, say to insert an alpha while a client pages."""

        async def answer(_: web.Request) -> None:
            act()

        self._plan(where, times, answer)


PAGE = 100

Persona = Literal["headers", "body"]
"""How a login asks for a person: 401 with a link in its headers, or 201 with `{"inquiry": ..}` and no token."""


@dataclass
class User:
    """Someone who may log in; `persona` asks for a person at every login, by headers or in the body."""

    password: str
    persona: Persona | None = None
    refused: int = 0  # logins in a row
    hidden: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    alphas: dict[str, list[tuple[datetime, str, Alpha]]] = field(default_factory=lambda: {"regular": [], "super": []})
    by_id: dict[str, Alpha] = field(default_factory=dict)


class BrainServer(Faults):
    """See the module. None is no limit.

    `requests` per `per_seconds` and user, sliding. `cap` bounds offset + limit; `beyond` it a request is rejected, or
    the page ends there. No `count` exceeds `count_cap`. More than `capacity` requests at a time hang for a minute.
    `lock_after` so many wrong passwords in a row, no login of the user succeeds.
    """

    def __init__(
        self,
        *,
        requests: int | None = None,
        per_seconds: float = 60.0,
        retry_after: float = 1.0,
        retry_after_as: Literal["seconds", "date"] = "seconds",
        cap: int = 10000,
        beyond: Literal["reject", "end"] = "reject",
        count_cap: int | None = None,
        capacity: int | None = None,
        lock_after: int | None = None,
        session_seconds: float = 14400.0,
        latency: float = 0.0,
        port: int = 0,
    ) -> None:
        super().__init__(port)
        self.requests_allowed, self.per_seconds = requests, per_seconds
        self.retry_after, self.retry_after_as = retry_after, retry_after_as
        self.cap, self.session_seconds, self.latency = cap, session_seconds, latency
        self.beyond, self.count_cap, self.capacity, self.lock_after = beyond, count_cap, capacity, lock_after
        self.users: dict[str, User] = {}
        self.log: list[str] = []
        self.arrivals: dict[str, list[float]] = {}
        self.logins = self.refused_logins = self.overruns = 0
        self.in_flight = self.most_in_flight = 0
        self.order_by_modified: Literal["obey", "ignore", "reject"] = "obey"
        self.polls_until_computed, self.poll_seconds = 0, 0.01
        self.not_offered: set[str] = set()
        self._computing: dict[str, int] = {}
        self._sessions: dict[str, tuple[str, float]] = {}
        self._inquiries: dict[str, tuple[str, bool]] = {}
        self._recent: dict[str, deque[float]] = {}

    # What a test sets up and asks.

    @property
    def requests(self) -> int:
        """Requests that came in, logins included."""
        return len(self.log)

    def asked(self, where: str) -> int:
        """Requests so far whose `METHOD path?query` contains `where`."""
        return sum(where in line for line in list(self.log))

    def add_user(
        self, email: str, password: str, alphas: Iterable[Alpha] = (), *, persona: Persona | None = None
    ) -> None:
        with self._lock:
            self.users[email] = User(password, persona)
            self.add_alphas(email, alphas)

    def add_alphas(self, email: str, alphas: Iterable[Alpha]) -> None:
        """Add alphas, or put them in the place of those with the same id."""
        with self._lock:
            user = self.users[email]
            for alpha in alphas:
                if alpha.id in user.by_id:
                    self.remove_alpha(email, alpha.id)
                user.by_id[alpha.id] = alpha
                insort(user.alphas[alpha.kind], (alpha.created, alpha.id, alpha))

    def remove_alpha(self, email: str, alpha_id: str) -> None:
        with self._lock:
            user = self.users[email]
            alpha = user.by_id.pop(alpha_id)
            user.alphas[alpha.kind].remove((alpha.created, alpha.id, alpha))

    def hide(self, email: str, alpha_id: str) -> None:
        """Count the alpha, and list it in no page."""
        with self._lock:
            self.users[email].hidden.add(alpha_id)

    def break_alpha(self, email: str, alpha_id: str) -> None:
        """Answer 500 to each request for a page that has the alpha."""
        with self._lock:
            self.users[email].broken.add(alpha_id)

    def expire_sessions(self) -> None:
        """Every cookie handed out so far is dead."""
        with self._lock:
            self._sessions.clear()

    def person_arrives(self, email: str) -> None:
        """The person opens the link of each login of theirs that waits."""
        with self._lock:
            self._inquiries = {key: (who, done or who == email) for key, (who, done) in self._inquiries.items()}

    # The life of the server.

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._around])
        app.router.add_get("/authentication", self._check)
        app.router.add_post("/authentication", self._login)
        app.router.add_get("/authentication/persona", self._link)
        app.router.add_post("/authentication/persona", self._finish_login)
        app.router.add_get("/users/self/alphas", self._list)
        app.router.add_get("/alphas/{id}", self._one)
        app.router.add_get("/operators", self._operators)
        for path in ("/data-sets", "/data-fields"):
            app.router.add_get(path, partial(self._catalogue, path))
        for record_set, path in PATHS.items():
            app.router.add_get(f"/alphas/{{id}}/{path}", partial(self._records, record_set))
        return app

    @web.middleware
    async def _around(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        arrived = time.monotonic()
        line = f"{request.method} {request.raw_path}"
        with self._lock:
            self.log.append(line)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self._limit(request, arrived)
            if self.capacity and self.in_flight > self.capacity:
                with self._lock:
                    self.in_flight -= 1
                try:
                    await asyncio.sleep(HANG_SECONDS)
                finally:
                    with self._lock:
                        self.in_flight += 1
            if self.latency:
                await asyncio.sleep(self.latency)
            if fault := self._due(line):
                answer = await fault.answer(request)
                if answer is not None:
                    return answer
            return await handler(request)
        except Refused as refused:
            return refused.response
        except web.HTTPNotFound:
            return json_answer(404, {"detail": "Not found."})
        except web.HTTPMethodNotAllowed:
            return json_answer(405, {"detail": f'Method "{request.method}" not allowed.'})
        finally:
            with self._lock:
                self.in_flight -= 1

    def _limit(self, request: web.Request, arrived: float) -> None:
        with self._lock:
            who = self._basic(request)[0] or self._sessions.get(request.cookies.get("t", ""), ("",))[0]
            self.arrivals.setdefault(who, []).append(arrived)
            if self.requests_allowed is None:
                return
            recent = self._recent.setdefault(who, deque())
            while recent and recent[0] <= arrived - self.per_seconds:
                recent.popleft()
            if len(recent) < self.requests_allowed:
                recent.append(arrived)
                return
            self.overruns += 1
        late = formatdate(time.time() + self.retry_after + 0.999, usegmt=True)
        value = late if self.retry_after_as == "date" else f"{self.retry_after:g}"
        raise Refused(429, {"message": "API rate limit exceeded"}, {"Retry-After": value})

    # Authentication.

    async def _login(self, request: web.Request) -> web.Response:
        email, password = self._basic(request)
        with self._lock:
            user = self.users.get(email)
            if user and self.lock_after is not None and user.refused >= self.lock_after:
                self.refused_logins += 1
                raise Refused(401, {"detail": "The account is locked."})
            if user is None or user.password != password:
                self.refused_logins += 1
                if user:
                    user.refused += 1
                raise Refused(401, {"detail": "Incorrect authentication credentials."})
            user.refused = 0
            if user.persona:
                inquiry = f"inq_{secrets.token_hex(8)}"
                self._inquiries[inquiry] = (email, False)
                if user.persona == "body":
                    return json_answer(201, {"inquiry": inquiry})
                location = f"/authentication/persona?inquiry={inquiry}"
                headers = {"WWW-Authenticate": "persona", "Location": location}
                raise Refused(401, {"inquiry": inquiry}, headers)
            return self._welcome(email)

    async def _link(self, request: web.Request) -> web.Response:
        return web.Response(text="Show your face to the camera.")

    async def _finish_login(self, request: web.Request) -> web.Response:
        with self._lock:
            email, arrived = self._inquiries.get(request.query.get("inquiry", ""), ("", False))
            if not email:
                raise Refused(404, {"detail": "Not found."})
            if not arrived:
                raise Refused(401, {"detail": "Inquiry is not finished."})
            return self._welcome(email, token=self.users[email].persona != "body")

    def _welcome(self, email: str, *, token: bool = True) -> web.Response:
        cookie = secrets.token_hex(16)
        self._sessions[cookie] = (email, time.monotonic() + self.session_seconds)
        self.logins += 1
        response = json_answer(201, self._token(self.session_seconds) if token else {"user": {"id": "XX00001"}})
        response.set_cookie("t", cookie, httponly=True, samesite="None", path="/")
        return response

    async def _check(self, request: web.Request) -> web.Response:
        self._user(request)
        with self._lock:
            _, ends = self._sessions[request.cookies["t"]]
        return json_answer(200, self._token(ends - time.monotonic()))

    def _token(self, seconds: float) -> object:
        return {"user": {"id": "XX00001"}, "token": {"expiry": seconds}, "permissions": ["TUTORIAL"]}

    def _basic(self, request: web.Request) -> tuple[str, str]:
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return "", ""
        email, _, password = base64.b64decode(rest).decode().partition(":")
        return email, password

    def _user(self, request: web.Request) -> User:
        with self._lock:
            email, ends = self._sessions.get(request.cookies.get("t", ""), ("", 0.0))
            if ends < time.monotonic():
                raise Refused(401, {"detail": "Incorrect authentication credentials."})
            return self.users[email]

    # Alphas.

    async def _list(self, request: web.Request) -> web.Response:
        user = self._user(request)
        query = Query.parsed(request.raw_path.partition("?")[2])
        if query.limit > PAGE:
            raise Refused(400, {"limit": [f"Ensure this value is less than or equal to {PAGE}."]})
        if self.beyond == "reject" and query.offset + query.limit > self.cap:
            raise Refused(400, {"detail": f"Offset is limited to {self.cap - query.limit}."})
        if query.order != "dateCreated" and self.order_by_modified == "reject":
            raise Refused(400, {"order": [f'"{query.order}" is not a valid choice.']})
        with self._lock:
            rows = user.alphas[query.kind]
            if query.conditions:
                rows = [row for row in rows if all(fits(json.loads(row[2].body), *one) for one in query.conditions)]
            if query.order != "dateCreated" and self.order_by_modified == "obey":
                modified = [(json.loads(row[2].body)["dateModified"], row) for row in rows]
                modified.sort(key=lambda one: datetime.fromisoformat(one[0]), reverse=query.order[0] == "-")
                return _answer([row for _, row in modified], query, self.count_cap)
            start = bisect_left(rows, (query.start, ""))
            end = bisect_left(rows, (query.end, ""))
            count = max(end - start, 0)
            found = rows[start + query.offset : min(end, start + query.offset + query.limit, start + self.cap)]
            if any(row[1] in user.broken for row in found):
                raise Refused(500, {"detail": "Internal error."})
            if self.count_cap is not None:
                count = min(count, self.count_cap)
        head = {
            "count": count,
            "next": self._odd_url(query, query.offset + query.limit) if query.offset + query.limit < count else None,
            "previous": self._odd_url(query, max(query.offset - query.limit, 0)) if query.offset else None,
        }
        body = (
            json.dumps(head).encode()[:-1]
            + b', "results": ['
            + b", ".join(row[2].body for row in found if row[1] not in user.hidden)
            + b"]}"
        )
        return web.Response(body=body, content_type="application/json")

    def _odd_url(self, query: "Query", offset: int) -> str:
        return f"http://127.0.0.1:443/users/self/alphas?limit={query.limit}&offset={offset}&type={query.kind.upper()}"

    async def _one(self, request: web.Request) -> web.Response:
        user = self._user(request)
        with self._lock:
            alpha = user.by_id.get(request.match_info["id"])
        if alpha:
            return web.Response(body=alpha.body, content_type="application/json")
        raise Refused(404, {"detail": "Not found."})

    async def _operators(self, request: web.Request) -> web.Response:
        self._user(request)
        return json_answer(200, sample_records.OPERATORS)

    async def _catalogue(self, path: str, request: web.Request) -> web.Response:
        """A page of the data sets of a market, or of the fields of one of them; 403 for those in `not_offered`."""
        self._user(request)
        if path in self.not_offered:
            raise Refused(403, {"detail": "You do not have permission to perform this action."})
        query = request.query
        lacking = [name for name in ("instrumentType", "region", "delay", "universe") if name not in query]
        limit, offset = int(query.get("limit", "20")), int(query.get("offset", "0"))
        if lacking or limit > CATALOGUE_PAGE:
            cause = {name: ["This field is required."] for name in lacking}
            raise Refused(400, cause or {"limit": [f"Ensure this value is less than or equal to {CATALOGUE_PAGE}."]})
        market = {name: query[name] for name in ("region", "universe")} | {"delay": int(query["delay"])}
        found = sample_records.data_sets(market)
        if path == "/data-fields":
            wanted = query.get("dataset.id")
            found = [
                one for data_set in found if wanted in (None, data_set["id"]) for one in sample_records.fields(data_set)
            ]
        return json_answer(200, {"count": len(found), "results": found[offset : offset + limit]})

    async def _records(self, record_set: RecordSet, request: web.Request) -> web.Response:
        """A record set, after `polls_until_computed` responses without content; 403 for those in `not_offered`."""
        user = self._user(request)
        if record_set in self.not_offered:
            raise Refused(403, {"detail": "You do not have permission to perform this action."})
        with self._lock:
            alpha = user.by_id.get(request.match_info["id"])
            others = [one.id for one in user.by_id.values()]
            polls = self._computing[request.path] = self._computing.get(request.path, 0) + 1
        if alpha is None:
            raise Refused(404, {"detail": "Not found."})
        if polls <= self.polls_until_computed:
            return web.Response(headers={"Retry-After": f"{self.poll_seconds:g}"})
        return json_answer(200, sample_records.response(json.loads(alpha.body), record_set, others))


def of_archive(root: Path, accounts: Sequence[str]) -> BrainServer:
    """A server that knows these accounts (`ACCOUNT@example.com`, SAMPLE_PASSWORD) with the alphas of their packages."""
    server = BrainServer()
    for account in accounts:
        paths = [path for kind in KINDS.values() for path in list_packages(root, account, kind)]
        alphas = (served(json.loads(line)) for path in paths for _, line in read_package(path))
        server.add_user(f"{account}@example.com", SAMPLE_PASSWORD, alphas)
    return server


def _answer(rows: Sequence[tuple[datetime, str, Alpha]], query: Query, count_cap: int | None) -> web.Response:
    """A page of a list that is not faulty, and capped in its count alone."""
    count = min(len(rows), count_cap or len(rows))
    shown = b", ".join(row[2].body for row in rows[query.offset : query.offset + query.limit])
    body = b'{"count": %d, "next": null, "previous": null, "results": [%s]}' % (count, shown)
    return web.Response(body=body, content_type="application/json")
