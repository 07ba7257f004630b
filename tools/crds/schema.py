"""A declared type as a structural schema.

Everything that the types of `validation` say about themselves comes from there: fields, kinds of values, the rules
that are declared at fields (lengths, numbers of entries, sets of words, formats). What stands there as code is said
once more in `rules.py`, by type.

Fields behind a feature gate that is off by default have the types that their decoder wants, and no rules: the built-in
API drops them before it looks at anything.

Upstream: the structural schemas of apiextensions.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tools.crds.patterns import BY_FORMAT, QUANTITY, TIME, Schema, or_empty
from tools.crds.rules import RULES

from dra_operator.validation.gates import DEFAULT_GATES
from dra_operator.validation.shapes import (
    EachValue,
    Field,
    Form,
    Format,
    MaxBytes,
    MaxCharacters,
    MaxItems,
    OneOf,
    Optional,
    Required,
    Rule,
    Type,
    Wire,
    shape_of,
)

_PLAIN: Final[Mapping[Form, Schema]] = {
    Form.STRING: {"type": "string"},
    Form.INT: {"type": "integer", "format": "int64"},
    Form.BOOL: {"type": "boolean"},
    Form.QUANTITY: QUANTITY,
    Form.TIME: TIME,
    Form.RAW: {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}
_ROOT: Final = ("apiVersion", "kind", "metadata")


def root_schema(struct: type[Wire]) -> Schema:
    """The schema of a whole object. What its metadata may be, the API server knows for all kinds."""
    schema = _struct(struct, ruled=True)
    properties = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        **{name: each for name, each in schema["properties"].items() if name not in _ROOT},
    }
    return {**schema, "properties": properties}


def _struct(struct: type[Wire], *, ruled: bool) -> Schema:
    properties = {}
    required = []
    for field in shape_of(struct).fields:
        on = ruled and (field.gate is None or DEFAULT_GATES.all_enabled(field.gate))
        properties[field.json_name] = _field(field, ruled=on)
        if on and any(isinstance(rule, Required) for rule in field.rules):
            required.append(field.json_name)
    schema: Schema = {"type": "object", "properties": properties}
    extra = RULES.get(struct) if ruled else None
    if extra is not None:
        for path, more in extra.fields.items():
            _merge_at(schema, path, more)
        required += [name for name in extra.required if name not in required]
        schema |= extra.schema
        if extra.rules:
            schema["x-kubernetes-validations"] = [rule.schema() for rule in extra.rules]
    if required:
        schema["required"] = required
    return schema


def _field(field: Field, *, ruled: bool) -> Schema:
    schema = _type(field.type, ruled=ruled)
    if not ruled:
        return schema
    optional = not field.type.pointer and any(isinstance(rule, Optional) for rule in field.rules)
    for rule in field.rules:
        _apply(schema, rule, optional=optional)
    return schema


def _type(type_: Type, *, ruled: bool) -> Schema:
    match type_.form:
        case Form.STRUCT:
            assert type_.struct is not None
            return _struct(type_.struct, ruled=ruled)
        case Form.LIST:
            assert type_.element is not None
            return {"type": "array", "items": _type(type_.element, ruled=ruled), "x-kubernetes-list-type": "atomic"}
        case Form.MAP:
            assert type_.element is not None
            return {"type": "object", "additionalProperties": _type(type_.element, ruled=ruled)}
    return dict(_PLAIN[type_.form])


def _apply(schema: Schema, rule: Rule, *, optional: bool) -> None:
    """A declared rule, as far as a schema can say it. `optional`: what is empty is not looked at."""
    match rule:
        case Format(name=name):
            schema |= or_empty(BY_FORMAT[name]) if optional else BY_FORMAT[name]
        case OneOf(values=values):
            schema["enum"] = (["", *values]) if optional else list(values)
        case MaxCharacters(limit=limit) | MaxBytes(limit=limit):
            schema["maxLength"] = min(limit, schema.get("maxLength", limit))
        case MaxItems(limit=limit):
            schema["maxItems"] = limit
        case EachValue(rule=each):
            _apply(schema["items"], each, optional=False)


def _merge_at(schema: Schema, path: str, more: Schema) -> None:
    """Add to the schema of the field that the path names: `a.b`, `a[]` for a list's items, `a{}` for a map's values."""
    for name in path.split("."):
        bare = name.removesuffix("[]").removesuffix("{}")
        schema = schema["properties"][bare]
        if name.endswith("[]"):
            schema = schema["items"]
        elif name.endswith("{}"):
            schema = schema["additionalProperties"]
    _merge(schema, more)


def _merge(schema: Schema, more: Mapping[str, Any]) -> None:
    """Add keywords; those of properties and items go where these are."""
    for keyword, value in more.items():
        if keyword == "properties":
            for name, inner in value.items():
                _merge(schema["properties"][name], inner)
        elif keyword == "items":
            _merge(schema["items"], value)
        else:
            schema[keyword] = value
