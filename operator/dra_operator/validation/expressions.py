"""CEL expressions as the API server takes them in: compiled, and not too expensive.

Only new ones: an expression that is stored already was good when it came in.

Upstream: `validateCELExpression` in pkg/apis/resource/validation.
"""

from __future__ import annotations

from typing import Final

from dra_operator.api.content import size
from dra_operator.cel import COST_LIMIT, MAX_LENGTH, CELCompileError, Features, compile_selector
from dra_operator.cel.estimate import estimate
from dra_operator.cel.selector import program_of
from dra_operator.validation.errors import FieldError, forbidden, invalid, too_long
from dra_operator.validation.gates import Gates

_LIMIT: Final = MAX_LENGTH


class Expressions:
    """What expressions cost at most, under these feature gates. Raises CELCompileError where one does not compile."""

    def __init__(self, gates: Gates) -> None:
        self._features = Features(
            list_type_attributes=gates.enabled("DRAListTypeAttributes"),
            consumable_capacity=gates.enabled("DRAConsumableCapacity"),
        )

    def of_selector(self, expression: str) -> int:
        return compile_selector(expression, self._features).estimated_cost

    def why(self, refused: CELCompileError) -> str:
        """In the API server's words."""
        return str(refused)

    def of_derived(self, expression: str) -> int:
        """Of one that derives an attribute."""
        return estimate(program_of(expression, self._features, derives=True).checked)


class CompiledAhead(Expressions):
    """Selectors that were compiled before they are asked about, one by one: many take longer than anybody may wait.

    The cache of compiled selectors is left out of it: it serves those that are in use.
    """

    def __init__(self, gates: Gates) -> None:
        super().__init__(gates)
        self._found: dict[str, int | CELCompileError] = {}

    def compile(self, expression: str) -> bool:
        """False if there was nothing to do: it was known, or is too long to be looked at."""
        if expression in self._found or size(expression) > _LIMIT:
            return False
        try:
            self._found[expression] = estimate(program_of(expression, self._features).checked)
        except CELCompileError as error:
            self._found[expression] = error.with_traceback(None)
        return True

    def of_selector(self, expression: str) -> int:
        self.compile(expression)
        found = self._found[expression]
        if isinstance(found, CELCompileError):
            raise found.again()
        return found

    def why(self, refused: CELCompileError) -> str:
        """Briefly: of one long expression the API server's answer is two megabytes, and a claim has a hundred."""
        return refused.brief

    def refusal(self, expression: str) -> CELCompileError | None:
        """Why the selector does not compile; None if it does, or was not looked at."""
        found = self._found.get(expression)
        return found if isinstance(found, CELCompileError) else None


class CostOfClaim:
    """What the derived attributes of one claim cost at most, together."""

    def __init__(self) -> None:
        self._total = 0

    @property
    def exceeded(self) -> bool:
        return self._total > COST_LIMIT

    def add(self, cost: int) -> None:
        self._total += cost


def check_selector_expression(path: str, expression: str, expressions: Expressions) -> list[FieldError]:
    """A selector that someone writes now."""
    if size(expression) > _LIMIT:
        return [too_long(path, _LIMIT)]
    try:
        return _complexity(path, expressions.of_selector(expression))
    except CELCompileError as error:
        return [invalid(path, expression, expressions.why(error))]


def check_derived_expression(
    path: str, expression: str, expressions: Expressions, cost: CostOfClaim
) -> list[FieldError]:
    """An expression that derives an attribute."""
    if size(expression) > _LIMIT:
        return [too_long(path, _LIMIT)]
    try:
        estimated = expressions.of_derived(expression)
    except CELCompileError as error:
        return [invalid(path, expression, expressions.why(error))]
    cost.add(estimated)
    return _complexity(path, estimated)


def _complexity(path: str, cost: int) -> list[FieldError]:
    return [forbidden(path, "too complex, exceeds cost limit")] if cost > COST_LIMIT else []
