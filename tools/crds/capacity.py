"""The rules for the policy by which claims ask for parts of a capacity.

Amounts are compared as amounts. Where upstream counts steps in whole numbers, so does this; a fraction is left alone.

Upstream: `validateRequestPolicy` and below in pkg/apis/resource/validation.
"""

from __future__ import annotations

from typing import Final

from dra_operator.validation.capacity import OPTIONS_MAX

__all__ = ["OPTIONS_MAX", "RULES"]

_HAS_VALUES: Final = (
    "(has(self.requestPolicy) && has(self.requestPolicy.validValues) && size(self.requestPolicy.validValues) > 0)"
)
_HAS_RANGE: Final = "(has(self.requestPolicy) && has(self.requestPolicy.validRange))"


def _amount(path: str) -> str:
    return f"quantity(string({path}).trim())"


_VALUE: Final = _amount("self.value")
_DEFAULT: Final = _amount("self.requestPolicy.default")


def _when_range(*needed: str, rule: str) -> str:
    """The rule, where there is a range with these bounds and a default."""
    has = " || ".join(f"!has(self.requestPolicy.validRange.{name})" for name in needed)
    return f"!{_HAS_RANGE} || !has(self.requestPolicy.default) || {has} || {rule}"


def _bound(name: str) -> str:
    return _amount(f"self.requestPolicy.validRange.{name}")


_MIN, _MAX, _STEP = _bound("min"), _bound("max"), _bound("step")
_RANGE: Final = ".requestPolicy.validRange"
_VALUES: Final = ".requestPolicy.validValues"
_OPTIONS: Final = "self.requestPolicy.validValues"


def _small(of: str) -> str:
    return f"{of}.compareTo(quantity('{(1 << 63) - 1}')) <= 0"


def _in_steps(of: str) -> str:
    whole = f"{of}.isInteger() && {_MIN}.isInteger() && {_STEP}.isInteger()"
    return f"!({whole}) || ({of}.asInteger() - {_MIN}.asInteger()) % {_STEP}.asInteger() == 0"


RULES: Final[tuple[tuple[str, str, str], ...]] = (
    (
        f"!({_HAS_VALUES} && {_HAS_RANGE})",
        "exactly one policy can be specified, not both of validValues and validRange",
        ".requestPolicy",
    ),
    (
        f"!({_HAS_VALUES} || {_HAS_RANGE}) || has(self.requestPolicy.default)",
        "default is required when validValues or validRange is defined",
        ".requestPolicy",
    ),
    (
        f"!{_HAS_RANGE} || has(self.requestPolicy.validRange.min)",
        "min is required when validRange is defined",
        _RANGE,
    ),
    (
        f"!{_HAS_VALUES} || {_OPTIONS}.all(o, {_amount('o')}.compareTo({_VALUE}) <= 0)",
        "no option may be larger than the capacity's value",
        _VALUES,
    ),
    (
        f"!{_HAS_VALUES} || [{_OPTIONS}.map(o, {_amount('o')})].all(amounts, "
        "amounts.all(a, amounts.exists_one(b, a.compareTo(b) == 0)))",
        "no two options may be the same amount",
        _VALUES,
    ),
    (
        f"!{_HAS_VALUES} || {_OPTIONS}.map(o, {_amount('o')}.asApproximateFloat()).isSorted()",
        "options must be sorted in ascending order",
        _VALUES,
    ),
    (
        f"!{_HAS_VALUES} || !has(self.requestPolicy.default) || "
        f"{_OPTIONS}.exists(o, {_amount('o')}.compareTo({_DEFAULT}) == 0)",
        "the default must be one of the options",
        _VALUES,
    ),
    (
        _when_range("min", rule=f"{_MIN}.compareTo({_VALUE}) <= 0 && {_DEFAULT}.compareTo({_MIN}) >= 0"),
        "min must not be larger than the capacity's value, nor than the default",
        _RANGE,
    ),
    (
        _when_range(
            "min",
            "max",
            rule=f"{_MIN}.compareTo({_MAX}) <= 0 && {_MAX}.compareTo({_VALUE}) <= 0 && "
            f"{_DEFAULT}.compareTo({_MAX}) <= 0",
        ),
        "max must not be smaller than min or the default, nor larger than the capacity's value",
        _RANGE,
    ),
    (
        _when_range("min", "step", rule=f"sign({_STEP}) > 0"),
        "step must be greater than zero",
        _RANGE,
    ),
    (
        _when_range("min", "step", rule=f"sign({_STEP}) <= 0 || {_MIN}.add({_STEP}).compareTo({_VALUE}) <= 0"),
        "one step from min must not be larger than the capacity's value",
        _RANGE,
    ),
    (
        _when_range(
            "min", "step", rule=f"sign({_STEP}) <= 0 || sign({_MIN}) >= 0 && {_small(_STEP)} && {_small(_DEFAULT)}"
        ),
        "where there is a step min must not be negative, and no amount larger than an int64",
        _RANGE,
    ),
    (
        _when_range("min", "step", rule=f"sign({_STEP}) <= 0 || sign({_MIN}) < 0 || {_in_steps(_DEFAULT)}"),
        "the default must be a number of steps from min",
        _RANGE,
    ),
    (
        _when_range("min", "max", "step", rule=f"sign({_STEP}) <= 0 || sign({_MIN}) < 0 || {_in_steps(_MAX)}"),
        "max must be a number of steps from min",
        _RANGE,
    ),
)
"""Rule, message, field."""
