"""CEL expressions as the API server takes them in: compiled, and not too expensive.

Only new ones: an expression that is stored already was good when it came in.

Upstream: `validateCELExpression` in pkg/apis/resource/validation.
"""

from __future__ import annotations

from typing import Final

from dra_operator.cel import COST_LIMIT, MAX_LENGTH, CELCompileError, Features, compile_selector
from dra_operator.cel.estimate import estimate
from dra_operator.cel.selector import program_of
from dra_operator.validation.content import size
from dra_operator.validation.errors import FieldError, forbidden, invalid, too_long
from dra_operator.validation.gates import Gates

_LIMIT: Final = MAX_LENGTH


def check_selector_expression(path: str, expression: str, gates: Gates) -> list[FieldError]:
    """A selector that someone writes now."""
    if size(expression) > _LIMIT:
        return [too_long(path, _LIMIT)]
    try:
        selector = compile_selector(expression, _features(gates))
    except CELCompileError as error:
        return [invalid(path, expression, str(error))]
    return _complexity(path, selector.estimated_cost)


class CostOfClaim:
    """What the derived attributes of one claim cost at most, together."""

    def __init__(self) -> None:
        self._total = 0

    @property
    def exceeded(self) -> bool:
        return self._total > COST_LIMIT

    def add(self, cost: int) -> None:
        self._total += cost


def check_derived_expression(path: str, expression: str, gates: Gates, cost: CostOfClaim) -> list[FieldError]:
    """An expression that derives an attribute."""
    if size(expression) > _LIMIT:
        return [too_long(path, _LIMIT)]
    try:
        program = program_of(expression, _features(gates), derives=True)
    except CELCompileError as error:
        return [invalid(path, expression, str(error))]
    estimated = estimate(program.checked)
    cost.add(estimated)
    return _complexity(path, estimated)


def _complexity(path: str, cost: int) -> list[FieldError]:
    return [forbidden(path, "too complex, exceeds cost limit")] if cost > COST_LIMIT else []


def _features(gates: Gates) -> Features:
    return Features(
        list_type_attributes=gates.enabled("DRAListTypeAttributes"),
        consumable_capacity=gates.enabled("DRAConsumableCapacity"),
    )
