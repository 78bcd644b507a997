"""The query of the test server's list, and its refusals."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

from aiohttp import web

KINDS = {"REGULAR": "regular", "SUPER": "super"}
EARLIEST, LATEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_BOUND = re.compile(r"dateCreated(>=|<)(.+)")


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
            elif (name, value) != ("order", "dateCreated"):
                raise Refused(400, {name: [f'"{value}" is not a valid choice.']})
        return query


def json_answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)
