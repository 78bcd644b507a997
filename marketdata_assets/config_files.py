"""Load the files that people write, YAML or JSON, into pydantic models, and report every problem of a file at once.

What the keys mean, and how sections depend on each other, belongs to the models of each domain.
"""

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from marketdata_assets.errors import TerminalError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML has it, ten times as fast."""

Location = tuple[str | int, ...]
"""Keys and list positions from the root of a file to a value."""

Model = TypeVar("Model")


class Section(BaseModel):
    """Base of every section: unknown keys and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Problem:
    """One problem: `line` counts from 1, and is None where the problem is in no line, as in an environment variable."""

    file: str
    line: int | None
    key: str
    cause: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.cause) if part)


class InvalidConfigFile(TerminalError):
    """A configuration file cannot be used. Each line of the message is a problem: file, line, key, cause and remedy."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass
class Document:
    """The values of a file and the line of each; `root` is where `data` is in the file. A `secret` shows no value."""

    file: str
    data: Any
    secret: bool = False
    root: Location = ()
    lines: dict[Location, int] = field(default_factory=lambda: {(): 1})
    duplicates: list[Problem] = field(default_factory=list)
    overrides: dict[Location, str] = field(default_factory=dict)

    def section(self, key: str) -> Self:
        """The part below a key of the root."""
        return replace(self, data=self.data[key], root=(*self.root, key))

    def override(self, location: Location, value: Any, variable: str) -> None:
        """Replace a value by that of an environment variable, which problems of this value then name."""
        section = self.data
        for key in location[:-1]:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                return  # an error of its own
        section[location[-1]] = value
        self.overrides[location] = variable

    def line(self, location: Iterable[str | int]) -> int:
        """The line of a value, or of the nearest section around it that the file has."""
        path = (*self.root, *location)
        while _key(path) not in self.lines:
            path = path[:-1]
        return self.lines[_key(path)]

    def problem(self, location: Location, cause: str) -> Problem:
        """A problem at a location: its line and key, or the variable that overrides it."""
        for length in range(len(location), 0, -1):
            if variable := self.overrides.get(location[:length]):
                return Problem(variable, None, "", cause)
        return Problem(self.file, self.line(location), ".".join(map(str, location)), cause)

    def check(self, problems: Iterable[tuple[Location, str]]) -> None:
        """Raise InvalidConfigFile with a line for each problem, if there are any."""
        if found := [*self.duplicates, *(self.problem(location, cause) for location, cause in problems)]:
            raise InvalidConfigFile(found)

    def validate(self, kind: type[Model]) -> Model:
        """The values as `kind`. Raises InvalidConfigFile with every problem."""
        try:
            result = TypeAdapter(kind).validate_python(self.data)
        except ValidationError as error:
            self.check(self._validation_problems(error, kind))
            raise
        self.check(())
        return result

    def _validation_problems(self, error: ValidationError, kind: Any) -> Iterator[tuple[Location, str]]:
        """One problem for each location: those of union members are joined; nested problems take precedence."""
        details: list[tuple[Location, dict[str, Any]]] = [
            (self._written(one["loc"], one["type"]), dict(one)) for one in error.errors(include_url=False)
        ]
        causes: dict[Location, list[str]] = {}
        for location, one in details:
            nested = any(other[: len(location)] == location != other for other, _ in details)
            if nested and len(one["loc"]) > len(location):
                continue
            cause = self._cause(one, _section_at(kind, location[:-1]), _section_at(kind, location))
            if cause not in causes.setdefault(location, []):
                causes[location].append(cause)
        for location, alternatives in causes.items():
            yield (
                location,
                " or ".join([*(cause.partition(", was ")[0] for cause in alternatives[:-1]), alternatives[-1]]),
            )

    def _written(self, location: Location, kind: str) -> Location:
        """A location of pydantic without what the file does not show: names of union members, and shorthand keys."""
        path: Location = ()
        section = self.data
        for number, part in enumerate(location):
            try:
                section = section[part]
            except (LookupError, TypeError):
                if kind != "missing" or number < len(location) - 1:
                    continue
            path = (*path, part)
        return path

    def _cause(self, error: dict[str, Any], around: Any, inside: Any) -> str:
        """What is wrong and what to write instead; `around` and `inside` are the sections of the key and below it."""
        kind, location, message = error["type"], error["loc"], str(error["msg"])
        if kind == "missing":
            return "is missing; add it"
        if kind == "extra_forbidden":
            return unknown_key(location[-1], around.model_fields)
        if location[-1:] == ("[key]",) and kind == "literal_error":
            return unknown_key(location[-2], re.findall("'([^']*)'", error["ctx"]["expected"]))
        if kind == "value_error":
            return message.removeprefix("Value error, ")
        if kind in ("model_type", "dict_type"):
            keys = f" {', '.join(inside.model_fields)}" if inside else ""
            message = f"expected a section with keys{keys}"
        was = "" if self.secret else f", was {error['input']!r}"
        message = message.removeprefix("Input ")
        return f"{message[0].lower()}{message[1:]}{was}"


def read(file: Path, secret: bool = False) -> Document:
    """Read a YAML file. Raises InvalidConfigFile, also when others may read a `secret` one."""
    return parse(_text(file, secret), str(file), secret)


def read_json(file: Path, secret: bool = False) -> Document:
    """Read a JSON file, see `read`."""
    return parse_json(_text(file, secret), str(file), secret)


def parse(text: str, file: str, secret: bool = False) -> Document:
    """Parse a YAML text; `file` names it in problems. Raises InvalidConfigFile."""
    try:
        loader = LOADER(text)
        node = loader.get_single_node()
        document = _annotated(Document(file, None, secret), node)
        document.data = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        cause = "not YAML" if secret else f"not YAML ({' '.join(str(error).split())})"
        problem = Problem(file, mark.line + 1 if mark else None, "", cause)
        raise InvalidConfigFile([problem]) from (None if secret else error)
    return document


def parse_json(content: str, file: str, secret: bool = False) -> Document:
    """Parse a JSON text; `file` names it in problems. Raises InvalidConfigFile."""
    try:
        data = json.loads(content)
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        cause = "not JSON" if secret else f"not JSON ({error})"
        raise InvalidConfigFile([Problem(file, line, "", cause)]) from (None if secret else error)
    document = Document(file, data, secret)
    try:
        return _annotated(document, yaml.compose(content, LOADER))
    except yaml.YAMLError:  # the few JSON texts that are no YAML have no line numbers
        return document


def unknown_key(key: object, names: Iterable[str]) -> str:
    """The cause of an unknown key, with the nearest valid name."""
    near = get_close_matches(str(key), list(names), 1, 0)
    return "unknown key" + (f"; did you mean {near[0]!r}?" if near else "")


def invalid_variables(error: ValidationError) -> InvalidConfigFile:
    """The problems of settings that come from environment variables."""
    return InvalidConfigFile(
        Problem(str(one["loc"][0]).upper(), None, "", f"{one['msg'].removeprefix('Input ')}, was {one['input']!r}")
        for one in error.errors()
    )


def _text(file: Path, secret: bool) -> str:
    try:
        with file.open("rb") as handle:
            mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode)
            if secret and mode & 0o077:
                cause = f"others may read it (mode {mode:04o}), run: chmod 600 {file}"
                raise InvalidConfigFile([Problem(str(file), None, "", cause)])
            return handle.read().decode("utf-8-sig")
    except OSError as error:
        raise InvalidConfigFile([Problem(str(file), None, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError:
        raise InvalidConfigFile([Problem(str(file), None, "", "cannot be read: it is not UTF-8")]) from None


def _annotated(document: Document, node: Any) -> Document:
    """Note the line of each key and list entry, and the keys that are given twice (YAML silently takes the last)."""
    todo: list[tuple[Any, Location, frozenset[int]]] = [(node, (), frozenset())]
    while todo:
        node, path, parents = todo.pop()
        if id(node) in parents:
            continue  # an alias of something around it
        children: list[tuple[Any, Location]] = []
        if isinstance(node, yaml.SequenceNode):
            children = [(child, (*path, str(number))) for number, child in enumerate(node.value)]
            document.lines |= {location: child.start_mark.line + 1 for child, location in children}
        elif isinstance(node, yaml.MappingNode):
            children = list(_noted_keys(document, node, path))
        todo += [(child, location, parents | {id(node)}) for child, location in children]
    return document


def _noted_keys(document: Document, node: Any, path: Location) -> Iterator[tuple[Any, Location]]:
    seen: set[str] = set()
    for key, child in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue  # which Python cannot hold, so that constructing it fails
        location, line = (*path, key.value), key.start_mark.line + 1
        if key.value in seen:
            first = document.lines[location]
            cause = f"is given twice, first in line {first}; remove one"
            document.duplicates.append(Problem(document.file, line, ".".join(map(str, location)), cause))
        else:
            seen.add(key.value)
            document.lines[location] = line
        yield child, location


def _key(location: Location) -> Location:
    return tuple(map(str, location))


def _section_at(kind: Any, location: Location) -> Any:
    """The model of the section at `location` below `kind`; None where there is none."""
    section = _section_in(kind)
    for part in location:
        if section is not None and part in section.model_fields:
            section = _section_in(section.model_fields[part].annotation)
    return section


def _section_in(annotation: Any) -> Any:
    """The model that an annotation such as `list[Model] | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    sections = (_section_in(inner) for inner in get_args(annotation))
    return next((section for section in sections if section is not None), None)
