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
from threading import Lock
from typing import Final

from dra_operator.cel.budget import COST_LIMIT, Budget
from dra_operator.cel.check import check
from dra_operator.cel.compiled import decision, loops
from dra_operator.cel.device import DeviceView
from dra_operator.cel.environment import STORED, Features, environment
from dra_operator.cel.errors import CELCompileError, CELEvaluationError, Issue
from dra_operator.cel.estimate import estimate
from dra_operator.cel.evaluate import Program
from dra_operator.cel.literals import fold, validate
from dra_operator.cel.nesting import is_deep, room_to_recurse
from dra_operator.cel.parser import parse
from dra_operator.cel.values import Value, type_name

MAX_LENGTH: Final = 10_240  # resource.k8s.io/v1: CELSelectorExpressionMaxLength, in bytes
_CACHE_SIZE: Final = 4_096
_CACHE_CHARACTERS: Final = 1_000_000
"""Of all expressions that are remembered. One of ten thousand takes a megabyte of memory."""
_NO_BOOL: Final = {
    "string": "unsupported native conversion from string to 'bool'",
    "uint": "unsupported type conversion from 'uint' to bool",
    "int": "unsupported type conversion from 'int' to bool",
    "list": "type conversion error from list to 'bool'",
    "kubernetes.Semver": "type conversion error from 'Semver' to 'bool'",
}


class Selector:
    """A compiled expression that decides about devices."""

    __slots__ = ("_decide", "_program", "counts", "estimated_cost", "expression", "features")

    def __init__(self, expression: str, features: Features, program: Program) -> None:
        self.expression = expression
        self.features = features
        self.estimated_cost = estimate(program.checked)
        """What an evaluation costs at most. The API server refuses to store a selector above COST_LIMIT."""
        self.counts = self.estimated_cost > COST_LIMIT or loops(program)
        self._program = program
        self._decide = decision(program, counting=self.counts)

    def matches(self, device: DeviceView) -> bool:
        """Whether the device is one that the selector asks for. Raises CELRuntimeError."""
        if self._decide is None:
            return self.measure(device)[0]
        result = self._decide(device, COST_LIMIT)
        if self.counts:
            result = result[0]
        if result is True or result is False:
            return result
        raise _no_bool(result)

    def ask(self, device: DeviceView, *, cost_limit: int) -> tuple[bool, int]:
        """Like `matches`, with about what it cost. Going over lists for more than `cost_limit` raises CELCostError."""
        if self._decide is None:
            return self.measure(device, cost_limit=min(cost_limit, COST_LIMIT))
        if not self.counts:
            return self.matches(device), self.most
        result, cost = self._decide(device, min(cost_limit, COST_LIMIT))
        if result is True or result is False:
            return result, cost
        raise _no_bool(result)

    @property
    def most(self) -> int:
        """What `ask` costs at most. What goes over no list costs less time by far than its bound says."""
        return min(self.estimated_cost, COST_LIMIT) if self.counts else self.estimated_cost // 10 + 1

    def measure(self, device: DeviceView, *, cost_limit: int = COST_LIMIT) -> tuple[bool, int]:
        """Like `matches`, by the reference evaluator, with what the evaluation cost."""
        budget = Budget(cost_limit)
        result = self._program.evaluate(device.variables, budget)
        if result is True or result is False:
            return result, budget.spent
        raise _no_bool(result)

    def __repr__(self) -> str:
        return f"Selector({self.expression!r})"


def _no_bool(result: Value) -> CELEvaluationError:
    name = type_name(result)
    message = f"CEL result of type {name} could not be converted to bool: {_NO_BOOL.get(name, '')}"
    return CELEvaluationError(message.removesuffix(": "))


def compile_selector(expression: str, features: Features = STORED) -> Selector:
    """The compiled selector. Raises CELCompileError."""
    if len(expression) > MAX_LENGTH:
        raise _too_long(expression)
    found = _COMPILED.get(expression, features)
    if found is None:
        found = _compile(expression, features)
        _COMPILED.put(expression, features, found)
    if isinstance(found, Selector):
        return found
    raise found.again()


def is_compiled(expression: str, features: Features = STORED) -> bool:
    """Whether `compile_selector` would answer at once."""
    return len(expression) > MAX_LENGTH or _COMPILED.get(expression, features) is not None


class _Cache:
    """By age. Were that kept apart, `is_compiled` could be wrong for ever about what is asked for often.

    Threads put in what they have compiled, so what is counted and what is there change together.
    """

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[str, Features], Selector | CELCompileError] = OrderedDict()
        self._characters = 0
        self._lock = Lock()

    def get(self, expression: str, features: Features) -> Selector | CELCompileError | None:
        return self._found.get((expression, features))

    def put(self, expression: str, features: Features, found: Selector | CELCompileError) -> None:
        with self._lock:
            if (expression, features) not in self._found:
                self._characters += len(expression)
            self._found[expression, features] = found
            while len(self._found) > _CACHE_SIZE or self._characters > _CACHE_CHARACTERS:
                (oldest, _), _ = self._found.popitem(last=False)
                self._characters -= len(oldest)

    def clear(self) -> None:
        with self._lock:
            self._found.clear()
            self._characters = 0


_COMPILED: Final = _Cache()


def _compile(expression: str, features: Features) -> Selector | CELCompileError:
    try:
        return Selector(expression, features, program_of(expression, features))
    except CELCompileError as error:
        return error.with_traceback(None)


def program_of(expression: str, features: Features = STORED, *, derives: bool = False) -> Program:
    """The checked expression: a selector, or what derives an attribute. Raises CELCompileError."""
    if len(expression.encode()) > MAX_LENGTH:
        raise _too_long(expression)
    scope = environment(features)
    tree = parse(expression)
    with room_to_recurse():
        checked = check(expression, tree, scope, derives=derives)
        validate(expression, checked)
        constants = fold(expression, checked, scope)
    return Program(checked, constants, scope.functions, is_deep(tree))


def _too_long(expression: str) -> CELCompileError:
    return CELCompileError(expression[:MAX_LENGTH], (Issue(-1, f"expression is longer than {MAX_LENGTH} bytes"),))
