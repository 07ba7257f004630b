"""Kubernetes quantities: `quantity("40Gi")`, comparison and arithmetic.

Upstream: `pkg/cel/library/quantity.go` in k8s.io/apiserver.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from dra_operator.api.quantity import Quantity, QuantityError
from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.values import ComputedQuantity

LIBRARY: Final = Library()


@lru_cache(maxsize=1024)
def _parse(text: str) -> Quantity:
    return Quantity.parse(text)


@LIBRARY.function("quantity(string) -> Quantity")
def parse(text: str) -> Quantity:
    try:
        return _parse(text)
    except QuantityError as error:
        raise CELEvaluationError(str(error)) from None


@LIBRARY.function("isQuantity(string) -> bool")
def is_quantity(text: str) -> bool:
    try:
        _parse(text)
    except QuantityError:
        return False
    return True


@LIBRARY.function("sign(Quantity) -> int")
def sign(amount: Quantity) -> int:
    return amount.sign()


@LIBRARY.function("Quantity.isGreaterThan(Quantity) -> bool")
def is_greater_than(amount: Quantity, other: Quantity) -> bool:
    return amount.compare(other) > 0


@LIBRARY.function("Quantity.isLessThan(Quantity) -> bool")
def is_less_than(amount: Quantity, other: Quantity) -> bool:
    return amount.compare(other) < 0


@LIBRARY.function("Quantity.compareTo(Quantity) -> int")
def compare_to(amount: Quantity, other: Quantity) -> int:
    return amount.compare(other)


@LIBRARY.function("Quantity.asApproximateFloat() -> double")
def as_approximate_float(amount: Quantity) -> float:
    return amount.approximate()


@LIBRARY.function("Quantity.isInteger() -> bool")
def is_integer(amount: Quantity) -> bool:
    return amount.is_integer()


@LIBRARY.function("Quantity.asInteger() -> int")
def as_integer(amount: Quantity) -> int:
    number = amount.as_int64()
    if number is None:
        raise CELEvaluationError("cannot convert value to integer")
    return number


@LIBRARY.function("Quantity.add(Quantity) -> Quantity", "Quantity.add(int) -> Quantity")
def add(amount: Quantity, other: Quantity | int) -> Quantity:
    try:
        return ComputedQuantity.of(amount.add(other if isinstance(other, Quantity) else Quantity(other)))
    except QuantityError as error:
        raise CELEvaluationError(str(error)) from None


@LIBRARY.function("Quantity.sub(Quantity) -> Quantity", "Quantity.sub(int) -> Quantity")
def sub(amount: Quantity, other: Quantity | int) -> Quantity:
    try:
        return ComputedQuantity.of(amount.sub(other if isinstance(other, Quantity) else Quantity(other)))
    except QuantityError as error:
        raise CELEvaluationError(str(error)) from None
