"""Deep merge of two versions of a document, and the smallest change that turns the one into the other.

Pure values in and out: nothing here knows of alphas, files or MongoDB's client.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import is_
from typing import Any, NamedTuple

import msgspec

Document = dict[str, Any]
Fields = Mapping[str, Any]
"""The paths of `MergePolicy.replace` below one place: a key leads to None (replace here) or further down."""


@dataclass(frozen=True)
class MergePolicy:
    """What a merge may lose. By default nothing: only a scalar is replaced, and only by a value that is not null.

    `replace` names dotted paths (`is.checks`, `tags`) whose newer value replaces the old one, even by null or nothing.
    `keys` identify the elements of a list of objects; the first key that both sides have counts.
    """

    replace: frozenset[str] = frozenset()
    keys: tuple[str, ...] = ("id", "name")

    @cached_property
    def fields(self) -> Fields:
        """`replace` as a tree, walked along with the documents."""
        tree: dict[str, Any] = {}
        for path in sorted(self.replace, reverse=True):  # a path comes after those below it, and covers them
            *parents, last = path.split(".")
            place = tree
            for name in parents:
                place = place.setdefault(name, {})
            place[last] = None
        return tree


DEFAULT = MergePolicy()


class Merged(NamedTuple):
    """The merged document, and the changes to the old one: dotted paths to values.

    `changes` is empty when nothing changes, and None when no set of paths can express it: replace the document.
    """

    document: Document
    changes: Document | None


def merge(old: Document, new: Document, policy: MergePolicy = DEFAULT, *, late: bool = False) -> Merged:
    """Merge `new` into `old`; neither is changed, and the result shares their parts.

    `late` says that `new` is the older version, arriving late: it adds missing parts and overrides nothing.
    """
    merged, changes = _Merge(policy.keys, late).objects(old, new, policy.fields)
    return Merged(merged, changes)


_ABSENT = object()
_NO_KEYS = (type(None), dict, list)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Merge:
    keys: tuple[str, ...]
    late: bool

    def objects(self, old: Document, new: Document, fields: Fields) -> tuple[Document, Document | None]:
        """`old` itself when nothing changes; else a copy, and the changes relative to it."""
        merged = old
        changes: Document | None = {}
        for key, value in new.items():
            current = old.get(key, _ABSENT)
            if current is value or (current == value and _alike(current, value)):
                continue
            below: Document | None = None
            if current is _ABSENT:
                result = value
            elif key in fields and fields[key] is None:
                result = current if self.late else value
            elif type(current) is dict and type(value) is dict:
                result, below = self.objects(current, value, fields.get(key) or {})
            elif type(current) is list and type(value) is list:
                result = self.lists(current, value, fields.get(key) or {})
            else:
                result = self.choose(current, value)
            if result is current:
                continue
            if merged is old:
                merged = dict(old)
            merged[key] = result
            if changes is None or not key or "." in key or key[0] == "$":  # no dotted path may go through such a key
                changes = None
            elif below is None:
                changes[key] = result
            else:
                for path, leaf in below.items():
                    changes[f"{key}.{path}"] = leaf
        return merged, changes

    def lists(self, old: list[Any], new: list[Any], fields: Fields) -> list[Any]:
        """`old` itself when nothing changes."""
        if not new:
            return old
        if not old:
            return new
        shared = self._shared_keys(old, new)
        if not shared:
            return old if self.late else new
        if self.late:
            return _unless_same(old, self._beside(old, new, fields))
        merged = old
        for key in shared:
            merged = self._by_key(merged, new, key, fields)
        return _unless_same(old, merged)

    def _shared_keys(self, old: Sequence[Any], new: Sequence[Any]) -> list[str]:
        """The key that identifies elements. A second one where the merge by the first adds it to the old side.

        Without that second pass a repeated merge would reorder the elements.
        """
        if {*map(type, old), *map(type, new)} != {dict}:
            return []
        mine = [key for key in self.keys if any(_name(element.get(key)) is not None for element in new)]
        shared = [key for key in mine if any(_name(element.get(key)) is not None for element in old)]
        return list(dict.fromkeys([shared[0], mine[0]])) if shared else []

    def _by_key(self, old: Sequence[Document], new: Sequence[Document], key: str, fields: Fields) -> list[Document]:
        """Keyed elements in the old order, then the new ones, then those without the key, each as often as it was."""
        keyed: dict[Any, Document] = {}
        loose: list[Document] = []
        for element in old:
            name = _name(element.get(key))
            if name is None:
                loose.append(element)
            else:
                keyed[name] = self.objects(keyed[name], element, fields)[0] if name in keyed else element
        spare = list(loose)
        for element in new:
            name = _name(element.get(key))
            if name is not None:
                current = keyed.get(name)
                if current is None:
                    keyed[name] = element
                elif not (current == element and _alike(current, element)):
                    keyed[name] = self.objects(current, element, fields)[0]
                continue
            twin = next((place for place, other in enumerate(spare) if identical(other, element)), None)
            if twin is None:
                loose.append(element)
            else:
                del spare[twin]
        return [*keyed.values(), *loose]

    def _beside(self, newest: list[Any], older: Sequence[Document], fields: Fields) -> list[Any]:
        """The newest list in its order, completed by the fields and elements that only the older one has."""
        result = list(newest)
        for element in older:
            names = [(key, name) for key in self.keys if (name := _name(element.get(key))) is not None]
            matches = [at for at, other in enumerate(result) if any(_name(other.get(k)) == n for k, n in names)]
            richer = [self.objects(result[at], element, fields)[0] for at in matches]
            if any(identical(element, other) for other in result) or any(
                map(is_, richer, map(result.__getitem__, matches))
            ):
                continue
            if matches:
                result[matches[0]] = richer[0]
            else:
                result.append(element)
        return result

    def choose(self, current: Any, value: Any) -> Any:
        """One of two values that cannot be merged: the newer, unless it is empty and the other is an object or list."""
        winner, loser = (current, value) if self.late else (value, current)
        if (winner is None or winner in ([], {})) and (type(loser) is dict or (type(loser) is list and loser)):
            winner = loser
        return current if identical(current, winner) else winner


def identical(one: Any, other: Any) -> bool:
    """Whether two values are stored alike: 1, 1.0 and true differ, NaN equals itself, the order of keys is free."""
    kind = type(one)
    if one is other or (kind is float and one != one and type(other) is float and other != other):
        return True
    if one == other:
        return _alike(one, other)
    if kind is not type(other):
        return False
    if kind is dict:  # unequal, but perhaps only by a NaN
        return one.keys() == other.keys() and all(identical(value, other[key]) for key, value in one.items())
    return kind is list and len(one) == len(other) and all(map(identical, one, other))


def _alike(one: Any, other: Any) -> bool:
    """Whether two values that Python calls equal are of the same types throughout."""
    kind = type(one)
    if kind is str:
        return True
    if kind is dict or kind is list:
        text = _text(one)
        if text is not None and text == _text(other):
            return True
        if kind is list:
            return all(map(_alike, one, other))
        return all(_alike(value, other[key]) for key, value in one.items())
    if kind is float and one == 0:
        return type(other) is float and math.copysign(1, one) == math.copysign(1, other)
    return kind is type(other) or (_whole(one) and _whole(other))


def _text(value: Any) -> bytes | None:
    """JSON, which distinguishes 1, 1.0 and true; None for a value that JSON cannot express."""
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _whole(value: Any) -> bool:
    """Whether `value` is an integer; the driver has a type of its own for large ones."""
    return isinstance(value, int) and not isinstance(value, bool)


def _name(value: Any) -> Any:
    """A key that 1, 1.0 and true do not share; None for what is no key."""
    kind = type(value)
    if kind is str:
        return value
    return None if kind in _NO_KEYS else ("whole" if _whole(value) else kind, value)


def _unless_same(old: list[Any], merged: list[Any]) -> list[Any]:
    """`old` itself when `merged` has the same elements."""
    return old if len(old) == len(merged) and all(map(is_, old, merged)) else merged
