"""Opaque JSON that others read: it has to be an object, and not too long.

Upstream: `validateRawExtension` in pkg/apis/resource/validation.
"""

from __future__ import annotations

from typing import Final

from dra_operator.api.content import size
from dra_operator.validation.errors import ErrorType, FieldError, required, too_long
from dra_operator.validation.shapes import Raw

PARAMETERS_MAX: Final = 10 * 1024
DATA_MAX: Final = 10 * 1024


def check_raw_object(path: str, raw: Raw, limit: int, *, stored: bool = False) -> list[FieldError]:
    """`stored`: it is there already, whatever its length."""
    if not raw.text:
        return [required(path)]
    if not stored and size(raw.text) > limit:
        return [too_long(path, limit)]
    if not raw.text.startswith("{"):  # `to_json` writes no blanks
        return [FieldError(ErrorType.INVALID, path, '"<value omitted>"', "must be a valid JSON object")]
    return []
