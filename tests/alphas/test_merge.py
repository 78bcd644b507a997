"""The laws of the merge, its worked examples, and the change that it says applied to a real server."""

import copy
import datetime as dt
import uuid
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import ReplaceOne, UpdateOne
from pymongo.database import Database
from pymongo.errors import PyMongoError

from marketdata_assets.alphas.merge import DEFAULT, Document, MergePolicy, identical, merge
from marketdata_assets.stores import mongo

NAN = float("nan")

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_infinity=False)
    | st.text(max_size=4)
    | st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2030, 1, 1), timezones=st.just(dt.UTC)).map(
        lambda moment: moment.replace(microsecond=0)
    )
)
names = st.sampled_from(["id", "name", "a", "b", "c", "2024", "a.b", "$x", ""])


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """No lambda: Hypothesis parses the source of one while it draws, where CPython 3.11 may fail with a SystemError."""
    return st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4)


values = st.recursive(scalars, nested, max_leaves=12)
safe_names = st.sampled_from(["type", "is", "settings", "tags", "a", "b", "c"])
documents = st.dictionaries(safe_names, values, max_size=5)


def elements(**fields: Any) -> st.SearchStrategy[list[Document]]:
    shape = st.fixed_dictionaries({}, optional={key: st.sampled_from(options) for key, options in fields.items()})
    return st.lists(shape, max_size=4)


lists_of_objects = elements(id=[1, 2, True, 1.0, None], name=["x", "y"], v=[1, 2, None, [], {}])


def told_apart(elements: list[Document]) -> bool:
    """Whether no two elements share an id or a name; those that do are one element to a merge."""
    for key in ("id", "name"):
        found = [(type(one[key]), one[key]) for one in elements if not isinstance(one.get(key), dict | list | None)]
        if len(found) != len(set(found)):
            return False
    return True


def merged(old: Any, new: Any, policy: MergePolicy = DEFAULT, late: bool = False) -> Any:
    """Merge two values as the same field of two documents."""
    return merge({"field": old}, {"field": new}, policy, late=late).document["field"]


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ({"region": "USA", "delay": 0}, {"region": "ASI", "decay": 5}, {"region": "ASI", "delay": 0, "decay": 5}),
        (
            [{"name": "LOW_SHARPE", "value": 1.0}],
            [{"name": "LOW_SHARPE", "value": 2.5}, {"name": "NEW_CHECK", "value": 1.0}],
            [{"name": "LOW_SHARPE", "value": 2.5}, {"name": "NEW_CHECK", "value": 1.0}],
        ),
        (["a"], ["b"], ["b"]),
        (["a"], [], ["a"]),
        ([], ["a"], ["a"]),
        ({"sharpe": 1}, None, {"sharpe": 1}),
        ({"sharpe": 1}, [], {"sharpe": 1}),
        ({"sharpe": 1}, {}, {"sharpe": 1}),
        ([1], None, [1]),
        ([1], {}, [1]),
        ([], None, None),
        ("RED", None, None),
        (None, {"sharpe": 1}, {"sharpe": 1}),
        (1, {"sharpe": 1}, {"sharpe": 1}),
        (1, True, True),
        (1, 1.0, 1.0),
        ([{"v": 1}], [{"v": 2}], [{"v": 2}]),
        ([1, {"id": 1}], [{"id": 1}], [{"id": 1}]),
        ([{"id": 1}, {"v": 9}], [{"id": 1, "a": 2}], [{"id": 1, "a": 2}, {"v": 9}]),
        ([{"v": 9}, {"id": 1}], [{"id": 1, "a": 2}], [{"id": 1, "a": 2}, {"v": 9}]),
        ([{"id": 1, "name": "n"}], [{"name": "n", "v": 2}], [{"id": 1, "name": "n", "v": 2}]),
        ([{"id": 1, "a": 1}], [{"id": True, "a": 2}], [{"id": 1, "a": 1}, {"id": True, "a": 2}]),
        ([{"id": 1}, {"v": 9}], [{"id": 1}, {"v": 9}, {"v": 9}], [{"id": 1}, {"v": 9}, {"v": 9}]),
    ],
)
def test_worked_examples(old: Any, new: Any, wanted: Any) -> None:
    assert identical(merged(old, new), wanted)


@pytest.mark.parametrize(
    ("old", "new"), [(["a"], []), ({"sharpe": 1}, None), ([{"id": 1}, {"id": 2}], [{"id": 1}]), ({"a": 1}, {"b": 1})]
)
def test_a_replaced_field_takes_the_new_value_whole(old: Any, new: Any) -> None:
    assert identical(merged(old, new, MergePolicy(frozenset({"field"}))), new)
    assert not identical(merged(old, new), new)


