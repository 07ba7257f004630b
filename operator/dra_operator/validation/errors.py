"""What the API server finds wrong with a field: typed, comparable, and printed in its words.

A `FieldError` is a value. Where the hand-written rules and the declared ones find the same, the declared error stands
and the other one goes (`merge`); `origin` and `covered` exist for that alone.

Upstream: k8s.io/apimachinery/pkg/util/validation/field.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from dra_operator.validation.gotext import bad_value, quote

_OMITTED: Final = '"<value omitted>"'


class ErrorType(Enum):
    """Upstream's `field.ErrorType`; the value is the cause's type in a Status."""

    NOT_FOUND = "FieldValueNotFound"
    REQUIRED = "FieldValueRequired"
    DUPLICATE = "FieldValueDuplicate"
    INVALID = "FieldValueInvalid"
    NOT_SUPPORTED = "FieldValueNotSupported"
    FORBIDDEN = "FieldValueForbidden"
    TOO_LONG = "FieldValueTooLong"
    TOO_MANY = "FieldValueTooMany"
    INTERNAL = "InternalError"


_WORDS: Final = {
    ErrorType.NOT_FOUND: "Not found",
    ErrorType.REQUIRED: "Required value",
    ErrorType.DUPLICATE: "Duplicate value",
    ErrorType.INVALID: "Invalid value",
    ErrorType.NOT_SUPPORTED: "Unsupported value",
    ErrorType.FORBIDDEN: "Forbidden",
    ErrorType.TOO_LONG: "Too long",
    ErrorType.TOO_MANY: "Too many",
    ErrorType.INTERNAL: "Internal error",
}
_WITHOUT_VALUE: Final = {ErrorType.REQUIRED, ErrorType.FORBIDDEN, ErrorType.TOO_LONG, ErrorType.INTERNAL}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One mistake. `value` is the refused value as it is printed."""

    type: ErrorType
    field: str
    value: str = '""'
    detail: str = ""
    origin: str = ""
    covered: bool = False
    """A declared rule may say the same."""

    @property
    def body(self) -> str:
        """The message without the field's name: a cause's message in a Status."""
        text = _WORDS[self.type]
        if self.type not in _WITHOUT_VALUE:
            text += f": {self.value}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"

    def because(self, origin: str) -> FieldError:
        return replace(self, origin=origin)


# --- the paths of fields ---------------------------------------------------------------------------------------------


def child(path: str, *names: str) -> str:
    return ".".join((path, *names)) if path else ".".join(names)


def index(path: str, position: int) -> str:
    return f"{path}[{position}]"


def key(path: str, name: str) -> str:
    return f"{path}[{name}]"


# --- making errors ---------------------------------------------------------------------------------------------------


def required(path: str, detail: str = "", *, covered: bool = False) -> FieldError:
    return FieldError(ErrorType.REQUIRED, path, detail=detail, covered=covered)


def invalid(
    path: str, value: object, detail: str, *, origin: str = "", covered: bool = False, internal: bool = False
) -> FieldError:
    """`internal`: the value is of the server's internal version, and is printed as such."""
    return FieldError(ErrorType.INVALID, path, bad_value(value, internal=internal), detail, origin, covered)


def duplicate(path: str, value: object, *, covered: bool = False) -> FieldError:
    return FieldError(ErrorType.DUPLICATE, path, bad_value(value), covered=covered)


def not_found(path: str, value: object) -> FieldError:
    return FieldError(ErrorType.NOT_FOUND, path, bad_value(value))


def not_supported(path: str, value: str, supported: Iterable[str], *, covered: bool = False) -> FieldError:
    detail = "supported values: " + ", ".join(quote(each) for each in supported)
    return FieldError(ErrorType.NOT_SUPPORTED, path, quote(value), detail, covered=covered)


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(ErrorType.FORBIDDEN, path, detail=detail)


def too_long(path: str, limit: int, *, origin: str = "", covered: bool = False, unit: str = "byte") -> FieldError:
    detail = f"may not be more than {limit} {unit}{'' if limit == 1 else 's'}"
    return FieldError(ErrorType.TOO_LONG, path, _OMITTED, detail, origin, covered)


def too_many(path: str, count: int, limit: int, *, origin: str = "", covered: bool = False) -> FieldError:
    detail = f"must have at most {limit} item{'' if limit == 1 else 's'}"
    return FieldError(ErrorType.TOO_MANY, path, str(count), detail, origin, covered)


def covered(errors: Iterable[FieldError]) -> list[FieldError]:
    """The same errors, each of which a declared rule may say as well."""
    return [replace(each, covered=True) for each in errors]


# --- lists of errors -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Declared:
    """An error of a declared rule. Only one of the beta level takes the place of a hand-written error."""

    error: FieldError
    beta: bool


def merge(handwritten: Sequence[FieldError], declared: Sequence[Declared]) -> tuple[FieldError, ...]:
    """What the API server answers: the hand-written errors that no declared one replaces, then the declared ones.

    Upstream: `FilterCoveredHandwrittenErrors`. Errors that say "invalid" are only taken for the same if both know
    the rule that they come from. Hand-written errors that read alike are one.
    """
    replacing = {(each.error.type, each.error.field, each.error.origin) for each in declared if each.beta}
    once: dict[str, FieldError] = {}
    for each in handwritten:
        once.setdefault(str(each), each)
    kept = [each for each in once.values() if not _is_replaced(each, replacing)]
    return (*kept, *(each.error for each in declared))


def _is_replaced(error: FieldError, replacing: set[tuple[ErrorType, str, str]]) -> bool:
    if not error.covered or (error.type is ErrorType.INVALID and not error.origin):
        return False
    return (error.type, error.field, error.origin) in replacing


def summary(errors: Sequence[FieldError]) -> str:
    """All errors in one line, each text once."""
    texts = list(dict.fromkeys(str(each) for each in errors))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
