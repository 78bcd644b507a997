"""What a flow's rows were made by: one text that changes when they could."""

import hashlib
import json

from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.handlers.call import source
from marketdata_assets.flows.steps import Call

LIBRARY = "flows-1"
MAKES_ROWS = {"loader", "handlers", "target", "partitions", "quality"}
MAKES_NONE = {"loader": {"folder"}, "partitions": {"since"}}


def code_version(flow: FlowDefinition) -> str:
    """Of this library, the flow's loader, handlers and target, and the modules of the functions it calls.

    Where the files lie, and since when there are partitions, makes no row.
    """
    declared = flow.model_dump(mode="json", include=MAKES_ROWS, exclude=MAKES_NONE)
    text = json.dumps(declared, sort_keys=True, default=str, ensure_ascii=False)
    sources = [source(step.config.function, flow.file) for step in flow.handlers if isinstance(step.config, Call)]
    digest = hashlib.blake2b(digest_size=8)
    for part in (text, *sources):
        digest.update(part.encode() + b"\0")
    return f"{LIBRARY}:{digest.hexdigest()}"
