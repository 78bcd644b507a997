"""The flows that exist: a folder with a defs.yaml each, of the package and of the user. A bad file hides no other."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from marketdata_assets.config_files import InvalidConfigFile, naming_failures
from marketdata_assets.flows.definition import FlowDefinition, read

FILE = "defs.yaml"
SHIPPED = Path(__file__).parents[1] / "defs" / "flows"

Check = Callable[[FlowDefinition, Collection[str]], None]
"""Raises InvalidConfigFile for a flow that Dagster rejects, given the names that are taken."""


@dataclass(frozen=True)
class FlowFile:
    """A flow's file: its definition, or why it is invalid."""

    name: str
    file: Path
    flow: FlowDefinition | None
    error: InvalidConfigFile | None

    def map(self, change: Callable[[FlowDefinition], FlowDefinition]) -> "FlowFile":
        """The same file with another definition, where it has one."""
        return self if self.flow is None else replace(self, flow=change(self.flow))


def find(folder: Path, taken: Collection[str] = (), check: Check | None = None) -> list[FlowFile]:
    """The flows in `folder`, by name; with `check`, those that Dagster or a `taken` name rules out are invalid."""
    files: list[FlowFile] = []
    names = set(taken)
    for file in sorted(folder.glob(f"*/{FILE}")):
        try:
            with naming_failures(str(file)):
                flow = read(file)
                if check:
                    check(flow, names)
            entry = FlowFile(flow.name, file, flow, None)
        except InvalidConfigFile as error:
            entry = FlowFile(file.parent.name, file, None, error)
        names.add(entry.name)
        files.append(entry)
    return files


def shipped() -> list[FlowFile]:
    """The flows that come with the package."""
    return find(SHIPPED)
