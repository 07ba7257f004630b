"""What is wrong with the expressions of a DeviceClass, claim or template that somebody is about to store.

A built-in API checks them itself; where resource.k8s.io is served from CustomResourceDefinitions nobody else does. The
answer names the field, shows the expression with a caret below the place, and what to write instead, if that is known.

A claim has room for expressions that take ten seconds to compile. So a review is in pieces, each a fraction of a
second: whoever runs it decides what comes between two of them, and when it has taken too long.

Upstream: `validateCELSelector` and its like in pkg/apis/resource/validation. Not here: all the other rules of
validation, unless they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from dra_operator.api.text import cut
from dra_operator.cel import MAX_LENGTH
from dra_operator.cel.hints import cures
from dra_operator.validation.documents import Undecodable, decode
from dra_operator.validation.errors import FieldError
from dra_operator.validation.expressions import CompiledAhead
from dra_operator.validation.gates import DEFAULT_GATES, Gates
from dra_operator.validation.metatypes import Object
from dra_operator.validation.operations import validate, validate_update
from dra_operator.validation.types import (
    DeviceClass,
    DeviceSelector,
    ResourceClaim,
    ResourceClaimSpec,
    ResourceClaimTemplate,
)

Review = Generator[None, None, str | None]
"""Ends with why the object may not be stored, in as many lines as it takes; None if it may."""

_EXPRESSION: Final = ".cel.expression"
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_PIECE: Final = MAX_LENGTH
"""Characters of expressions that are compiled in one go: one of the longest, or many short ones."""
_TOLD: Final = 16
"""Errors that are told. The rest is counted: who writes a claim does not decide how much is answered and logged."""
_ANSWER: Final = 10_000
"""Bytes of all that is told."""
_VALUE: Final = 500
"""Bytes of a refused value that are quoted; where an expression is wrong is shown anyway."""
_DETAIL: Final = 3_000
_HINTS: Final = 4


def review(
    new: Mapping[str, Any],
    old: Mapping[str, Any] | None = None,
    *,
    everything: bool = False,
    gates: Gates = DEFAULT_GATES,
) -> Review:
    """Look at the object piece by piece.

    `everything`: all rules of validation count, not only those about expressions. An object that does not fit the types
    is refused only then: a newer API server may know more of them.
    """
    decoded = decode(_plain(new))
    before = decode(_plain(old)) if old is not None else None
    if isinstance(decoded, Undecodable) or isinstance(before, Undecodable):
        return cut(decoded.message, _ANSWER) if everything and isinstance(decoded, Undecodable) else None
    expressions = CompiledAhead(gates)
    looked_at = 0
    for expression in _selectors(decoded.object):
        if expressions.compile(expression):
            looked_at += len(expression)
        if looked_at > _PIECE:
            looked_at = 0
            yield
    if before is None:
        errors = validate(decoded.object, gates=gates, expressions=expressions)
    else:
        errors = validate_update(decoded.object, before.object, gates=gates, expressions=expressions)
    told = dict.fromkeys(error for error in errors if everything or error.field.endswith(_EXPRESSION))
    return _tell(list(told), new, expressions)


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "status"}


def _selectors(object_: Object) -> Iterator[str]:
    match object_:
        case DeviceClass():
            yield from _texts(object_.spec.selectors)
        case ResourceClaim():
            yield from _of_claim(object_.spec)
        case ResourceClaimTemplate():
            yield from _of_claim(object_.spec.spec)


def _of_claim(spec: ResourceClaimSpec) -> Iterator[str]:
    for request in spec.devices.requests or ():
        if request.exactly is not None:
            yield from _texts(request.exactly.selectors)
        for sub in request.first_available or ():
            yield from _texts(sub.selectors)


def _texts(selectors: Sequence[DeviceSelector] | None) -> Iterator[str]:
    return (one.cel.expression for one in selectors or () if one.cel is not None)


def _tell(errors: Sequence[FieldError], document: Mapping[str, Any], expressions: CompiledAhead) -> str | None:
    told: list[str] = []
    room = _ANSWER
    for error in errors[:_TOLD]:
        sentence = _sentence(error, document, expressions)
        room -= len(sentence.encode())
        if told and room < 0:
            break
        told.append(cut(sentence, _ANSWER))
    if len(errors) > len(told):
        told.append(f"and {len(errors) - len(told)} more")
    return "\n".join(told) or None


def _sentence(error: FieldError, document: Mapping[str, Any], expressions: CompiledAhead) -> str:
    """The API server's sentence, and the cure below it."""
    expression = _value_at(document, error.field) if error.field.endswith(_EXPRESSION) else None
    refused = expressions.refusal(expression) if isinstance(expression, str) else None
    said = str(replace(error, value=cut(error.value, _VALUE), detail=cut(error.detail, _DETAIL)))
    if refused is None:
        return said
    hints = list(islice(dict.fromkeys(cures(refused)), _HINTS))
    return "\n".join([said, *(f"hint: {hint}" for hint in hints)])


def _value_at(document: Any, path: str) -> Any:
    """What a field's path (`spec.selectors[0].cel.expression`) leads to; None if it leads nowhere."""
    for name, position in _STEP.findall(path):
        try:
            document = document[name] if name else document[int(position)]
        except (KeyError, IndexError, TypeError):
            return None
    return document
