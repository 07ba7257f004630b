"""The form of the API's types, read from their declarations: JSON name, Go type, and the rules that stand at a field.

`types.py` and `metatypes.py` declare each field once, with its rules as annotations, as upstream's Go types carry them
as tags. Decoding, defaulting, gates, printing and the declared rules all walk the same `Shape`, so none of them can
know a field that another does not.

Upstream: the `+k8s:` and `+featureGate` tags of k8s.io/api/resource/v1. Rules of the alpha level are left out: the API
server never enforces them.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Annotated, Any, ClassVar, Final

import msgspec

from dra_operator.api.quantity import Quantity


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the types as they are sent: every field, and Go's zero values for what was left out."""

    tagged_internally: ClassVar[bool] = False
    """The internal version prints like the sent one (types of meta/v1)."""
    partial: ClassVar[bool] = False
    """The type has more fields than are declared; they may be anything."""
    unread: ClassVar[frozenset[str]] = frozenset()
    """JSON names of further fields that the type has; they may be anything. What is neither is unknown."""
    go_struct: ClassVar[str] = ""
    """The Go struct's name where ours differs."""
    union: ClassVar[tuple[str, ...]] = ()
    """JSON names of the fields of which exactly one must be set."""
    union_level: ClassVar[Level]


class Raw(msgspec.Struct, frozen=True):
    """Any JSON, as it was sent."""

    text: str


class Time(msgspec.Struct, frozen=True):
    """A moment in seconds since 1970, as far as `Time` is compared at all."""

    seconds: float


# --- annotations -----------------------------------------------------------------------------------------------------


class Level(Enum):
    """How far upstream has taken a declared rule. A beta rule replaces the hand-written one that it covers."""

    BETA = "beta"
    STANDARD = "standard"


Wire.union_level = Level.BETA


@dataclass(frozen=True)
class GoType:
    """The Go type's name, where it is not the plain one."""

    name: str


@dataclass(frozen=True)
class Always:
    """Printed even when empty: no `omitempty`."""


@dataclass(frozen=True)
class Embedded:
    """The field is one of a Go struct that is embedded without a JSON name of its own. Some messages show its name."""

    go_name: str


@dataclass(frozen=True)
class Gate:
    """The API server drops the field unless all these feature gates are enabled, or the old object has it."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """A declared rule of a field."""

    level: Level = field(default=Level.BETA, kw_only=True)


@dataclass(frozen=True)
class Required(Rule):
    pass


@dataclass(frozen=True)
class Optional(Rule):
    """Nothing else is looked at while the field is empty."""


@dataclass(frozen=True)
class MaxItems(Rule):
    limit: int


@dataclass(frozen=True)
class Immutable(Rule):
    pass


@dataclass(frozen=True)
class NoModify(Rule):
    """May be set and cleared, not changed."""


@dataclass(frozen=True)
class ForbiddenUnless(Rule):
    gate: str


@dataclass(frozen=True)
class MaxCharacters(Rule):
    limit: int


@dataclass(frozen=True)
class MaxBytes(Rule):
    limit: int


@dataclass(frozen=True)
class OneOf(Rule):
    values: tuple[str, ...]


@dataclass(frozen=True)
class Format(Rule):
    name: str


@dataclass(frozen=True)
class EachKey(Rule):
    format: Format


@dataclass(frozen=True)
class EachValue(Rule):
    rule: Rule


@dataclass(frozen=True)
class Unique(Rule):
    """No two elements alike: in all, or in these JSON fields. It also says which old element belongs to which new."""

    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class NameFormat(Rule):
    """For metadata: the format of the name."""

    format: Format


STOPPING: Final = (Required, Optional, MaxItems, Immutable, NoModify, ForbiddenUnless)
"""Rules that come first, all of them; where one speaks, the field's other rules are silent."""


# --- shapes ----------------------------------------------------------------------------------------------------------


class Form(Enum):
    STRING = "string"
    INT = "int64"
    BOOL = "bool"
    QUANTITY = "resource.Quantity"
    TIME = "v1.Time"
    RAW = "runtime.RawExtension"
    STRUCT = "struct"
    LIST = "list"
    MAP = "map"


