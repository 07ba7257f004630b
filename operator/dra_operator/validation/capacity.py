"""Capacity that can be shared, and the policy by which claims ask for parts of it.

Upstream: `validateRequestPolicy` and below in pkg/apis/resource/validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from dra_operator.api.quantity import Quantity, QuantityError
from dra_operator.validation.errors import FieldError, child, forbidden, index, invalid, required
from dra_operator.validation.gates import Gates
from dra_operator.validation.lists import check_set
from dra_operator.validation.slicetypes import CapacityRequestPolicy, CapacityRequestPolicyRange, DeviceCapacity

OPTIONS_MAX: Final = 10
_MAX_INT64: Final = (1 << 63) - 1
_SPELLED_OUT: Final = 400


def check_capacity(path: str, capacity: DeviceCapacity, *, shared: bool, gates: Gates) -> list[FieldError]:
    """`shared`: the device allows several allocations."""
    policy = capacity.request_policy
    where = child(path, "requestPolicy")
    if policy is None:
        return []
    if not shared:
        return [forbidden(where, "allowMultipleAllocations must be true")]
    if policy.valid_values and policy.valid_range is not None:
        both = 'cannot specify "validValues" and "validRange" at the same time'
        return [forbidden(where, f"exactly one policy can be specified, {both}")]
    return _policy(where, policy, capacity.value, fractional=gates.enabled("DRAFractionalCapacityRange"))


def _policy(path: str, policy: CapacityRequestPolicy, value: Quantity, *, fractional: bool) -> list[FieldError]:
    if not policy.valid_values and policy.valid_range is None:
        return []
    kind = "validValues" if policy.valid_values else "validRange"
    if policy.default is None:
        return [required(child(path, "default"), f"required when {kind} is defined")]
    if policy.valid_range is not None:
        return _Range(child(path, kind), policy.valid_range, policy.default, value, fractional).check()
    return _options(child(path, kind), policy.valid_values or (), policy.default, value, fractional)


def _options(
    path: str, options: tuple[Quantity, ...], default: Quantity, value: Quantity, fractional: bool
) -> list[FieldError]:
    found = [
        invalid(index(path, i + 1), after.as_written(), "values must be sorted in ascending order")
        for i, (before, after) in enumerate(pairwise(options))
        if before > after
    ]

    def check(where: str, option: Quantity) -> list[FieldError]:
        if option > value:
            return [invalid(where, option.as_written(), f"option is larger than capacity value: {value.as_written()}")]
        return []

    identify = _decimal_text if fractional else _whole_text
    found += check_set(path, options, check, identify, limit=OPTIONS_MAX, declared=False)
    if len(options) > OPTIONS_MAX or default not in options:
        found.append(invalid(path, default.as_written(), "default value is not valid according to the requestPolicy"))
    return found


class _Range:
    def __init__(
        self, path: str, range_: CapacityRequestPolicyRange, default: Quantity, value: Quantity, fractional: bool
    ) -> None:
        self._path = path
        self._range = range_
        self._default = default
        self._value = value
        bounds = (range_.min, range_.max, range_.step, default)
        self._milli = fractional and any(each is not None and _is_fractional(each) for each in bounds)

    def check(self) -> list[FieldError]:
        if self._range.min is None:
            return [required(child(self._path, "min"), "required when validRange is defined")]
        found = list(self._bounds(self._range.min))
        if self._milli:
            detail = "value cannot be represented as a milli value"
            unsafe = [
                invalid(child(self._path, name), each.as_written(), detail)
                for name, each in self._numbers()
                if Quantity(_int64(each.milli_value()), -3) != each
            ]
            if unsafe:
                return found + unsafe
        if self._range.step is not None:
            found += self._step(self._range.min, self._range.step)
        return found

    def _bounds(self, least: Quantity) -> Iterator[FieldError]:
        default, most = self._default, self._range.max
        if least > self._value:
            yield self._wrong("min", least, f"min is larger than capacity value: {self._value.as_written()}")
        if default < least:
            yield self._wrong("default", default, f"default is less than min: {least.as_written()}")
        if most is None:
            return
        if least > most:
            yield self._wrong("max", least, f"min is larger than max: {most.as_written()}")
        if most > self._value:
            yield self._wrong("max", most, f"max is larger than capacity value: {self._value.as_written()}")
        if default > most:
            yield self._wrong("default", default, f"default is more than max: {most.as_written()}")

    def _step(self, least: Quantity, step: Quantity) -> Iterator[FieldError]:
        if step.sign() <= 0:
            yield self._wrong("step", step, "must be greater than zero")
            return
        first = _sum(least, step)
        if first > self._value:
            yield self._wrong(
                "step", step, f"one step {first} is larger than capacity value: {self._value.as_written()}"
            )
        if not self._milli:
            unsafe = [error for name, each in self._numbers() for error in self._outside_int64(name, each)]
            if unsafe:
                yield from unsafe
                return
        for each in (self._default, self._range.max):
            if each is not None and (self._number(each) - self._number(least)) % self._number(step):
                detail = f"value is not a multiple of a given step ({step.as_written()}) from ({least.as_written()})"
                yield invalid(child(self._path, "step"), each.as_written(), detail)

    def _numbers(self) -> Iterator[tuple[str, Quantity]]:
        yield "default", self._default
        for name, each in (("min", self._range.min), ("max", self._range.max), ("step", self._range.step)):
            if each is not None:
                yield name, each

    def _outside_int64(self, name: str, each: Quantity) -> list[FieldError]:
        if each.sign() < 0:
            return [self._wrong(name, each, "must be greater than or equal to 0")]
        if each > Quantity(_MAX_INT64):
            return [self._wrong(name, each, f"must not be larger than {_MAX_INT64}")]
        return []

    def _number(self, each: Quantity) -> int:
        return each.milli_value() if self._milli else each.value()

    def _wrong(self, name: str, each: Quantity, detail: str) -> FieldError:
        return invalid(child(self._path, name), each.as_written(), detail)


def _is_fractional(quantity: Quantity) -> bool:
    return Quantity(quantity.value()) != quantity


def _int64(number: int) -> int:
    """What is left of a number in 64 bits, as upstream's conversion has it."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _sum(a: Quantity, b: Quantity) -> Quantity:
    try:
        return a.add(b)
    except QuantityError:  # so far apart that the sum is as good as the larger one
        return a if abs(a.decimal()[1]) > abs(b.decimal()[1]) else b


def _whole_text(quantity: Quantity) -> str:
    return str(_int64(quantity.value()))


def _decimal_text(quantity: Quantity) -> str:
    """The amount as a decimal, as exact as it was written: `1` and `1000m` are two texts, and both are let through."""
    unscaled, scale = quantity.decimal()
    digits = str(abs(unscaled))
    if abs(scale) > _SPELLED_OUT:
        return f"{unscaled}e{scale}"
    if scale > 0 and unscaled:
        digits += "0" * scale
    elif scale < 0:
        digits = digits.rjust(1 - scale, "0")
        digits = f"{digits[:scale]}.{digits[scale:]}"
    return f"-{digits}" if unscaled < 0 else digits
