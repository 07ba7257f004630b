"""Conditions in a status.

Upstream: `ValidateConditions` in k8s.io/apimachinery/pkg/apis/meta/v1/validation. Its declared rules are not enforced.
"""

from __future__ import annotations

from typing import Final

from dra_operator.api import content
from dra_operator.validation import names
from dra_operator.validation.errors import (
    FieldError,
    child,
    duplicate,
    index,
    invalid,
    not_supported,
    required,
    too_long,
)
from dra_operator.validation.metatypes import Condition

STATUSES: Final = ("False", "True", "Unknown")
REASON_MAX: Final = 1024
MESSAGE_MAX: Final = 32 * 1024


def check_conditions(path: str, conditions: tuple[Condition, ...] | None) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, condition in enumerate(conditions or ()):
        where = index(path, i)
        if condition.type in seen:
            found.append(duplicate(where, condition.type))
        seen.add(condition.type)
        found += _condition(where, condition)
    return found


def _condition(path: str, condition: Condition) -> list[FieldError]:
    found: list[FieldError] = []
    if condition.type:
        found += names.label_key(child(path, "type"), condition.type)
    else:
        found.append(required(child(path, "type"), "is required"))
    if not condition.status:
        found.append(required(child(path, "status")))
    elif condition.status not in STATUSES:
        found.append(not_supported(child(path, "status"), condition.status, STATUSES))
    if condition.observed_generation < 0:
        detail = "must be greater than or equal to zero"
        found.append(invalid(child(path, "observedGeneration"), condition.observed_generation, detail))
    if condition.last_transition_time is None:
        found.append(required(child(path, "lastTransitionTime")))
    where = child(path, "reason")
    if not condition.reason:
        found.append(required(where))
    else:
        found += [invalid(where, condition.reason, message) for message in content.condition_reason(condition.reason)]
        if content.size(condition.reason) > REASON_MAX:
            found.append(too_long(where, REASON_MAX))
    if content.size(condition.message) > MESSAGE_MAX:
        found.append(too_long(child(path, "message"), MESSAGE_MAX))
    return found
