"""How the library declares functions: one signature and one Python function each.

A signature reads like CEL: `string.charAt(int) -> string` is a method, `quantity(string) -> quantity` a function,
`list<T>.first() -> optional<T>` has a type parameter. The checker chooses among the overloads of a name by static type;
evaluation calls the first of them that fits the values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from dra_operator.cel.types import K, Type, parameters_in, parse_type, split_types
from dra_operator.cel.values import Value, type_name

Implementation = Callable[..., Any]
_F = TypeVar("_F", bound=Implementation)

_SIGNATURE: Final = re.compile(r"(?:(?P<target>[^()]+?)\.)?(?P<name>@?\w+)\((?P<args>.*)\) -> (?P<result>.+)")
BRIEF: Final = frozenset(("contains", "startsWith", "endsWith", "size", "matches"))
"""Functions whose "no such overload" names no types."""
_NAMESPACES: Final = frozenset(("strings", "sets", "lists", "optional", "ip", "format", "cel"))


@dataclass(frozen=True, slots=True)
class Overload:
    """One signature of a function. For a method the target is the first argument."""

    function: str
    is_method: bool
    args: tuple[Type, ...]
    result: Type
    call: Implementation | None
    parameters: frozenset[str]
    runtime: tuple[str | None, ...]  # type names that values must have; None takes any
    elements: tuple[str | None, ...]  # type names that the first elements of lists must have

    def accepts(self, values: tuple[Value, ...]) -> bool:
        """Whether the overload can be called with these values."""
        if len(values) != len(self.runtime):
            return False
        for wanted, element, value in zip(self.runtime, self.elements, values, strict=True):
            if wanted is not None and type_name(value) != wanted:
                return False
            if element is not None and value and type_name(value[0]) != element:
                return False
        return True

    @property
    def looks_into_lists(self) -> bool:
        return any(element is not None for element in self.elements)


def choose(overloads: tuple[Overload, ...], args: tuple[Value, ...]) -> Implementation | None:
    """The first overload that takes the values; their types alone decide."""
    for overload in overloads:
        if overload.call is not None and overload.accepts(args):
            return overload.call
    return None


class Library:
    """The functions of one concern."""

    def __init__(self) -> None:
        self.overloads: list[Overload] = []

    def function(self, *signatures: str, any_elements: bool = False) -> Callable[[_F], _F]:
        """Declare the decorated function under these signatures. `any_elements`: nobody looks into lists."""

        def declare(implementation: _F) -> _F:
            for overload in (parse_signature(signature, implementation) for signature in signatures):
                loose = replace(overload, elements=(None,) * len(overload.elements))
                self.overloads.append(loose if any_elements else overload)
            return implementation

        return declare

    def declare(self, *signatures: str) -> None:
        """Declare signatures that evaluation knows by itself: operators and what must not evaluate all arguments."""
        self.overloads.extend(parse_signature(signature, None) for signature in signatures)


def parse_signature(signature: str, call: Implementation | None) -> Overload:
    match = _SIGNATURE.fullmatch(signature)
    if match is None:
        raise ValueError(f"not a signature: {signature!r}")
    target, name = match["target"], match["name"]
    is_method = target is not None and target not in _NAMESPACES
    return make_overload(
        name if target is None or is_method else f"{target}.{name}",
        ([target] if is_method else []) + split_types(match["args"]),
        match["result"],
        call,
        is_method=is_method,
    )


def make_overload(
    function: str, args: Iterable[str], result: str, call: Implementation | None, *, is_method: bool = False
) -> Overload:
    arg_types = tuple(parse_type(arg) for arg in args)
    result_type = parse_type(result)
    return Overload(
        function,
        is_method,
        arg_types,
        result_type,
        call,
        frozenset().union(*map(parameters_in, (*arg_types, result_type))),
        tuple(_runtime_name(arg) for arg in arg_types),
        tuple(_runtime_name(arg.params[0]) if arg.kind is K.LIST else None for arg in arg_types),
    )


def _runtime_name(of: Type) -> str | None:
    return None if of.kind in (K.DYN, K.PARAMETER) else of.name
