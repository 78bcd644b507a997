"""The shape of a flow's YAML as a JSON schema: for editors, and for Dagster's own check of a component's file.

It knows keys, types and what a value may be. What columns there are, and whether expressions and functions would run,
is known to `definition` and `checking`, which also say what to do.
"""

import json
from typing import Any

from marketdata_assets.flows.definition import FlowDefinition

Schema = dict[str, Any]

COMPONENT = "marketdata_assets.components.Flow"


def attributes() -> Schema:
    """The schema of what is below `attributes`."""
    schema = FlowDefinition.model_json_schema()
    schema["required"].remove("name")  # by default that of the folder
    schema["properties"]["partitions"]["anyOf"].append({"type": "null"})
    return schema


def text() -> str:
    """`file` as JSON."""
    return json.dumps(file(), indent=1, ensure_ascii=False) + "\n"


def file() -> Schema:
    """Of a whole `defs.yaml`."""
    inner = attributes()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A flow of marketdata-assets",
        "$defs": {**inner.pop("$defs"), "Flow": inner},
        "type": "object",
        "properties": {"type": {"const": COMPONENT}, "attributes": {"$ref": "#/$defs/Flow"}},
        "required": ["type", "attributes"],
        "additionalProperties": False,
    }