@dataclass(frozen=True)
class Type:
    """A Go type. `element` is that of a list's or a map's values; `pointer` lets it be absent."""

    form: Form
    go_name: str
    pointer: bool = False
    struct: type[Wire] | None = None
    element: Type | None = None

    def zero(self) -> object:
        if self.pointer or self.form in (Form.LIST, Form.MAP):
            return None
        if self.form is Form.STRUCT:
            assert self.struct is not None
            return self.struct()
        return _ZEROS[self.form]()


@dataclass(frozen=True)
class Field:
    attribute: str
    json_name: str
    go_name: str
    type: Type
    always: bool
    gate: Gate | None
    embedded_in: tuple[str, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Shape:
    struct: type[Wire]
    fields: tuple[Field, ...]
    by_json_name: dict[str, Field]
    tagged_internally: bool


_ZEROS: Final[dict[Form, Callable[[], object]]] = {
    Form.STRING: str,
    Form.INT: int,
    Form.BOOL: bool,
    Form.QUANTITY: Quantity,
    Form.TIME: lambda: Time(0),
    Form.RAW: lambda: Raw(""),
}
_PLAIN: Final[dict[object, Form]] = {
    str: Form.STRING,
    int: Form.INT,
    bool: Form.BOOL,
    Quantity: Form.QUANTITY,
    Time: Form.TIME,
    Raw: Form.RAW,
}
_INITIALS: Final = {"Cel": "CEL", "Ips": "IPs", "Uid": "UID", "ShareId": "ShareID", "FieldsV1": "FieldsV1"}


@cache
def shape_of(struct: type[msgspec.Struct]) -> Shape:
    """The shape of a declared type."""
    assert issubclass(struct, Wire)
    hints = typing.get_type_hints(struct, include_extras=True)
    fields = []
    for each in msgspec.structs.fields(struct):
        type_, marks = _read(hints[each.name])
        gate = next((mark for mark in marks if isinstance(mark, Gate)), None)
        rules = tuple(mark for mark in marks if isinstance(mark, Rule))
        embedded = tuple(mark.go_name for mark in marks if isinstance(mark, Embedded))
        always = any(isinstance(mark, Always) for mark in marks) or (type_.form is Form.STRUCT and not type_.pointer)
        fields.append(
            Field(each.name, each.encode_name, _go_name(each.name, struct), type_, always, gate, embedded, rules)
        )
    return Shape(struct, tuple(fields), {each.json_name: each for each in fields}, struct.tagged_internally)


def go_struct(struct: type[Wire]) -> str:
    return struct.go_struct or struct.__name__


def _go_name(attribute: str, struct: type[Wire]) -> str:
    if attribute == "metadata":
        return "ObjectMeta"
    camel = "".join(part.capitalize() for part in attribute.rstrip("_").split("_"))
    camel = camel.replace("ApiGroup", "APIGroup").replace("ApiVersion", "APIVersion")
    return _INITIALS.get(camel, camel)


def _read(hint: Any) -> tuple[Type, tuple[object, ...]]:
    """The type of an annotation, and the marks at it."""
    marks: tuple[object, ...] = ()
    pointer = False
    while True:
        origin = typing.get_origin(hint)
        if origin is Annotated:
            inner, *more = typing.get_args(hint)
            hint, marks = inner, (*more, *marks)
        elif origin in (typing.Union, types.UnionType):
            (hint,) = (each for each in typing.get_args(hint) if each is not type(None))
            pointer = True
        else:
            break
    named = next((mark.name for mark in marks if isinstance(mark, GoType)), None)
    if origin is tuple:
        element, inner_marks = _read(typing.get_args(hint)[0])
        return Type(Form.LIST, f"[]{element.go_name}", element=element), (*marks, *_of_elements(inner_marks))
    if origin is dict:
        key, value = typing.get_args(hint)
        key_type, _ = _read(key)
        element, _ = _read(value)
        return Type(Form.MAP, f"map[{key_type.go_name}]{element.go_name}", element=element), marks
    if hint in _PLAIN:
        form = _PLAIN[hint]
        return Type(form, named or form.value, pointer), marks
    return Type(Form.STRUCT, named or f"v1.{go_struct(hint)}", pointer, struct=hint), marks


def _of_elements(marks: tuple[object, ...]) -> tuple[EachValue, ...]:
    """The rules that a list's element type carries, as rules of the list."""
    return tuple(EachValue(mark, level=mark.level) for mark in marks if isinstance(mark, Rule))
