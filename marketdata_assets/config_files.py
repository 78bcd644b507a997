"""Load the files that people write, YAML or JSON, into pydantic models, and report every problem of a file at once.

What the keys mean, and how sections depend on each other, belongs to the models of each domain.
"""

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from marketdata_assets.errors import TerminalError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML has it, ten times as fast."""

MAX_BYTES = 1024 * 1024
MAX_VALUES = 100_000
"""Of one file, those that its aliases repeat included."""
MAX_DEPTH = 100
MAX_DIGITS = 100
MAX_PROBLEMS = 200
OF_KEY = ("[key]",)
"""The end of a location of pydantic that is of a key, and not of its value."""
SHOWN = 300
"""Characters of a key or value in a message."""

NEAR = 0.5
"""How alike a key and a valid one are, for a suggestion; 1 is equal."""

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
        return Problem(self.file, self.line(location), ".".join(map(str, location))[:SHOWN], cause)

    def check(self, problems: Iterable[tuple[Location, str]]) -> None:
        """Raise InvalidConfigFile with a line for each problem, if there are any."""
        if found := [*self.duplicates, *(self.problem(location, cause) for location, cause in problems)]:
            raise InvalidConfigFile(found)

    def validate(self, kind: type[Model]) -> Model:
        """The values as `kind`. Raises InvalidConfigFile with every problem, up to MAX_PROBLEMS."""
        with naming_failures(self.file, self.secret):
            try:
                result = TypeAdapter(kind).validate_python(self.data)
            except ValidationError as error:
                self.check(self._validation_problems(error, kind))
                raise
            self.check(())
            return result

    def _validation_problems(self, error: ValidationError, kind: Any) -> Iterator[tuple[Location, str]]:
        """One problem for each location: those of union members are joined; nested problems take precedence, but not
        those of a key that is none."""
        details: list[tuple[Location, dict[str, Any]]] = [
            (self._written(one["loc"], one["type"]), dict(one))
            for one in error.errors(include_url=False)[:MAX_PROBLEMS]
        ]
        causes: dict[Location, list[str]] = {}
        unknown = [location for location, one in details if one["loc"][-1:] == OF_KEY]
        details = [
            (location, one)
            for location, one in details
            if one["loc"][-1:] == OF_KEY or not any(location[: len(key)] == key for key in unknown)
        ]
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
        if location[-1:] == OF_KEY and kind == "literal_error":
            return unknown_key(location[-2], re.findall("'([^']*)'", error["ctx"]["expected"]))
        if kind == "value_error":
            return message.removeprefix("Value error, ")
        if kind in ("model_type", "dict_type"):
            keys = f" {', '.join(inside.model_fields)}" if inside else ""
            message = f"expected a section with keys{keys}"
        was = "" if self.secret else f", was {_shortened(repr(error['input']))}"
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
    with naming_failures(file, secret):
        try:
            _check_size(text, file)
            loader = _Loader(text)
            node = loader.get_single_node()
            document = _annotated(Document(file, None, secret), node)
            document.data = None if node is None else loader.construct_document(node)
        except yaml.YAMLError as error:
            cause = "not YAML" if secret else f"not YAML ({_shortened(' '.join(str(error).split()))})"
            raise InvalidConfigFile([Problem(file, _line(error, text), "", cause)]) from (None if secret else error)
        return document


def parse_json(content: str, file: str, secret: bool = False) -> Document:
    """Parse a JSON text; `file` names it in problems. Raises InvalidConfigFile."""
    with naming_failures(file, secret):
        try:
            data = json.loads(content)
            json.dumps(data, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        except (ValueError, RecursionError) as error:
            line = error.lineno if isinstance(error, json.JSONDecodeError) else None
            cause = "not JSON" if secret else f"not JSON ({_shortened(str(error))})"
            raise InvalidConfigFile([Problem(file, line, "", cause)]) from (None if secret else error)
        document = Document(file, data, secret)
        try:
            _check_size(content, file)
            return _annotated(document, yaml.compose(content, LOADER))
        except yaml.YAMLError:  # the few JSON texts that are no YAML have no line numbers
            return document


@contextmanager
def naming_failures(file: str, secret: bool = False) -> Iterator[None]:
    """Turn whatever a person's file makes the code that reads it raise into InvalidConfigFile."""
    try:
        yield
    except InvalidConfigFile:
        raise
    except Exception as error:  # the border of what people write: parsers and validators raise errors of any class
        what = type(error).__name__ if secret else _shortened(f"{type(error).__name__}: {error}")
        cause = f"cannot be used ({what}); correct the file, or take out what was added last"
        raise InvalidConfigFile([Problem(file, None, "", cause)]) from (None if secret else error)


