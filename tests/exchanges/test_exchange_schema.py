"""Records, Pydantic models and JSON Schema accept and emit the same JSON."""

import json
from functools import reduce
from itertools import product
from operator import or_
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from marketdata_assets.exchanges import schema
from marketdata_assets.exchanges.records import RECORDS, AnyRecord, Gap

KINDS = (*RECORDS, Gap)
texts = st.text(max_size=8)
numbers = st.integers(-(2**63), 2**63 - 1)
decoder = msgspec.json.Decoder(AnyRecord | Gap)


def records(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any record of a kind."""
    fields = msgspec.structs.fields(kind)
    return st.builds(kind, **{one.name: _values(one.type) for one in fields})


def _values(annotation: Any) -> st.SearchStrategy[Any]:
    if annotation is str:
        return texts
    if annotation is int:
        return numbers
    return st.from_type(annotation).filter(_encodable)


def _encodable(value: Any) -> bool:
    """Whether it fits into JSON: whole numbers of 64 bits, text of whole characters."""
    try:
        msgspec.json.encode(value)
    except (OverflowError, UnicodeEncodeError):
        return False
    return True


def some(kind: type[msgspec.Struct], full: bool) -> Any:
    """One record of a kind, with or without what may be null."""
    return kind(**{one.name: _some(one.type, full) for one in msgspec.structs.fields(kind)})


def _some(annotation: Any, full: bool) -> Any:
    if annotation in (str, int, bool):
        return annotation(1)
    of = get_args(annotation)
    if type(None) in of:
        return _some(of[0], full) if full else None
    if get_origin(annotation) is Literal:
        return of[0]
    assert get_origin(annotation) is tuple, annotation
    return tuple(_some(one, full) for one in of if one is not Ellipsis)


any_record = st.sampled_from(KINDS).flatmap(records)

ANY_MODEL: TypeAdapter[Any] = TypeAdapter(Annotated[reduce(or_, schema.models().values()), Field(discriminator="type")])
JSON_SCHEMA = schema.json_schema()
ABSENT = object()
JUNK = [ABSENT, None, True, 5, "5", 2.0, 1.5, "", "trade", [], ["1", "2"], [["1", "2"]], [["1", "2", "3"]], {}]


@given(any_record)
def test_a_model_reads_what_a_record_writes_and_writes_the_same(record: Any) -> None:
    raw = msgspec.json.encode(record)
    model = ANY_MODEL.validate_json(raw)
    assert type(model) is schema.models()[json.loads(raw)["type"]]
    assert json.loads(model.model_dump_json()) == json.loads(raw)
    assert list(json.loads(model.model_dump_json())) == list(json.loads(raw))
    assert decoder.decode(model.model_dump_json()) == record


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("full", [False, True])
def test_all_three_refuse_the_same(kind: type[msgspec.Struct], full: bool) -> None:
    told = json.loads(msgspec.json.encode(some(kind, full)))
    refused = 0
    for name, value in product([*told, "unheard of"], JUNK):
        changed = {**told, name: value} if value is not ABSENT else {key: told[key] for key in told if key != name}
        raw = json.dumps(changed).encode()
        verdicts = {_record_takes(raw), _model_takes(raw), follows(changed, JSON_SCHEMA)}
        assert len(verdicts) == 1, (name, value)
        refused += verdicts == {False}
    assert refused > len(told)


@given(st.sampled_from(KINDS).flatmap(records))
def test_the_schema_takes_every_record(record: Any) -> None:
    assert follows(json.loads(msgspec.json.encode(record)), JSON_SCHEMA)


def test_models_have_the_names_the_words_and_the_order_of_the_records() -> None:
    assert list(schema.models()) == [kind.__struct_config__.tag for kind in KINDS]
    for kind, model in zip(KINDS, schema.models().values(), strict=True):
        assert (model.__name__, model.__doc__) == (kind.__name__, kind.__doc__)
        assert list(model.model_fields) == ["type", *(one.encode_name for one in msgspec.structs.fields(kind))]


def test_models_convert_nothing_and_do_not_change() -> None:
    trade = {"type": "trade", "exchange": "okx", "market_type": "spot", "symbol": "A-B", "instrument": "A-B"}
    trade |= {"ts_event": None, "ts_recv": 1, "trade_id": "1", "price": "1.50", "size": "1", "contracts": None}
    model = schema.models()["trade"].model_validate({**trade, "side": "buy"})
    assert getattr(model, "price") == "1.50"  # noqa: B009
    with pytest.raises(ValidationError):
        setattr(model, "price", "2")  # noqa: B010
    with pytest.raises(ValidationError):
        schema.models()["trade"].model_validate({**trade, "side": "buy", "price": 1.5})


def _record_takes(raw: bytes) -> bool:
    try:
        decoder.decode(raw)
    except msgspec.ValidationError:
        return False
    return True


def _model_takes(raw: bytes) -> bool:
    try:
        ANY_MODEL.validate_json(raw)
    except ValidationError:
        return False
    return True


def follows(value: Any, rules: Any, root: Any = None) -> bool:
    """Whether a value follows a JSON Schema, as far as ours go; a rule that is not known here is an error."""
    root = rules if root is None else root
    ways = {
        "$ref": lambda to: follows(value, root["$defs"][to.rpartition("/")[2]], root),
        "anyOf": lambda some: any(follows(value, one, root) for one in some),
        "enum": lambda some: value in some,
        "type": lambda name: _is(value, name),
        "properties": lambda some: all(follows(value[name], one, root) for name, one in some.items() if name in value),
        "required": lambda names: all(name in value for name in names),
        "minItems": lambda least: len(value) >= least,
        "maxItems": lambda most: len(value) <= most,
        "prefixItems": lambda some: all(follows(one, rule, root) for one, rule in zip(value, some, strict=False)),
        "items": lambda rule: rule is False or all(follows(one, rule, root) for one in value),
    }
    says_nothing = {"$defs", "$schema", "title", "description", "default", "discriminator"}
    order = ["type", *(rule for rule in rules if rule not in says_nothing | {"type"})]
    return all(ways[rule](rules[rule]) for rule in order if rule in rules)


def _is(value: Any, name: str) -> bool:
    kinds = {"string": str, "integer": int, "array": list, "object": dict, "boolean": bool, "null": type(None)}
    return isinstance(value, kinds[name]) and (name == "boolean" or not isinstance(value, bool))