def test_a_policy_names_a_path_below() -> None:
    policy = MergePolicy(frozenset({"is.checks", "is.checks.limits", "tags"}))
    old = {"is": {"checks": [{"name": "A"}], "sharpe": 1}, "tags": ["x"]}
    new = {"is": {"checks": []}, "tags": []}
    assert merge(old, new, policy).document == {"is": {"checks": [], "sharpe": 1}, "tags": []}


@given(documents, documents)
def test_merging_again_changes_nothing(old: Document, new: Document) -> None:
    once = merge(old, new).document
    again = merge(once, new)
    assert again.document is once
    assert again.changes == {}


@given(lists_of_objects, lists_of_objects)
def test_merging_lists_again_changes_nothing(old: list[Document], new: list[Document]) -> None:
    once = merged(old, new)
    assert identical(merged(once, new), once)


def told_apart_throughout(value: Any) -> bool:
    """Whether that holds of every list of objects in `value`."""
    if isinstance(value, dict):
        return all(map(told_apart_throughout, value.values()))
    if isinstance(value, list):
        objects = all(isinstance(one, dict) for one in value)
        return (not objects or told_apart(value)) and all(map(told_apart_throughout, value))
    return True


@given(documents.filter(told_apart_throughout), documents.filter(told_apart_throughout))
def test_an_older_version_late_changes_nothing_newer(old: Document, new: Document) -> None:
    newest = merge(old, new).document
    assert merge(newest, old, late=True).document is newest


@given(lists_of_objects.filter(told_apart), lists_of_objects.filter(told_apart))
def test_an_older_list_late_changes_nothing_newer(old: list[Document], new: list[Document]) -> None:
    newest = merged(old, new)
    assert identical(merged(newest, old, late=True), newest)


@given(documents, documents, st.booleans())
def test_no_key_of_the_old_document_disappears(old: Document, new: Document, late: bool) -> None:
    assert_kept(old, merge(old, new, late=late).document)


def assert_kept(old: Document, document: Document) -> None:
    """Every key stays, down to where a scalar that is there took the place."""
    assert old.keys() <= document.keys()
    for key, value in old.items():
        if isinstance(value, dict) and isinstance(document[key], dict):
            assert_kept(value, document[key])
        elif value not in (None, [], {}) and isinstance(value, dict | list):
            assert document[key] not in (None, [], {}) or value == document[key]


@given(documents, documents, documents)
def test_merges_of_disjoint_keys_come_in_any_order(base: Document, one: Document, other: Document) -> None:
    one = {key: value for key, value in one.items() if key not in other}
    here = merge(merge(base, one).document, other).document
    there = merge(merge(base, other).document, one).document
    assert identical(here, there)


@given(documents, documents, st.booleans())
def test_neither_side_is_touched(old: Document, new: Document, late: bool) -> None:
    before = copy.deepcopy((old, new))
    merge(old, new, late=late)
    assert identical(list(before), [old, new])


@given(values)
def test_identical_is_what_the_database_would_store(value: Any) -> None:
    assert identical(value, copy.deepcopy(value))
    try:
        there = bson.decode(bson.encode({"v": value}), mongo.CODEC)["v"]
    except bson.errors.InvalidDocument:
        return
    assert identical(value, there)


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (1, True, False),
        (1, 1.0, False),
        (0.0, -0.0, False),
        (NAN, NAN, True),
        ([NAN], [float("nan")], True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": [1]}, {"a": [True]}, False),
        (bson.Int64(5), 5, True),
        ({"a": bson.Int64(5), "b": bson.ObjectId("0" * 24)}, {"a": 5.0, "b": bson.ObjectId("0" * 24)}, False),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1, "b": None}, False),
    ],
)
def test_identical_tells_types_apart(one: Any, other: Any, wanted: bool) -> None:
    assert identical(one, other) is wanted
    assert identical({"x": [one]}, {"x": [other]}) is wanted


@given(documents, documents)
def test_the_changes_applied_by_a_server_give_the_merged_document(
    scratch: Database[Document], old: Document, new: Document
) -> None:
    name = uuid.uuid4().hex
    try:
        scratch["merge"].insert_one({"_id": name} | old)
    except PyMongoError:
        return  # a nested key that this server does not take at all
    result = merge(old, new)
    if result.changes is None:
        scratch["merge"].bulk_write([ReplaceOne({"_id": name}, {"_id": name} | result.document)])
    elif result.changes:
        scratch["merge"].bulk_write([UpdateOne({"_id": name}, {"$set": result.changes})])
    stored = scratch["merge"].with_options(codec_options=mongo.CODEC).find_one({"_id": name})
    assert stored is not None
    del stored["_id"]
    assert identical(stored, result.document)
