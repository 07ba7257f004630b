"""What an expression may mention: the variable `device`, types and messages by name, the functions.

Two feature gates change the environment of newly written selectors, `ListTypeAttributes` and
`DRAConsumableCapacity`. Selectors that are stored already are always read with both, as the API server and the
scheduler do: that is `STORED`, the default everywhere.

Upstream: `newCompiler` in k8s.io/dynamic-resource-allocation/cel and `pkg/cel/environment/base.go` in k8s.io/apiserver.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from dra_operator.cel import types as t
from dra_operator.cel.functions import Overload
from dra_operator.cel.library import LIBRARIES
from dra_operator.cel.messages import MESSAGES, MessageType
from dra_operator.cel.types import K, Type
from dra_operator.cel.values import TypeValue, Value


@dataclass(frozen=True, slots=True)
class Features:
    """The feature gates that selectors depend on."""

    list_type_attributes: bool = True
    consumable_capacity: bool = True


STORED: Final = Features()

_TYPE_NAMES: Final[dict[str, Type]] = {
    "bool": t.BOOL,
    "int": t.INT,
    "uint": t.UINT,
    "double": t.DOUBLE,
    "string": t.STRING,
    "bytes": t.BYTES,
    "list": t.list_of(t.DYN),
    "map": t.map_of(t.DYN, t.DYN),
    "null_type": t.NULL,
    "type": t.type_of(t.DYN),
    "optional_type": t.optional_of(t.DYN),
    "google.protobuf.Duration": t.DURATION,
    "google.protobuf.Timestamp": t.TIMESTAMP,
    "net.IP": t.IP,
    "net.CIDR": t.CIDR,
} | {name: message.value for name, message in MESSAGES.items() if message.value.kind is K.STRUCT}
_NULL_VALUE: Final = "google.protobuf.NullValue.NULL_VALUE"  # protobuf's only enumeration here: an int


@dataclass(frozen=True, slots=True)
class Environment:
    variables: dict[str, Type]
    constants: dict[str, Value]
    functions: dict[str, tuple[Overload, ...]]
    messages: dict[str, MessageType]
    attribute_type: Type


@cache
def environment(features: Features = STORED) -> Environment:
    """The environment under these gates."""
    attribute = t.DYN if features.list_type_attributes else t.ANY
    fields = {
        "driver": t.STRING,
        "attributes": t.map_of(t.STRING, t.map_of(t.STRING, attribute)),
        "capacity": t.map_of(t.STRING, t.map_of(t.STRING, t.QUANTITY)),
    }
    if features.consumable_capacity:
        fields["allowMultipleAllocations"] = t.BOOL
    functions = _functions()
    if not features.list_type_attributes:
        functions = {name: overloads for name, overloads in functions.items() if name != "includes"}
    return Environment(
        variables={"device": t.DEVICE, _NULL_VALUE: t.INT} | {name: t.type_of(of) for name, of in _TYPE_NAMES.items()},
        constants={name: TypeValue(name) for name in _TYPE_NAMES} | {_NULL_VALUE: 0},
        functions=functions,
        messages=MESSAGES | {t.DEVICE.name: MessageType(t.DEVICE, fields)},
        attribute_type=attribute,
    )


@cache
def _functions() -> dict[str, tuple[Overload, ...]]:
    by_name: dict[str, list[Overload]] = {}
    for library in LIBRARIES:
        for overload in library.overloads:
            by_name.setdefault(overload.function, []).append(overload)
    return {name: tuple(overloads) for name, overloads in by_name.items()}
