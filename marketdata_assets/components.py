"""Component types that a defs.yaml names.

What a flow becomes in Dagster is in `defs.flows.build`; what its YAML may say in `flows.definition`.
"""

from typing import Any, Self

import dagster as dg
from pydantic import BaseModel, ConfigDict

from marketdata_assets.dagster_internals import YamlDecl
from marketdata_assets.defs.flows import build
from marketdata_assets.flows import definition
from marketdata_assets.flows.definition import FlowDefinition


class _Attributes(BaseModel):
    """Takes everything: `flows.definition` reads the file itself, and names file, line, field and fix.

    Its schema is that of a flow, for editors and for `dg check yaml`.
    """

    model_config = ConfigDict(extra="allow")

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        return definition.attributes_schema()


class Flow(dg.Component):
    """Files of CSV through handlers, in order, into one Postgres table: an asset with checks, sensor and schedule."""

    def __init__(self, flow: FlowDefinition) -> None:
        self.flow = flow

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return _Attributes

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:
        """Read the flow in the component's file. Raises InvalidConfigFile."""
        declared = context.component_decl
        assert isinstance(declared, YamlDecl)
        file = context.path if context.path.is_file() else context.path / "defs.yaml"
        return cls(definition.read(file))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return build.definitions(self.flow)
