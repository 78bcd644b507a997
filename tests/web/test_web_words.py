"""The words of the market page: each has its Chinese, with the same places for values and marks of full width."""

import json
import re
from html.parser import HTMLParser

from starlette.testclient import TestClient

from marketdata_assets.web.application import application
from marketdata_assets.web.database import Servers
from marketdata_assets.web.pages import STATIC
from tests.web.test_web_browser import PAGES

TRADEMARK = {"Charts by", "TradingView Lightweight Charts™", ", Copyright (c) TradingView, Inc."}


def test_every_text_of_the_page_has_its_chinese() -> None:
    known = json.loads((STATIC / "zh.json").read_text())
    texts = Texts()
    client = TestClient(application(Servers(str, str, str)))  # type: ignore[arg-type]  # no page needs a server
    for path in PAGES:
        texts.feed(client.get(path).text)
    used = {text for script in STATIC.glob("*.js") for text in re.findall(r"\bt\(\"([^\"]+)\"", script.read_text())}
    assert len(texts.found) > 100 and len(used) > 30
    assert {*texts.found, *used} - known.keys() <= {"English", "MA5", "MA10", "MA20", "MA60", *TRADEMARK}
    narrow = re.compile("[\u4e00-\u9fff})”] ?[,:;(]|[,:;)] ?[\u4e00-\u9fff{]")
    assert {there for there in known.values() if narrow.search(there)} == set(), "marks of Chinese are of full width"
    marks = re.compile(r"\{\w+\}")
    assert {
        text for text, there in known.items() if sorted(marks.findall(text)) != sorted(marks.findall(there))
    } == set()


class Texts(HTMLParser):
    """The texts of pages that people read: those between elements, placeholders and labels."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within = tag
        self.found |= {value for name, value in attrs if value and name in ("placeholder", "aria-label")}

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if re.search("[A-Za-z]", text):
            self.found.add(text)
