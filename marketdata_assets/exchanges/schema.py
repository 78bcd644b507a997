"""The records for other programs: JSON Schema and Pydantic models, derived from the definitions in `records`.

What a record, its model and the schema accept and emit is the same JSON. Inside the project the records are used, which
are several times faster.
"""

from functools import cache
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, create_model

from marketdata_assets.exchanges.records import RECORDS, AnyRecord, Gap

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of any record or gap, discriminated by `type`."""
    return {"$schema": DRAFT, "title": "Market data", **msgspec.json.schema(AnyRecord | Gap)}


@cache
def models() -> dict[str, type[BaseModel]]:
    """The Pydantic model of each record, by its `type`. Like the records they are frozen and convert nothing."""
    by_type = {}
    about: dict[str, Any] = {"__config__": ConfigDict(frozen=True, strict=True), "__module__": __name__}
    records: tuple[type[msgspec.Struct], ...] = (*RECORDS, Gap)
    for record in records:
        tag = str(record.__struct_config__.tag)
        fields: dict[str, Any] = {"type": (Literal[tag], ...)}  # first, as in the JSON of a record
        for field in msgspec.structs.fields(record):
            fields[field.encode_name] = (field.type, ... if field.required else field.default)
        by_type[tag] = create_model(record.__name__, __doc__=record.__doc__, **about, **fields)
    return by_type
