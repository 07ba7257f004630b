"""Static types, and when one may stand where another is asked for.

Types are small immutable trees. Type parameters (`A`, or the checker's own `_var1`) are solved by `Substitution`, which
only ever grows while an expression is checked. `dyn` fits everywhere; `any` too, but is a type of its own.

A map whose keys and values are a variable doubles the variable's type, and a few such variables, each made of the one
before, have a type that no memory holds. So it is counted what all types of an expression take (`TypesTooLarge`).

Upstream: `checker/types.go` and `common/types/types.go` in cel-go.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final


class K(Enum):
    """Kinds of type."""

    BASIC = auto()
    NULL = auto()
    DYN = auto()
    ANY = auto()
    ERROR = auto()
    LIST = auto()
    MAP = auto()
    TYPE = auto()
    OPAQUE = auto()
    STRUCT = auto()
    PARAMETER = auto()


@dataclass(frozen=True, slots=True)
class Type:
    kind: K
    name: str
    params: tuple[Type, ...] = ()
    nullable: bool = field(default=False, compare=False)  # a wrapper of protobuf: the same type, but null fits too
    size: int = field(init=False, compare=False, repr=False)  # of the tree, however much of it is shared

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + sum(param.size for param in self.params))

    def __str__(self) -> str:
        if self.nullable:
            return f"wrapper({self.name})"
        if self.params:
            return f"{self.name}({', '.join(map(str, self.params))})"
        return _SHORT.get(self.name, self.name)


_LARGEST: Final = 2_000
"""Nodes of one type. Literals alone are nested 250 deep at most."""
_STEPS: Final = 250_000
"""From type to type, for all of an expression: a second or so. Ten kilobytes of calls take a fifth of it."""
_SHORT: Final = {"google.protobuf.Duration": "duration", "google.protobuf.Timestamp": "timestamp"}


BOOL: Final = Type(K.BASIC, "bool")
INT: Final = Type(K.BASIC, "int")
UINT: Final = Type(K.BASIC, "uint")
DOUBLE: Final = Type(K.BASIC, "double")
STRING: Final = Type(K.BASIC, "string")
BYTES: Final = Type(K.BASIC, "bytes")
DURATION: Final = Type(K.BASIC, "google.protobuf.Duration")
TIMESTAMP: Final = Type(K.BASIC, "google.protobuf.Timestamp")
NULL: Final = Type(K.NULL, "null")
DYN: Final = Type(K.DYN, "dyn")
ANY: Final = Type(K.ANY, "any")
ERROR: Final = Type(K.ERROR, "!error!")
QUANTITY: Final = Type(K.STRUCT, "kubernetes.Quantity")
SEMVER: Final = Type(K.STRUCT, "kubernetes.Semver")
URL: Final = Type(K.STRUCT, "kubernetes.URL")
FORMAT: Final = Type(K.STRUCT, "kubernetes.NamedFormat")
DEVICE: Final = Type(K.STRUCT, "kubernetes.DRADevice")
AUTHORIZER: Final = Type(K.STRUCT, "kubernetes.authorization.Authorizer")
PATH_CHECK: Final = Type(K.STRUCT, "kubernetes.authorization.PathCheck")
GROUP_CHECK: Final = Type(K.STRUCT, "kubernetes.authorization.GroupCheck")
RESOURCE_CHECK: Final = Type(K.STRUCT, "kubernetes.authorization.ResourceCheck")
DECISION: Final = Type(K.STRUCT, "kubernetes.authorization.Decision")
IP: Final = Type(K.OPAQUE, "net.IP")
CIDR: Final = Type(K.OPAQUE, "net.CIDR")

NAMED: Final[dict[str, Type]] = {
    "bool": BOOL,
    "int": INT,
    "uint": UINT,
    "double": DOUBLE,
    "string": STRING,
    "bytes": BYTES,
    "duration": DURATION,
    "timestamp": TIMESTAMP,
    "dyn": DYN,
    "null": NULL,
    "Quantity": QUANTITY,
    "Semver": SEMVER,
    "URL": URL,
    "Format": FORMAT,
    "Authorizer": AUTHORIZER,
    "PathCheck": PATH_CHECK,
    "GroupCheck": GROUP_CHECK,
    "ResourceCheck": RESOURCE_CHECK,
    "Decision": DECISION,
    "IP": IP,
    "CIDR": CIDR,
}


def list_of(element: Type) -> Type:
    return Type(K.LIST, "list", (element,))


def map_of(key: Type, value: Type) -> Type:
    return Type(K.MAP, "map", (key, value))


def optional_of(value: Type) -> Type:
    return Type(K.OPAQUE, "optional_type", (value,))


def type_of(of: Type) -> Type:
    return Type(K.TYPE, "type", (of,))


def nullable(of: Type) -> Type:
    return replace(of, nullable=True)


def parameter(name: str) -> Type:
    return Type(K.PARAMETER, name)


def is_dyn(of: Type) -> bool:
    return of.kind in (K.DYN, K.ANY)


def unwrap_optional(of: Type) -> tuple[Type, bool]:
    """The type inside an optional, and whether it was one."""
    if of.kind is K.OPAQUE and of.name == "optional_type":
        return of.params[0], True
    return of, False


def parameters_in(of: Type) -> frozenset[str]:
    if of.kind is K.PARAMETER:
        return frozenset((of.name,))
    return frozenset().union(*map(parameters_in, of.params))


def rename(of: Type, names: dict[str, Type]) -> Type:
    """`of` with its parameters replaced."""
    if of.kind is K.PARAMETER:
        return names[of.name]
    if not of.params:
        return of
    return Type(of.kind, of.name, tuple(rename(param, names) for param in of.params))


class TypesTooLarge(Exception):
    """Nobody can wait for the types of this expression."""


class Substitution:
    """What the type parameters stand for so far. Methods raise `TypesTooLarge`."""

    def __init__(self) -> None:
        self._bound: dict[str, Type] = {}
        self._undo: list[tuple[str, Type | None]] = []
        self._steps = 0

    def admit(self, found: Type) -> Type:
        """The type, if going through it is no more than one step of many."""
        if found.size > _LARGEST:
            raise TypesTooLarge
        return found

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _STEPS:
            raise TypesTooLarge

    def apply(self, to: Type, *, free_to_dyn: bool = False) -> Type:
        """`to` with parameters replaced by what they stand for."""
        self._step()
        if to.kind is K.PARAMETER:
            bound = self._bound.get(to.name)
            if bound is not None:
                return self.apply(bound, free_to_dyn=free_to_dyn)
            return DYN if free_to_dyn else to
        if not to.params:
            return to
        return Type(to.kind, to.name, tuple(self.apply(param, free_to_dyn=free_to_dyn) for param in to.params))

    def assign(self, targets: tuple[Type, ...], sources: tuple[Type, ...]) -> bool:
        """Whether each source fits its target. If all do, what that says about parameters is kept; else nothing is."""
        if len(targets) != len(sources):
            return False
        self._undo.clear()
        for target, source in zip(targets, sources, strict=True):
            if not self._fits(target, source):
                self._roll_back()
                return False
        return True

    def _roll_back(self) -> None:
        for name, before in reversed(self._undo):
            if before is None:
                del self._bound[name]
            else:
                self._bound[name] = before

    def _set(self, name: str, to: Type) -> None:
        self._undo.append((name, self._bound.get(name)))
        self._bound[name] = to

    def _fits(self, one: Type, other: Type) -> bool:
        self._step()
        if other.kind is K.PARAMETER:
            fits, was_bound = self._bind(one, other)
            if fits or was_bound:
                return fits
        if one.kind is K.PARAMETER:
            return self._bind(other, one)[0]
        if one.kind in _WILD or other.kind in _WILD:
            return True
        if one.kind is K.NULL:
            return _nullable(other)
        if other.kind is K.NULL:
            return _nullable(one)
        if one.kind is K.TYPE:
            return other.kind is K.TYPE
        if one.kind is not other.kind or one.name != other.name or len(one.params) != len(other.params):
            return False
        return all(self._fits(a, b) for a, b in zip(one.params, other.params, strict=True))

    def _bind(self, to: Type, param: Type) -> tuple[bool, bool]:
        """Let `param` stand for `to`. Returns whether that fits, and whether it stood for something before."""
        if to == param:
            return True, True
        bound = self._bound.get(param.name)
        if bound is not None:
            if to == bound:
                return True, True
            if self._fits(to, bound):
                general = most_general(to, bound)
                if not self._mentions(general, param):
                    self._set(param.name, general)
                return True, True
            return False, True
        if self._mentions(to, param):
            return False, False
        self._set(param.name, to)
        return True, False

    def _mentions(self, within: Type, param: Type) -> bool:
        self._step()
        if within == param:
            return True
        if within.kind is K.PARAMETER:
            bound = self._bound.get(within.name)
            return bound is not None and self._mentions(bound, param)
        return any(self._mentions(inner, param) for inner in within.params)


_WILD: Final = frozenset((K.DYN, K.ANY, K.ERROR))


def _nullable(of: Type) -> bool:
    return of.nullable or of.kind in (K.OPAQUE, K.STRUCT, K.ANY, K.NULL) or of in (DURATION, TIMESTAMP)


def most_general(one: Type, other: Type) -> Type:
    return one if _no_more_specific(one, other) else other


def _no_more_specific(one: Type, other: Type) -> bool:
    if is_dyn(one) or one.kind is K.PARAMETER:
        return True
    if is_dyn(other) or other.kind is K.PARAMETER or one.kind is not other.kind:
        return False
    if one.kind is K.TYPE:
        return True
    if one.kind in (K.OPAQUE, K.LIST, K.MAP):
        if one.name != other.name or len(one.params) != len(other.params):
            return False
        return all(map(_no_more_specific, one.params, other.params))
    return one == other


def parse_type(text: str) -> Type:
    """A type from a signature: `list<T>`, `map<K, V>`, `optional<V>`, `type<T>`, a name, or a capital parameter."""
    text = text.strip()
    if text.endswith(">"):
        head, _, inner = text[:-1].partition("<")
        params = tuple(parse_type(part) for part in split_types(inner))
        match head:
            case "list":
                return list_of(*params)
            case "map":
                return map_of(*params)
            case "optional":
                return optional_of(*params)
            case "type":
                return type_of(*params)
            case _:
                raise ValueError(f"no type constructor {head!r}")
    if len(text) == 1 and text.isupper():
        return parameter(text)
    return NAMED[text]


def split_types(text: str) -> list[str]:
    """The parts of a comma-separated list of types."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character == "<":
            depth += 1
        elif character == ">":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]] if text.strip() else []
