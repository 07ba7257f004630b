"""Attributes that a request derives from a device by CEL, in place of the device's own of that name.

Only constraints look at them, and only then are they evaluated; an expression that fails, or gives neither a scalar
nor a list of one scalar type, ends the decision.

Upstream: `lookupAttribute` of structured/internal/experimental and `EvaluateDerivedAttribute` of the cel package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.requests import Alternative
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceAttribute
from dra_operator.api.semver import Version
from dra_operator.cel.budget import COST_LIMIT, Budget
from dra_operator.cel.errors import CELCompileError, CELRuntimeError
from dra_operator.cel.evaluate import Program
from dra_operator.cel.selector import program_of
from dra_operator.cel.values import UInt, Value
from dra_operator.inventory.devices import Device, UnsupportedAttribute


def lookup_attribute(alternative: Alternative, device: Device, name: str) -> DeviceAttribute | None:
    """The attribute as the request sees it: derived, or else the device's own. Raises `Abort`."""
    expression = alternative.derived.get(name)
    if expression is None:
        return device.attribute(name)
    where = f'request "{alternative.name}": derived attribute "{name}"'
    try:
        return derive(expression, device)
    except CELCompileError as error:
        raise Abort(Reason.SELECTOR_INVALID, f"{where} does not compile: {error.brief}") from error
    except (CELRuntimeError, UnsupportedAttribute) as error:
        raise Abort(Reason.SELECTOR_FAILED, f"{where} failed on device {device.id}: {error}") from error


def derive(expression: str, device: Device) -> DeviceAttribute:
    """What the expression makes of the device. Raises CELCompileError, CELRuntimeError, UnsupportedAttribute."""
    program = _compile(expression)
    if isinstance(program, CELCompileError):
        raise program.again()
    return _as_attribute(program.evaluate(device.view.variables, Budget(COST_LIMIT)))


@lru_cache(maxsize=256)
def _compile(expression: str) -> Program | CELCompileError:
    try:
        return program_of(expression, derives=True)
    except CELCompileError as error:
        return error.with_traceback(None)


def _as_attribute(value: Value) -> DeviceAttribute:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _as_list(tuple(value))
    match value:
        case bool():
            return DeviceAttribute(bool_value=value)
        case int() if not isinstance(value, UInt):
            return DeviceAttribute(int_value=value)
        case str():
            return DeviceAttribute(string_value=value)
        case Version():
            return DeviceAttribute(version_value=str(value))
        case _:
            raise CELRuntimeError(f"a derived attribute cannot be a {type(value).__name__}")


def _as_list(values: tuple[Value, ...]) -> DeviceAttribute:
    types = {type(value) for value in values}
    if len(types) > 1:
        raise CELRuntimeError("the elements of a derived list have several types")
    kind = types.pop() if types else str
    build = _LISTS.get(kind)
    if build is None:
        raise CELRuntimeError(f"the elements of a derived list cannot be {kind.__name__}")
    return build(values)


_LISTS: Final[Mapping[type, Callable[[tuple[Value, ...]], DeviceAttribute]]] = {
    bool: lambda values: DeviceAttribute(bool_values=values),
    int: lambda values: DeviceAttribute(int_values=values),
    str: lambda values: DeviceAttribute(string_values=values),
    Version: lambda values: DeviceAttribute(version_values=tuple(map(str, values))),
}
