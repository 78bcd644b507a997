"""A new flow that works as generated: definition, a custom handler, a sample file, a test.

The author of the flow edits these files; nothing here is read again.
"""

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from marketdata_assets.flows.definition import IDENTIFIER, schema_text
from marketdata_assets.flows.errors import CannotWrite

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


def write(folder: Path, name: str) -> list[Path]:
    """Write a new flow into `folder / name`. Raises CannotWrite when it exists, or cannot be a flow's name."""
    if not re.match(IDENTIFIER, name):
        raise CannotWrite(name, "a name has small letters, digits and _, and begins with a letter")
    home = folder / name
    if home.exists():
        raise CannotWrite(name, f"{home} already exists; choose another name, or edit the existing flow")
    written = []
    for file, place in FILES.items():
        path = home / Template(place).substitute(name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(file, name), "utf-8")
        written.append(path)
    schema = folder / SCHEMA  # for editors; that of the version that wrote the last flow
    schema.write_text(schema_text(), "utf-8")
    return [*written, schema]
