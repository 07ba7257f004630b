"""Strict decoding: a tree of JSON to an object of a known type, and everything about it that does not fit.

A value of the wrong type ends the decoding, with the first such error; a field that is unknown or stands twice does
not, and all of them are reported. Names are compared with their case. `null` leaves the zero value. The texts are those
of the API server with `fieldValidation=Strict`; beside its text every problem has the path of its field, which the
server leaves out of some.

Upstream: sigs.k8s.io/json (`UnmarshalStrict`), `UnmarshalJSON` of Quantity, Time and RawExtension.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeVar

from dra_operator.api.quantity import Quantity, QuantityError
from dra_operator.validation.errors import child, index
from dra_operator.validation.gotext import quote
from dra_operator.validation.gotime import NotATime, parse_time
from dra_operator.validation.jsontree import Members, Number, Tree, to_json
from dra_operator.validation.shapes import Form, Raw, Shape, Time, Type, Wire, go_struct, shape_of

_STRICT_ERRORS_MAX: Final = 100
_MIN_INT64: Final = -(1 << 63)
_MAX_INT64: Final = (1 << 63) - 1
_INTEGER: Final = re.compile(r"-?[0-9]+")

W = TypeVar("W", bound=Wire)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not fit. `message` is the API server's; `field` is where it is."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Misfit:
    """The object cannot be read: a value has the wrong type."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Fit:
    """The object, and the fields that are unknown or stand twice."""

    object: Wire
    problems: tuple[Problem, ...]


def fit(tree: Tree, struct: type[Wire]) -> Fit | Misfit:
    """Read the tree as an object of this type."""
    reader = _Reader()
    try:
        found = reader.read_root(tree, struct)
    except _Ended as ended:
        return Misfit(ended.problem)
    if reader.misfit is not None:
        return Misfit(reader.misfit)
    assert isinstance(found, Wire)
    return Fit(found, tuple(reader.problems))


class _Ended(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the reader is: the field's path, and how Go names it (the struct, the fields without indices)."""

    path: str = ""
    struct: str = ""
    fields: tuple[str, ...] = ()


class _Reader:
    def __init__(self) -> None:
        self.misfit: Problem | None = None
        self.problems: dict[Problem, None] = {}

    def read_root(self, tree: Tree, struct: type[Wire]) -> object:
        return self._read(tree, Type(Form.STRUCT, f"v1.{struct.__name__}", struct=struct), _Place())

    def _read(self, tree: Tree, type_: Type, place: _Place) -> object:
        match type_.form:
            case Form.QUANTITY:
                return self._quantity(tree, type_, place)
            case Form.TIME:
                return self._time(tree, type_, place)
            case Form.RAW:
                return type_.zero() if tree is None else Raw(to_json(tree))
        if tree is None:
            return type_.zero()
        match type_.form:
            case Form.STRUCT if isinstance(tree, Members):
                assert type_.struct is not None
                return self._struct(tree, shape_of(type_.struct), place)
            case Form.MAP if isinstance(tree, Members):
                return self._map(tree, type_, place)
            case Form.LIST if isinstance(tree, tuple):
                assert type_.element is not None
                return tuple(
                    self._read(each, type_.element, _Place(index(place.path, i), place.struct, place.fields))
                    for i, each in enumerate(tree)
                )
            case Form.STRING if isinstance(tree, str) and not isinstance(tree, Number):
                return tree
            case Form.BOOL if isinstance(tree, bool):
                return tree
            case Form.INT if isinstance(tree, Number):
                return self._integer(tree, type_, place)
        return self._wrong(_kind_of(tree), type_.go_name, place, type_)

    def _struct(self, tree: Members, shape: Shape, place: _Place) -> Wire:
        values: dict[str, object] = {}
        for name, each in tree.pairs:
            known = shape.by_json_name.get(name)
            path = child(place.path, name)
            if known is None:
                if not shape.struct.partial and name not in shape.struct.unread:
                    self._report("unknown field", path)
                continue
            if known.attribute in values:
                self._report("duplicate field", path)
            inner = _Place(path, go_struct(shape.struct), (*place.fields, *known.embedded_in, name))
            values[known.attribute] = self._read(each, known.type, inner)
        return shape.struct(**values)

    def _map(self, tree: Members, type_: Type, place: _Place) -> dict[str, object]:
        assert type_.element is not None
        values: dict[str, object] = {}
        for name, each in tree.pairs:
            path = child(place.path, name)
            if name in values:
                self._report("duplicate field", path)
            values[name] = self._read(each, type_.element, _Place(path, place.struct, place.fields))
        return values

    def _integer(self, number: Number, type_: Type, place: _Place) -> object:
        # Texts of thousands of digits are not numbers of 64 bits, and Python refuses to read them.
        if _INTEGER.fullmatch(number) and len(number) < 40 and _MIN_INT64 <= int(number) <= _MAX_INT64:
            return int(number)
        return self._wrong(f"number {number}", type_.go_name, place, type_)

    def _quantity(self, tree: Tree, type_: Type, place: _Place) -> object:
        if tree is None:
            return type_.zero()
        try:
            # Anything else than a string or a number is a text that is no quantity.
            return Quantity.parse((tree if isinstance(tree, str) else to_json(tree)).strip())
        except QuantityError as error:
            raise _Ended(Problem(place.path, str(error))) from error

    def _time(self, tree: Tree, type_: Type, place: _Place) -> object:
        if tree is None:
            return type_.zero()
        if not isinstance(tree, str) or isinstance(tree, Number):
            message = f"json: cannot unmarshal {_kind_of(tree)} into {_context(place)} of type string"
            raise _Ended(Problem(place.path, message))
        try:
            return Time(parse_time(tree))
        except NotATime as error:
            raise _Ended(Problem(place.path, str(error))) from error

    def _wrong(self, kind: str, go_name: str, place: _Place, type_: Type) -> object:
        if self.misfit is None:
            self.misfit = Problem(place.path, f"json: cannot unmarshal {kind} into {_context(place)} of type {go_name}")
        return type_.zero()

    def _report(self, what: str, path: str) -> None:
        if len(self.problems) < _STRICT_ERRORS_MAX:
            self.problems[Problem(path, f"{what} {quote(path)}")] = None


def _context(place: _Place) -> str:
    return f"Go struct field {place.struct}.{'.'.join(place.fields)}" if place.fields else "Go value"


def _kind_of(tree: Tree) -> str:
    match tree:
        case Members():
            return "object"
        case tuple():
            return "array"
        case bool():
            return "bool"
        case Number():
            return "number"
        case None:
            return "null"
    return "string"