class _Loader(LOADER):  # type: ignore[misc, valid-type]
    """What PyYAML's constructors raise of any class, as for the day 2024-02-30, is an error with a line."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float", "timestamp") and len(node.value) > MAX_DIGITS:
            cause = f"a number of {len(node.value)} characters; the limit is {MAX_DIGITS}. Put quotes around a text"
            raise yaml.constructor.ConstructorError(None, None, cause, node.start_mark)
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            cause = f"{_shortened(repr(node.value), 40)} is no {kind}: {error}. Correct it, or put quotes around a text"
            raise yaml.constructor.ConstructorError(None, None, cause, node.start_mark) from error


def _check_size(text: str, file: str) -> None:
    """Raise InvalidConfigFile, before anything is built, for a text that is longer, deeper or larger than any file."""

    def problem(event: Any, cause: str) -> InvalidConfigFile:
        return InvalidConfigFile([Problem(file, event.start_mark.line + 1, "", cause)])

    anchors: dict[str, tuple[int, int]] = {}  # values and depth of what an alias repeats
    around: list[tuple[str | None, int]] = []
    depths = [0]  # of what is in each section around, and at last of a whole one
    values = 0
    for event in yaml.parse(text, LOADER):
        anchor = getattr(event, "anchor", None)
        before, depth = values, 0
        if isinstance(event, yaml.CollectionEndEvent):
            (anchor, before), depth = around.pop(), depths.pop() + 1
        elif isinstance(event, yaml.CollectionStartEvent):
            around.append((anchor, before))
            depths.append(0)
            values, anchor = values + 1, None
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == one for one, _ in around):
                raise problem(event, f"*{anchor} repeats what it is inside of; write the value out")
            size, depth = anchors.get(str(anchor), (1, 0))
            values, anchor = values + size, None
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if "\0" in event.value:
                raise problem(event, "a text with the character NUL; take it out")
        if anchor is not None:
            anchors[anchor] = values - before, depth
        depths[-1] = max(depths[-1], depth)
        if len(around) + depth > MAX_DEPTH:
            raise problem(event, f"sections within more than {MAX_DEPTH} sections; write it flat")
        if values > MAX_VALUES:
            cause = f"more than {MAX_VALUES} values, those that aliases repeat included; divide the file"
            raise problem(event, cause)


def _line(error: Any, text: str) -> int | None:
    """The line of what is no YAML; libyaml has the position alone of a character that no YAML has."""
    if mark := getattr(error, "problem_mark", None):
        return int(mark.line) + 1
    position = getattr(error, "position", None)
    return None if position is None else text.encode()[:position].count(b"\n") + 1


def _shortened(text: str, shown: int = SHOWN) -> str:
    return text if len(text) <= shown else f"{text[:shown]}... ({len(text)} characters)"


def unknown_key(key: object, names: Iterable[str]) -> str:
    """The cause of an unknown key, with the nearest valid name, or all of them where none is near."""
    key, known = str(key)[:SHOWN], list(names)
    near = get_close_matches(key, known, 1, NEAR) or [name for name in known if name.startswith(key)]
    shown = f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(known)}"
    return f"unknown key; {shown}" if known else "unknown key"


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
            content = handle.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            cause = f"cannot be read: it has more than {MAX_BYTES // 1024} KB; divide it"
            raise InvalidConfigFile([Problem(str(file), None, "", cause)])
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InvalidConfigFile([Problem(str(file), None, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError:
        raise InvalidConfigFile(
            [Problem(str(file), None, "", "cannot be read: it is not UTF-8; save it as UTF-8")]
        ) from None


def _annotated(document: Document, node: Any) -> Document:
    """Note the line of each key and list entry, and the keys that are given twice (YAML silently takes the last)."""
    todo: list[tuple[Any, Location]] = [(node, ())]
    while todo:
        node, path = todo.pop()
        if isinstance(node, yaml.SequenceNode):
            children = [(child, (*path, str(number))) for number, child in enumerate(node.value)]
            document.lines |= {location: child.start_mark.line + 1 for child, location in children}
            todo += children
        elif isinstance(node, yaml.MappingNode):
            todo += _noted_keys(document, node, path)
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
