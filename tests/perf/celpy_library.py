"""What cel-python needs to decide selectors: a device as its values, and Kubernetes' functions.

The functions are at the top of a module because its compiler calls them by their Python names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celpy import celtypes

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version


class Amount:
    """A quantity or a version as cel-python can carry it."""

    def __init__(self, held: Any) -> None:
        self.held = held


def quantity(text: Any) -> Any:
    return Amount(Quantity.parse(str(text)))


def semver(text: Any) -> Any:
    return Amount(Version.parse(str(text)))


def compareTo(one: Any, other: Any) -> Any:  # noqa: N802 - the name in CEL
    return celtypes.IntType(one.held.compare(other.held))


def isGreaterThan(one: Any, other: Any) -> Any:  # noqa: N802
    return celtypes.BoolType(one.held.compare(other.held) > 0)


def isLessThan(one: Any, other: Any) -> Any:  # noqa: N802
    return celtypes.BoolType(one.held.compare(other.held) < 0)


FUNCTIONS: Final = {call.__name__: call for call in (quantity, semver, compareTo, isGreaterThan, isLessThan)}

_MAKERS: Final[dict[str, Callable[[Any], Any]]] = {
    "string": celtypes.StringType,
    "int": celtypes.IntType,
    "bool": celtypes.BoolType,
    "version": semver,
}


def view_of(device: dict[str, Any]) -> Any:
    """The variables of a selector, from a device as the API has it."""
    text, map_of = celtypes.StringType, celtypes.MapType
    attributes = {text(name): _value_of(value) for name, value in device["attributes"].items()}
    capacity = {text(name): quantity(value["value"]) for name, value in device["capacity"].items()}
    domain = text(device["driver"])
    fields = {
        "driver": domain,
        "attributes": map_of({domain: map_of(attributes)}),
        "capacity": map_of({domain: map_of(capacity)}),
    }
    return {"device": map_of({text(name): value for name, value in fields.items()})}


def _value_of(attribute: dict[str, Any]) -> Any:
    ((kind, value),) = attribute.items()
    return _MAKERS[kind](value)
