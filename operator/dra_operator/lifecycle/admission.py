"""What is wrong with the expressions of a DeviceClass, claim or template that somebody is about to store.

A built-in API checks them itself; where resource.k8s.io is served from CustomResourceDefinitions nobody else does. The
answer names the field, shows the expression with a caret below the place, and what to write instead, if that is known.

Upstream: `validateCELSelector` and its like in pkg/apis/resource/validation. Not here: all the other rules of
validation, unless they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from dra_operator.cel.errors import CELCompileError
from dra_operator.cel.hints import explain_refusal
from dra_operator.cel.selector import compile_selector
from dra_operator.validation import DEFAULT_GATES, FieldError, Gates, decode, validate, validate_update
from dra_operator.validation.documents import Undecodable

_EXPRESSION: Final = ".cel.expression"
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def find_refusal(
    new: Mapping[str, Any],
    old: Mapping[str, Any] | None = None,
    *,
    everything: bool = False,
    gates: Gates = DEFAULT_GATES,
) -> str | None:
    """Why the object may not be stored, in as many lines as it takes; None if it may.

    `everything`: all rules of validation count, not only those about expressions. An object that does not fit the types
    is refused only then: a newer API server may know more of them.
    """
    decoded = decode(_plain(new))
    before = decode(_plain(old)) if old is not None else None
    if isinstance(decoded, Undecodable) or isinstance(before, Undecodable):
        return decoded.message if everything and isinstance(decoded, Undecodable) else None
    if before is None:
        errors = validate(decoded.object, gates=gates)
    else:
        errors = validate_update(decoded.object, before.object, gates=gates)
    told = [_tell(error, new) for error in errors if everything or error.field.endswith(_EXPRESSION)]
    return "\n".join(dict.fromkeys(told)) or None


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "status"}


def _tell(error: FieldError, document: Mapping[str, Any]) -> str:
    """The API server's sentence, and the cure below it."""
    expression = _value_at(document, error.field) if error.field.endswith(_EXPRESSION) else None
    if not isinstance(expression, str):
        return str(error)
    try:
        compile_selector(expression)
    except CELCompileError as refused:
        hints = [explained.hint for explained in explain_refusal(refused) if explained.hint]
        return "\n".join([str(error), *(f"hint: {hint}" for hint in dict.fromkeys(hints))])
    return str(error)


def _value_at(document: Any, path: str) -> Any:
    """What a field's path (`spec.selectors[0].cel.expression`) leads to; None if it leads nowhere."""
    for name, position in _STEP.findall(path):
        try:
            document = document[name] if name else document[int(position)]
        except (KeyError, IndexError, TypeError):
            return None
    return document
