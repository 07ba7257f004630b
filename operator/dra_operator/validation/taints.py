"""Taints of devices and tolerations of requests.

Upstream: `validateDeviceTaint`, `validateDeviceToleration` in pkg/apis/resource/validation.
"""

from __future__ import annotations

from typing import Final

from dra_operator.validation import names
from dra_operator.validation.errors import FieldError, child, covered, invalid, not_supported, required
from dra_operator.validation.types import DeviceTaint, DeviceToleration

_EFFECTS: Final = ("NoExecute", "NoSchedule", "None")
_OPERATORS: Final = ("Equal", "Exists")


def check_taint(path: str, taint: DeviceTaint, old: DeviceTaint | None = None) -> list[FieldError]:
    found = names.label_key(child(path, "key"), taint.key)
    if taint.value:
        found += names.label_value(child(path, "value"), taint.value)
    if old is None or old.effect != taint.effect:
        found += _effect(child(path, "effect"), taint.effect, needed=True)
    return found


def check_toleration(path: str, toleration: DeviceToleration) -> list[FieldError]:
    found = covered(names.label_key(child(path, "key"), toleration.key)) if toleration.key else []
    match toleration.operator:
        case "Exists":
            if toleration.value:
                detail = "must be empty for operator `Exists`"
                found.append(invalid(child(path, "value"), toleration.value, detail))
        case "Equal":
            found += names.label_value(child(path, "value"), toleration.value)
        case "":
            found.append(required(child(path, "operator"), covered=True))
        case other:
            found.append(not_supported(child(path, "operator"), other, _OPERATORS, covered=True))
    return found + _effect(child(path, "effect"), toleration.effect, needed=False)


def _effect(path: str, effect: str, *, needed: bool) -> list[FieldError]:
    if not effect:
        return [required(path, covered=True)] if needed else []
    return [] if effect in _EFFECTS else [not_supported(path, effect, _EFFECTS, covered=True)]
