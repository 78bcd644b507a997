"""A flow's YAML as frozen values, and its JSON schema, which takes and rejects what we do, at the same lines."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from marketdata_assets import config_files
from marketdata_assets.components import Flow
from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.defs import flows as shipped
from marketdata_assets.flows import scaffold
from marketdata_assets.flows.definition import FlowDefinition, attributes_schema, parse, read, schema_text
from tests.flows.flow_files import DAILY

NEW = scaffold.text("defs.yaml", "closes")
SHIPPED = sorted(Path(shipped.__file__).parent.glob("*/defs.yaml"))


def refused(text: str) -> set[int]:
    """The lines at which the schema has something against a text."""
    document = config_files.parse(text, "defs.yaml")
    errors = Draft202012Validator(json.loads(schema_text())).iter_errors(document.data)
    return {document.line(place) for error in errors for place in places(error)}


def places(error: Any) -> list[tuple[str | int, ...]]:
    """Where an error is; that of an unknown key is at the key."""
    at = tuple(error.absolute_path)
    if error.validator != "additionalProperties":
        return [at]
    return [(*at, key) for key in error.instance if key not in error.schema.get("properties", {})]


def complained(text: str) -> set[int]:
    with pytest.raises(InvalidConfigFile) as caught:
        parse(text, "defs.yaml")
    return {problem.line or 0 for problem in caught.value.problems}


@pytest.mark.parametrize("text", [NEW, *(file.read_text("utf-8") for file in SHIPPED)])
def test_flows_that_are_right_pass(text: str) -> None:
    Draft202012Validator.check_schema(json.loads(schema_text()))
    assert refused(text) == set()
    assert parse(text).target.key


@pytest.mark.parametrize(
    ("right", "other"),
    [
        ('glob: "**/*.csv"', "glob: ['*.csv', '*.gz']"),
        ("sort: [symbol, day]", "sort: symbol"),
        ("sort: [symbol, day]", "sort: {by: [symbol, day], descending: true}"),
        ("partitions: none", "partitions: {month: day, since: 1962-01}"),
        ("partitions: none", "partitions: null"),
        ("schedule: null", "schedule: '0 18 * * 1-5'"),
        ("close: numeric(16,4)", "close: 'numeric (16, 4)'"),
        ("mode: upsert", "mode: upsert\n    hypertable: day"),
        ("- sort:", "- flag: {column: big, when: close > 9}\n    - sort:"),
        ("windows: [5], group_by: symbol", "windows: [5, 20], group_by: [symbol], order_by: day"),
    ],
)
def test_what_we_read_is_taken(right: str, other: str) -> None:
    assert right in NEW
    text = NEW.replace(right, other)
    parse(text)
    assert refused(text) == set()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("skip_lines: 0", "skip_line: 0"),
        ("skip_lines: 0", "skip_lines: many"),
        ("day: date", "day: dat"),
        ("close: numeric(16,4)", "close: numeric(16)4"),
        ('delimiter: ","', 'delimiter: ""'),
        ("- sort: [symbol, day]", "- sorted: [symbol, day]"),
        ("- sort: [symbol, day]", "- sort:"),
        ("- sort: [symbol, day]", "- {sort: symbol, select: symbol}"),
        ("close above 0: close > 0", "close above 0: 1"),
        ("windows: [5]", "windows: [0]"),
        ("windows: [5]", "window: 5, windows: [5]"),
        (".handlers.mark_jumps", "mark_jumps"),
        ("table: closes", "table: My-Closes"),
        ("mode: upsert", "mode: upsrt"),
        ("partitions: none", "partitions: {mnth: day, month: day}"),
        ("partitions: none", "partitions: moth"),
        ("schedule: null", "schedule: daily"),
        ("sensor: true", "sensor: maybe"),
    ],
)
def test_what_we_reject_is_rejected_at_the_same_line(right: str, wrong: str) -> None:
    text = NEW.replace("encoding: utf-8", 'encoding: utf-8\n    delimiter: ","')
    assert right in text
    text = text.replace(right, wrong)
    assert refused(text) == complained(text) != set()


def test_the_component_has_it() -> None:
    assert Flow.get_model_cls().model_json_schema() == attributes_schema()


def test_a_whole_flow_is_read_and_goes_to_another_process(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(DAILY)
    flow = read(file)
    assert (flow.name, flow.dataset, flow.file) == ("prices", "flow:prices", file)
    assert [step.name for step in flow.handlers] == ["drop_invalid", "sort", "moving_average", "call"]
    assert [step.config.whole for step in flow.handlers] == [False, True, True, True]
    assert flow.target.columns["close"].sql == "numeric(16,4)"
    again: FlowDefinition = pickle.loads(pickle.dumps(flow))
    assert again == flow
    assert again.file == file
