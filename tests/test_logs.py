"""Structured log lines: facts as text or JSON, at most so many a minute, and never a secret."""

import json
import logging
import re
import subprocess
import sys

import pytest

from marketdata_assets.logs import (
    LINES_PER_EVENT,
    LINES_PER_KEY,
    WINDOW_SECONDS,
    JsonFormatter,
    Logger,
    TextFormatter,
    redacted,
)

NAME = "marketdata_assets.tests"
CANARY = "canary-7f3a"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock, caplog: pytest.LogCaptureFixture) -> Logger:
    caplog.set_level(logging.INFO, NAME)
    return Logger(NAME, clock)


def test_a_line_has_the_event_and_its_facts_as_text(log: Logger, caplog: pytest.LogCaptureFixture) -> None:
    log.warning("reconnecting", venue="okx", attempt=3, wait_s=2.00004, error=ValueError("no route\nto host"))
    assert caplog.messages == ['reconnecting venue=okx attempt=3 wait_s=2.0 error="ValueError: no route to host"']
    assert (caplog.records[0].levelname, caplog.records[0].funcName) == (
        "WARNING",
        "test_a_line_has_the_event_and_its_facts_as_text",
    )


def test_json_has_the_same_facts(log: Logger, caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise KeyError("x")
    except KeyError:
        log.exception("crashed", market="okx spot", failures=2, last=None)
    logging.getLogger(NAME).warning("%s of another library", "a line")
    ours, plain = (json.loads(JsonFormatter().format(record)) for record in caplog.records)
    assert (ours["event"], ours["market"], ours["failures"], ours["last"]) == ("crashed", "okx spot", 2, None)
    assert (ours["level"], ours["logger"]) == ("error", NAME)
    assert ours["traceback"].endswith("KeyError: 'x'")
    assert plain["event"] == "a line of another library"


def test_lines_about_the_same_thing_are_limited_and_the_rest_counted(
    log: Logger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(20):
        log.warning("reconnecting", venue="okx", attempt=number, error=f"cause {number}")
    log.warning("reconnecting", venue="binance", attempt=1)
    log.warning("throttled", venue="okx")
    assert len(caplog.messages) == LINES_PER_KEY + 2
    clock.now += WINDOW_SECONDS
    log.warning("reconnecting", venue="okx", attempt=21)
    log.warning("reconnecting", venue="okx", attempt=22)
    assert caplog.messages[-2:] == [
        f"reconnecting venue=okx attempt=21 suppressed={20 - LINES_PER_KEY}",
        "reconnecting venue=okx attempt=22",
    ]


def test_an_event_about_many_things_is_limited_too(log: Logger, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(10 * LINES_PER_EVENT):
        log.warning("resync", symbol=f"S{number}")
    assert len(caplog.messages) == LINES_PER_EVENT


def test_a_level_that_is_off_counts_nothing(log: Logger, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, NAME):
        for _ in range(100):
            log.info("resync", symbol="A")
    log.info("resync", symbol="A")
    assert caplog.messages == ["resync symbol=A"]


@pytest.mark.parametrize(
    "facts",
    [
        {"url": f"postgresql://postgres:{CANARY}@db/x"},
        {"url": f"nats://{CANARY}@a:4222"},
        {"error": ValueError(f"cannot connect to redis://:{CANARY}@cache")},
        {"error": f"POST /?token={CANARY}&x=1"},
        {"error": f"Authorization: Bearer {CANARY}"},
        {"error": f'{{"token": "{CANARY}"}}'},
        {"api_key": CANARY},
        {"session_cookie": CANARY},
        {"header": f"bearer {CANARY}"},
    ],
)
def test_no_secret_is_written(log: Logger, caplog: pytest.LogCaptureFixture, facts: dict[str, object]) -> None:
    log.error("failed", **facts)
    assert "***" in caplog.text
    assert CANARY not in caplog.text + JsonFormatter().format(caplog.records[0])


def test_text_without_a_secret_stays_as_it_is() -> None:
    for text in ("the token expired", "https://a.example/x?symbol=A", "secret file is empty"):
        assert redacted(text) == text


@pytest.mark.parametrize(
    ("form", "expected"), [("text", "WARNING marketdata_assets.x: full disk_mb=3"), ("json", '"disk_mb": 3')]
)
def test_a_process_chooses_the_format(form: str, expected: str) -> None:
    code = (
        "from marketdata_assets import logs\n"
        f"logs.configure({form!r}); logs.configure({form!r})\n"
        "logs.get_logger('marketdata_assets.x').warning('full', disk_mb=3)\n"
        "logs.get_logger('marketdata_assets.x').info('unseen')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert expected in ended.stderr


HOSTILE = "\x1b]52;c;ZXZpbA==\x07\x1b[2J \x9b31m \x7f \u202egnp.exe\u2066 a\nb \ud800"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    about = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(NAME, logging.WARNING, __file__, 1, message, arguments, about)


@pytest.mark.parametrize("formatter", [TextFormatter("%(levelname)s %(name)s: %(message)s"), JsonFormatter()])
def test_no_control_character_and_no_false_line_reaches_a_log(
    formatter: logging.Formatter, log: Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log.warning("request rejected", path=HOSTILE, reason=ValueError(HOSTILE))
    lines = [formatter.format(one) for one in caplog.records]
    lines += [formatter.format(record("%s of a library", HOSTILE))]
    assert not any(OBEYED.search(line) or "\n" in line for line in lines)
    try:
        raise OSError(f"{HOSTILE}\n2026-11-25 ERROR forged")
    except OSError as error:
        text = formatter.format(record("crashed", error=error))
    assert not OBEYED.search(text)
    assert not re.search(r"^(\S.*)?forged", text.partition("\n")[2], re.MULTILINE)


@pytest.mark.parametrize("formatter", [TextFormatter("%(message)s"), JsonFormatter()])
def test_values_of_secret_variables_are_masked_whatever_says_them(
    formatter: logging.Formatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUSHARE_TOKEN", CANARY)
    try:
        raise OSError(f"bad answer to {CANARY}")
    except OSError as error:
        text = formatter.format(record("sent %s and %s", CANARY, CANARY.encode().hex(), error=error))
    assert CANARY not in text
    assert "sent *** and" in text


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("TUSHARE_TOKEN", "abc12", "abc12 is short"),
        ("DAGSTER_PG_PASSWORD", "Postgres", "Postgres answers"),
        ("MY_PASSWORD", "20261125", "20261125 rows"),
        ("DSN", "postgresql://trading@host/db", "trading days"),
        ("MARKETDATA_BRAIN_CREDENTIALS_FILE", "/", "a/b"),
    ],
)
def test_words_and_numbers_of_every_log_are_not_masked(
    variable: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert redacted(told) == told


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("MARKETDATA_ALERT_WEBHOOK", "https://hooks.example/services/T1/canary-7f3a", "POST /services/T1/canary-7f3a"),
        ("MARKETDATA_NATS_URL", "nats://canary-7f3a@host", "user 'canary-7f3a'"),
        ("HTTP_PROXY", "http://me:canary%2D7f3a@proxy", "Basic bWU6Y2FuYXJ5LTdmM2E="),
        ("MARKETDATA_POSTGRES_DSN", "host=h password='canary-7f3a' user=u", "FATAL canary-7f3a"),
        ("MARKETDATA_MONGO_URI", "mongodb://me:canary-7f3a@h1,h2/?ssl=true", "auth canary-7f3a"),
        ("EXAMPLE_URL", "https://h/x?sig=canary-7f3a&v=1", "403 of canary-7f3a"),
        ("MARKETDATA_BRAIN_PASSWORD_LK", 'canary"7f3a', '{"password": "canary\\"7f3a"}'),
    ],
)
def test_secrets_in_addresses_are_masked_in_every_form(
    variable: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert "canary" not in redacted(told)
    assert "bWU6Y2FuYXJ5" not in redacted(told)
    assert "***" in redacted(told)
