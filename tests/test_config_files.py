"""Configuration files: all problems of a file are reported at once, with file, line, key, value and nearest name."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets import config_files
from marketdata_assets.alphas import accounts
from marketdata_assets.collector import config, servers
from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.flows import definition
from marketdata_assets.ticks import providers_file
from tests.flows.flow_files import DAILY

ACCOUNTS = """[
  {"user_key": "lk", "description": "first", "enabled": false},
  {"key": "a.b"}
]"""
TEXTS = {
    "collector": config.shipped(),
    "providers": files("marketdata_assets.ticks").joinpath("providers.yaml").read_text(),
    "flow": DAILY,
    "accounts": ACCOUNTS,
    "secrets": "nats_url: nats://canary\ntoken: canary\n",
}
READERS: dict[str, Callable[[Path], object]] = {
    "collector": config.read,
    "providers": providers_file.read,
    "flow": definition.read,
    "accounts": accounts.read,
    "secrets": servers.read_secrets,
}
CASES = {
    "collector": [
        ("http:\n", "htpp:\n", "htpp: unknown key; did you mean 'http'?"),
        ("  ttl_seconds: 3600", "  ttl: 3600", "redis.ttl: unknown key; did you mean 'ttl_seconds'?"),
        ("log_level: info", "clickhouse_direct_write: true", "a key of the earlier collector, now clickhouse.direct_write"),  # noqa: E501
        ("  okx:", "  oxk:", "exchanges.oxk: unknown key; did you mean 'okx'?"),
        ("      spot:\n", "      sopt:\n", "exchanges.binance.markets.sopt: unknown key; did you mean 'spot'?"),
        ("kline_intervals:", "kline_interval:", "exchanges.binance.markets.spot.kline_interval: unknown key; did you mean 'kline_intervals'?"),  # noqa: E501
        ("silence_seconds: {}", "silence_seconds: {trads: 9}", "connections.silence_seconds.trads: unknown key; did you mean 'trade'?"),  # noqa: E501
        ("symbols: [BTCUSDT, ETHUSDT]", "symbols: []", "exchanges.binance.markets.spot.symbols: list should have at least 1 item"),  # noqa: E501
        ("symbols: [BTCUSDT, ETHUSDT]", "symbols: [BTCUSDT, BTCUSDT]", "BTCUSDT is given twice"),
        ("[trade, orderbook, kline, ticker, instrument_state]", "[trades]", "data_types.0: should be 'trade'"),
        ("ws_url: null", "ws_url: ws://example.org", "ws_url: must be wss://host, or ws://127.0.0.1:port"),
        ("ws_url: null", "ws_url: wss://me:secret@example.org", "ws_url: must be wss://host"),
        ("base_url: null", "base_url: http://example.org", "base_url: must be https://host"),
        ("port: 8080", "port: '8080'", "http.port: should be a valid integer, was '8080'"),
        ("cache: false", "cache: 0", "redis.cache: should be a valid boolean, was 0"),
        ("enabled: auto", "enabled: perhaps", "jetstream.enabled: should be a valid boolean or should be 'auto', was 'perhaps'"),  # noqa: E501
        ("queue_share: 0.8", "queue_share: 1.5", "health.queue_share: should be less than or equal to 1, was 1.5"),
        ("shutdown_seconds: 30.0", "shutdown_seconds: .inf", "shutdown_seconds: should be a finite number, was inf"),
        ("stream: MARKET", "stream: 'MARKET.>'", "jetstream.stream: string should match"),
    ],
    "providers": [
        ("tushare:", "tushaer:", "tushaer: unknown key; did you mean 'tushare'?"),
        ("requests_per_hour: 10000", "requests_per_hr: 10000", "tushare.rate_limits.requests_per_hr: unknown key; did you mean 'requests_per_hour'?"),  # noqa: E501
        ("backoff: 2.0", "back_off: 2.0", "tushare.network.back_off: unknown key; did you mean 'backoff'?"),
        ("timeout: 30", "timeout: 0", "tushare.network.timeout: should be greater than 0, was 0"),
        ("max_retries: 3", "max_retries: -1", "tushare.network.max_retries: should be greater than or equal to 0, was -1"),  # noqa: E501
        ("priority: 1", "priority: high", "tushare.priority: should be a valid integer, was 'high'"),
        ("enabled: true", "enabled: 1", "tushare.enabled: should be a valid boolean, was 1"),
        ("[tick_data, factors]", "[order_book]", "tushare.supports: tushare has no order_book; it has factors, tick_data"),  # noqa: E501
        ("[tick_data, order_book]", "[ticks]", "files.supports.0: should be 'tick_data', 'order_book' or 'factors', was 'ticks'"),  # noqa: E501
        ("Asia/Shanghai", "Asia/Peking", "tushare.session.timezone: timezone 'Asia/Peking' is not known"),
        ("09:30-11:30", "11:30-09:30", "must be spans such as 09:30-11:30"),
        ("09:30-11:30", "morning", "'morning' is no span such as 09:30-11:30"),
        ("min_price: 0.01", "min_price: 20000", "tushare.quality: min_price 20000.0 must be below max_price 10000.0"),
        ("max_return: 0.31", "max_return: .nan", "tushare.quality.max_return: should be a finite number, was nan"),
        ("first: []", "frist: []", "queue.frist: unknown key; did you mean 'first'?"),
        ("first: []", "first: [600000.SH, 600000.SH]", "queue.first: 600000.SH is given twice"),
        ("first: []", "first: [sh600000]", "queue.first: 'sh600000' is no symbol such as 600000.SH"),
    ],
    "flow": [
        ('close: "numeric(16,4)"}\nhan', 'close: numric}\nhan', "loader.types.close: unknown type 'numric'"),
        ('close: "numeric(16,4)"}\nhan', "close: numeric(16,4)}\nhan", "loader.types.close: 'numeric(16': inside { }"),
        ("{trade_date: date,", "{trade_dat: date,", "loader.types.trade_dat: no column of loader.columns"),
        ("交易日期: trade_date", "交易日期: code", "loader.columns.交易日期: 'code' is the name of two columns"),
        ("gb18030", "gb1803", "loader.encoding: unknown encoding 'gb1803'"),
        ("folder: daily", "folder: ../daily", "loader.folder: must be a folder below"),
        ("skip_lines: 1", "skip_lines: one", "loader.skip_lines: should be a valid integer, was 'one'"),
        ("- sort", "- sortt", "handlers.1.sortt: unknown key; did you mean 'sort'"),
        ("- sort: [code, trade_date]", "- sort:", "handlers.1: sort has no keys"),
        ("- sort: [code, trade_date]", "- {sort: code, select: code}", "handlers.1: one handler for each entry"),
        ("windows: [5,", "windows: [0,", "handlers.2.moving_average.windows.0: should be greater than 0, was 0"),
        (".mine.add", "add", "handlers.3.call.function: 'add' is no dotted path"),
        ("table: prices", "table: Prices", "target.table: string should match pattern"),
        ("key: [code,", "key: [cod,", "target.key.0: 'cod' is no column of the target; did you mean 'code'"),
        ("month: trade_date", "month: code", "partitions.month: 'code' is text; it must be date"),
        ("{month: trade_date}", "moth", "partitions: 'moth' is none of: none, file, {month: COLUMN}"),
        ("trade_date}\n", "trade_date, since: 1985-13}\n", "partitions.since: '1985-13' is no month from 1700 on"),
        ("{month: trade_date}", "{mont: trade_date}", "partitions.mont: unknown key; did you mean 'month'"),
        ("partitions: {month: trade_date}", "schedule: daily", "schedule: 'daily' is no cron line"),
        ("partitions: {month: trade_date}", "timezone: Asia/Beijing", "timezone: unknown time zone"),
    ],
    "accounts": [
        ('{"key": "a.b"}', '"a.b"', "1: expected a section with keys user_key, key, description, enabled, fields, was 'a.b'"),  # noqa: E501
        ('"key"', '"user_kye"', "1.user_kye: unknown key; did you mean 'user_key'?"),
        ('"key": "a.b"', '"description": "x"', "1: user_key is missing"),
        ('"key": "a.b"', '"user_key": "a", "key": "a"', "1: user_key and key mean the same; give one"),
        *((f'"key": "{old}"', f'"key": {json.dumps(new)}', f"1.key: account name {new!r}") for old, new in (
            ("a.b", ""), ("a.b", "a/b"), ("a.b", "a\n"), ("a.b", 7), ("a.b", "."), ("a.b", ".."), ("a.b", "system.x")
        )),
        ("false", '"yes"', "0.enabled: should be a valid boolean, was 'yes'"),
        ('"first"', "null", "0.description: should be a valid string, was None"),
        ('"key": "a.b"', '"key": "lk"', "1: account 'lk' is listed twice; remove one"),
    ],
    "secrets": [
        ("token:", "tokn:", "tokn: unknown key; did you mean 'token'?"),
        ("token: canary", "token: [canary, 1]", "token: should be a valid string"),
        ("token: canary", "token: ''", "token: string should have at least 1 character"),
    ],
}  # fmt: skip
ELSEWHERE = [
    ("collector", "[trade, orderbook, kline, ticker, instrument_state]", "[trade, funding_rate]", "exchanges.binance.markets.spot.data_types: Binance spot has no funding_rate; use trade"),  # noqa: E501
    ("collector", "port: 8080", "port: 8080\n  port: 1", "http.port: is given twice, first in line"),
    ("providers", "  priority: 1\n", "", "tushare.priority: is missing; add it"),
    ("providers", "  priority: 1\n", "  priority: 1\n  priority: 2\n", "tushare.priority: is given twice"),
    ("providers", "  supports: [tick_data, order_book]", "  supports: [tick_data]\n  network: {timeout: 3}", "files.network: unknown key; the keys here are enabled, priority, "),  # noqa: E501
    ("providers", "{SH: SS, SZ: SZ}", "{SH: SZ, SZ: SZ}", "yahoo.symbol_mapping: two suffixes have the same name"),
    ("providers", "symbols: {}", "symbols: {000001.HK: 600000.SH}", "'600000.SH' is 000001.HK by its own line and 600000.SH"),  # noqa: E501
    ("flow", "key: [code, trade_date]", "mode: upsert", ":13: target.key: mode upsert needs a key"),
    ("flow", "key: [code, trade_date]", "key: [code]\n  hypertable: trade_date", ":16: target.hypertable: a hyper"),
    ("flow", "  folder: daily", "  folder: daily\n  folder: b", ":4: loader.folder: is given twice, first in line 3"),
    ("flow", "loader:", "lader:", ":1: loader: is missing; add it"),
    ("flow", "loader:", "lader:", ":2: lader: unknown key; did you mean 'loader'?"),
    *(("secrets", TEXTS["secrets"], text, "keys nats_url, clickhouse_url, redis_url, token") for text in ("", "- a\n")),
]  # fmt: skip


def problems(kind: str, folder: Path, text: str | bytes) -> InvalidConfigFile:
    file = folder / "my.file"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(0o600)
    with pytest.raises(InvalidConfigFile) as caught:
        READERS[kind](file)
    assert all(str(file) in str(problem) for problem in caught.value.problems)
    return caught.value


@pytest.mark.parametrize("kind", TEXTS)
def test_unchanged_file_is_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "my.file").write_text(TEXTS[kind])
    (tmp_path / "my.file").chmod(0o600)
    assert READERS[kind](tmp_path / "my.file")


@pytest.mark.parametrize(
    ("kind", "old", "new", "said"), [(kind, *case) for kind, cases in CASES.items() for case in cases]
)
def test_problem_has_the_changed_line_the_key_and_the_cause(
    kind: str, old: str, new: str, said: str, tmp_path: Path
) -> None:
    before = TEXTS[kind]
    assert old in before
    after = before.replace(old, new, 1)
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    line = next(number for number, (left, right) in enumerate(pairs, 1) if left != right)
    found = problems(kind, tmp_path, after).problems
    assert any(problem.line == line and said in str(problem) for problem in found)


@pytest.mark.parametrize(("kind", "old", "new", "said"), ELSEWHERE)
def test_problem_of_a_section_names_it(kind: str, old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in TEXTS[kind]
    assert said in str(problems(kind, tmp_path, TEXTS[kind].replace(old, new, 1)))


@pytest.mark.parametrize(
    ("kind", "changes", "keys"),
    [
        (
            "collector",
            {"port: 8080": "prot: 8080", "cache: false": "cache: 0", "  okx:": "  oxk:"},
            ["http.prot", "exchanges.oxk", "redis.cache"],
        ),
        (
            "providers",
            {"priority: 1": "priority: high\n  enabled: 1", "timeout: 30": "timeout: 0"},
            ["tushare.enabled", "tushare.priority", "tushare.network.timeout"],
        ),
        (
            "flow",
            {"gb18030": "gb1803", "- sort": "- sortt", "table: prices": "table: P"},
            ["loader.encoding", "handlers.1.sortt", "target.table"],
        ),
        ("accounts", {'"lk"': "7", "false": "1", '"key"': '"kye"'}, ["0.user_key", "0.enabled", "1.kye"]),
        ("secrets", {"nats_url": "nats", "token: canary": "token: 1"}, ["nats", "token"]),
    ],
)  # fmt: skip
def test_all_problems_of_a_file_are_reported_at_once(
    kind: str, changes: dict[str, str], keys: list[str], tmp_path: Path
) -> None:
    text = TEXTS[kind]
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    error = problems(kind, tmp_path, text)
    assert set(keys) <= {problem.key for problem in error.problems}
    assert [problem.line for problem in error.problems] == sorted(problem.line or 0 for problem in error.problems)
    assert str(error).count("\n") == len(error.problems) - 1


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("content", ["", "[1]", "3", "{", "a: [b", "a: &x [*x]", "? [a]\n: b", "\x01", b"\xff"])
def test_content_that_is_no_such_file_is_an_invalid_file(kind: str, content: str | bytes, tmp_path: Path) -> None:
    problems(kind, tmp_path, content)


def aliases(levels: int, entry: str = "[{}]", fold: int = 9) -> str:
    """A text of aliases of aliases, which stand for `fold` to the power of `levels` values."""
    lines = ["a0: &a0 " + entry.format(", ".join(["x"] * fold) if entry == "[{}]" else "{k: 1}")]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} " + entry.format(", ".join([f"*a{level - 1}"] * fold)))
    return "\n".join(lines)


HOSTILE: dict[str, tuple[str | bytes, int | None, str]] = {
    "a day that does not exist": ("b: 1\na: 2024-02-30", 2, "'2024-02-30' is no timestamp: day is out of range"),
    "a text tagged as a number": ('b: 1\na: !!int "abc"', 2, "'abc' is no int"),
    "a text tagged as a time": ('a: !!timestamp "x"', 1, "'x' is no timestamp"),
    "a text tagged as a list": ("a: !!omap 3", 1, "not YAML"),
    "an offset of four days": ("a: 2001-12-14t21:59:43.10-99:00", 1, "offset must be a timedelta"),
    "4301 digits": ("b: 1\na: " + "9" * 4301, 2, "a number of 4301 characters; the limit is 100"),
    "5000 digits of hex": ("a: 0x" + "f" * 5000, 1, "a number of 5002 characters"),
    "many parts of base 60": ("a: 1" + ":59" * 50_000, 1, "a number of 150001 characters"),
    "aliases of aliases": (aliases(9), 6, "more than 100000 values, those that aliases repeat included"),
    "merges of merges": (aliases(9, "{{<<: [{}]}}"), None, "more than 100000 values"),
    "an alias of what is around it": ("b: 1\na: &x [*x]", 2, "*x repeats what it is inside of"),
    "100,000 brackets": ("[" * 100_000 + "]" * 100_000, 1, "sections within more than 100 sections"),
    "deep sections": ("\n".join(" " * level + "k:" for level in range(1000)), 101, "more than 100 sections"),
    "depth by aliases": (
        "\n".join(f"a{n}: &a{n} {'[' * 60}*a{n - 1}{']' * 60}" if n else "a0: &a0 [1]" for n in range(9)),
        *(3, "more than 100 sections"),
    ),
    "many values": ("[" + "1," * 200_000 + "1]", 1, "more than 100000 values"),
    "a large file": ("# comment\n" * 200_000, None, "more than 1024 KB"),
    "a list as a key": ("b: 1\n? [a, b]\n: 1", 2, "unhashable key"),
    "a mapping as a key": ("? {a: b}\n: 1", 1, "unhashable key"),
    "a merge of a number": ("b: 1\n<<: [1]", 2, "not YAML"),
    "a tab before a key": ("a:\n\tb: 1", 2, "not YAML"),
    "NUL": ("b: 1\na: \0", 2, "not YAML"),
    "NUL that is written out": ('b: 1\na: "x\\0"', 2, "the character NUL"),
    "half a surrogate pair": ('b: 1\na: "\\ud800"', 2, "not YAML"),
    "UTF-16": ("a: 1".encode("utf-16"), None, "it is not UTF-8"),
    "UTF-16 without a mark": ("a: 1".encode("utf-16-le"), 1, "not YAML"),
    "an object of Python": ("b: 1\na: !!python/object/apply:os.system [id]", 2, "not YAML"),
    "two documents": ("a: 1\n---\na: 2", 2, "not YAML"),
    "another version": ("%YAML 9.9\n---\na: 1", 1, "not YAML"),
}


@pytest.mark.parametrize("kind", [kind for kind in TEXTS if kind != "accounts"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_an_invalid_file_with_its_line(kind: str, name: str, tmp_path: Path) -> None:
    text, line, cause = HOSTILE[name]
    error = problems(kind, tmp_path, text)
    assert line in (None, error.problems[0].line)
    assert cause in str(error) or (kind == "secrets" and "not YAML" in str(error))
    assert len(str(error)) < 1000


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 900 + "1" + "}" * 900, "[" + "9" * 4301 + "]",
             '["\\ud800"]', '["\\u0000"]', "[1" + ",1" * 300_000 + "]", "[NaN]", "[1e999]", "\ufeff\ufeff[]"]
)  # fmt: skip
def test_hostile_json_is_an_invalid_file(text: str, tmp_path: Path) -> None:
    assert len(str(problems("accounts", tmp_path, text))) < 1000


def test_many_problems_and_long_values_make_a_message_of_a_page(tmp_path: Path) -> None:
    text = TEXTS["flow"] + "owners: [" + "1, " * 50_000 + "1]\n" + f"description: [{'x' * 100_000}]\n"
    assert len(str(problems("flow", tmp_path, text))) < 100_000


@pytest.mark.parametrize("text", [aliases(4, fold=5), "a: 2024-02-29\nb: 0x1f\nc: 1:30\nd: 1e3\ne: ~\n"])
def test_what_yaml_allows_is_read(text: str) -> None:
    assert config_files.parse(text, "f").data


@pytest.mark.parametrize(
    "text", ["exchanges: {}", "log_level: info", "exchanges: 3", "http: null", "exchanges: {okx: 1}"]
)
def test_collector_file_without_its_sections_is_invalid(text: str, tmp_path: Path) -> None:
    problems("collector", tmp_path, text)


@pytest.mark.parametrize("kind", [kind for kind in TEXTS if kind != "accounts"])
def test_missing_file_is_reported(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigFile, match=r"none\.yaml: cannot be read: No such file"):
        READERS[kind](tmp_path / "none.yaml")


@pytest.mark.parametrize("kind", TEXTS)
def test_folder_in_the_place_of_the_file_is_reported(kind: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(InvalidConfigFile, match="cannot be read"):
        READERS[kind](tmp_path)


@pytest.mark.parametrize(
    "text", ["tokn: canary\n", "token: [canary\n", "token: [canary]\n", "canary\n", "token: canary\ntoken: canary\n"]
)
def test_secret_file_shows_no_value(text: str, tmp_path: Path) -> None:
    error = problems("secrets", tmp_path, text)
    assert "canary" not in str(error)
    assert error.__cause__ is None or "canary" not in str(error.__cause__)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_secret_file_that_others_may_read_is_rejected_with_the_command(mode: int, tmp_path: Path) -> None:
    file = tmp_path / "secrets.yaml"
    file.write_text("token: canary\n")
    file.chmod(mode)
    with pytest.raises(InvalidConfigFile, match=f"mode {mode:04o}.*chmod 600 {file}"):
        servers.read_secrets(file)


def test_component_file_is_read_below_its_attributes(tmp_path: Path) -> None:
    folder = tmp_path / "daily_prices"
    folder.mkdir()
    body = "".join(f"  {line}\n" for line in DAILY.replace("encoding:", "encodin:").splitlines())
    (folder / "defs.yaml").write_text(f"type: some.Flow\nattributes:\n{body}")
    with pytest.raises(InvalidConfigFile, match=r"defs\.yaml:6: loader\.encodin: unknown key; did you mean 'encoding'"):
        definition.read(folder / "defs.yaml")
    (folder / "defs.yaml").write_text(f"type: some.Flow\nattributes:\n{body.replace('encodin:', 'encoding:')}")
    assert definition.read(folder / "defs.yaml").name == "daily_prices"


def test_yaml_merge_keys_are_no_duplicates() -> None:
    text = "base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  b: 3\n"
    document = config_files.parse(text, "f")
    document.check(())
    data: dict[str, Any] = document.data
    assert data["other"] == {"a": 1, "b": 3}
    assert document.line(("other", "b")) == 4


def test_json_that_is_no_yaml_is_read_without_lines(tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    file.write_text('[\n\t{"user_key":\t"\\ud83d\\ude00", "enabled":true}]')
    with pytest.raises(InvalidConfigFile, match=r"0\.user_key: account name '😀'"):
        accounts.read(file)
