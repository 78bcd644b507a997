"""A new flow that works as generated: definition, a custom handler, a sample file, a test.

The author of the flow edits these files; nothing here is read again.
"""

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from marketdata_assets.flows.definition import IDENTIFIER, schema_text
from marketdata_assets.flows.errors import FlowError

SCHEMA = "flow.schema.json"
FILES = {
    "defs.yaml": "defs.yaml",
    "handlers.py": "handlers.py",
    "test_flow.py": "test_$name.py",
    "prices.csv": "sample/prices.csv",
}
"""Where in the folder of a flow each file of `template/` goes."""


def text(file: str, name: str) -> str:
    """A file of `template/` for the flow `name`."""
    template = files(__package__).joinpath("template", f"{file}.template").read_text("utf-8")
    return Template(template).substitute(name=name)


def write(folder: Path, name: str, definition: str | None = None) -> list[Path]:
    """Write a new flow into `folder / name`, of this definition alone if one is given.

    For editors, the schema of the version that writes it is beside. Raises FlowError when the flow exists, or cannot
    have this name.
    """
    if not re.match(IDENTIFIER, name):
        raise FlowError(f"no new flow {name!r}: a name has small letters, digits and _, and begins with a letter")
    home = folder / name
    if home.exists():
        raise FlowError(f"no new flow {name!r}: {home} already exists; choose another name, or edit the existing flow")
    texts = {home / "defs.yaml": definition} if definition is not None else {}
    for file, place in FILES.items() if definition is None else ():
        texts[home / Template(place).substitute(name=name)] = text(file, name)
    texts[folder / SCHEMA] = schema_text()
    for path, content in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    return [*texts]
