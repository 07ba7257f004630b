"""Selectors: compile once, ask for each device. This is the package's front door.

    selector = compile_selector('device.driver == "gpu.example.com"')
    selector.matches(device)

A selector that cannot be compiled raises CELCompileError with positions; one that fails on a device, or gives no bool,
raises CELRuntimeError, which aborts the allocation as upstream: an error is not "no match".

Compiled selectors are cached by expression and feature gates, failures too: a claim with a broken selector is looked at
for every node.

Upstream: `CompileCELExpression` in k8s.io/dynamic-resource-allocation/cel.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from dra_operator.cel.budget import COST_LIMIT, Budget
from dra_operator.cel.check import check
from dra_operator.cel.device import DeviceView
from dra_operator.cel.environment import STORED, Features, environment
from dra_operator.cel.errors import CELCompileError, CELEvaluationError, Issue
from dra_operator.cel.evaluate import Program
from dra_operator.cel.literals import fold, validate
from dra_operator.cel.nesting import is_deep, room_to_recurse
from dra_operator.cel.parser import parse
from dra_operator.cel.values import type_name

MAX_LENGTH: Final = 10_240  # resource.k8s.io/v1: CELSelectorExpressionMaxLength, in bytes
_CACHE_SIZE: Final = 4_096
_NO_BOOL: Final = {
    "string": "unsupported native conversion from string to 'bool'",
    "uint": "unsupported type conversion from 'uint' to bool",
    "int": "unsupported type conversion from 'int' to bool",
    "list": "type conversion error from list to 'bool'",
    "kubernetes.Semver": "type conversion error from 'Semver' to 'bool'",
}


class Selector:
    """A compiled expression that decides about devices."""

    __slots__ = ("_program", "expression", "features")

    def __init__(self, expression: str, features: Features, program: Program) -> None:
        self.expression = expression
        self.features = features
        self._program = program

    def matches(self, device: DeviceView, *, cost_limit: int = COST_LIMIT) -> bool:
        """Whether the device is one that the selector asks for. Raises CELRuntimeError."""
        return self.measure(device, cost_limit=cost_limit)[0]

    def measure(self, device: DeviceView, *, cost_limit: int = COST_LIMIT) -> tuple[bool, int]:
        """Like `matches`, with what the evaluation cost."""
        budget = Budget(cost_limit)
        result = self._program.evaluate(device.variables, budget)
        if result is not True and result is not False:
            name = type_name(result)
            message = f"CEL result of type {name} could not be converted to bool: {_NO_BOOL.get(name, '')}"
            raise CELEvaluationError(message.removesuffix(": "))
        return result, budget.spent

    def __repr__(self) -> str:
        return f"Selector({self.expression!r})"


_cache: OrderedDict[tuple[str, Features], Selector | CELCompileError] = OrderedDict()


def compile_selector(expression: str, features: Features = STORED) -> Selector:
    """The compiled selector. Raises CELCompileError."""
    key = expression, features
    found = _cache.get(key)
    if found is None:
        try:
            found = _compile(expression, features)
        except CELCompileError as error:
            found = error.with_traceback(None)
        _cache[key] = found
        if len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    else:
        _cache.move_to_end(key)
    if isinstance(found, CELCompileError):
        raise CELCompileError(found.expression, found.issues, found.prefix)
    return found


def _compile(expression: str, features: Features) -> Selector:
    if len(expression.encode()) > MAX_LENGTH:
        issue = Issue(-1, f"expression is longer than {MAX_LENGTH} bytes")
        raise CELCompileError(expression[:MAX_LENGTH], (issue,))
    scope = environment(features)
    tree = parse(expression)
    with room_to_recurse():
        checked = check(expression, tree, scope)
        validate(expression, checked)
        constants = fold(expression, checked, scope)
    return Selector(expression, features, Program(checked, constants, scope.functions, is_deep(tree)))
