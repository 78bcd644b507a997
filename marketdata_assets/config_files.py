"""What files that people write keep to: no key twice, none that nobody reads, and secrets where only their owner looks.

What the keys mean is the domain's business; each makes its own error of the ValueError raised here.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML has it, ten times as fast."""


def parse(text: str) -> Any:
    """The content of a YAML text. ValueError when it is no YAML, or a key of it is there twice."""
    try:
        _check_twice(yaml.compose(text, LOADER))
        return yaml.load(text, LOADER)  # noqa: S506 - it is a safe one
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML ({' '.join(str(error).split())})") from error


def check_keys(section: Mapping[Any, Any], known: Iterable[str], path: str = "") -> None:
    """ValueError for the first key that is not known, with the nearest one that is; `path` is where the section is."""
    names = tuple(known)
    for key in section:
        if key not in names:
            near = get_close_matches(str(key), names, 1, 0)[0]
            where = f"{path}.{key}" if path else str(key)
            raise ValueError(f"unknown key {where!r}; did you mean {near!r}?")


def read_private(file: Path) -> bytes:
    """The content of a file of secrets. ValueError when others may read it, OSError when we may not."""
    with file.open("rb") as handle:
        mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode)
        if mode & 0o077:
            raise ValueError(f"others may read {file} (mode {mode:04o}), run: chmod 600 {file}")
        return handle.read()


def _check_twice(node: Any) -> None:
    """YAML takes the last of two equal keys without a word."""
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _check_twice(child)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            if key.value in seen:
                raise ValueError(f"line {key.start_mark.line + 1}: {key.value!r} is there twice; remove one")
            seen.add(key.value)
            _check_twice(child)


def lines(text: str) -> dict[tuple[str | int, ...], int]:
    """The line, from 1, of each key and list entry of a YAML text, by its path."""
    found: dict[tuple[str | int, ...], int] = {(): 1}
    root = yaml.compose(text, LOADER)
    if root is not None:
        _note_lines(root, (), found)
    return found


def _note_lines(node: Any, path: tuple[str | int, ...], found: dict[tuple[str | int, ...], int]) -> None:
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            found[*path, number] = child.start_mark.line + 1
            _note_lines(child, (*path, number), found)
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            found[*path, key.value] = key.start_mark.line + 1
            _note_lines(child, (*path, key.value), found)
