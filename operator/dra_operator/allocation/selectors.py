"""Which devices a request may have, by the selectors of its class and its own.

The class's selectors go first, and one that does not match hides errors of those behind it. An error is not "no
match": it ends the decision. Answers are remembered on the device, since nothing else decides them.

Upstream: `isSelectable` and `selectorsMatch` of structured/internal/experimental.
"""

from __future__ import annotations

from functools import lru_cache

from dra_operator.allocation.asking import ask
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.requests import Alternative
from dra_operator.api.reasons import Reason
from dra_operator.cel.errors import CELCompileError
from dra_operator.cel.hints import cures
from dra_operator.cel.selector import compile_selector
from dra_operator.inventory.devices import Device


def matches(alternative: Alternative, device: Device) -> bool:
    """Whether class and request take the device. Raises `Abort`."""
    return in_class(alternative, device) and matches_request(alternative, device)


def in_class(alternative: Alternative, device: Device) -> bool:
    """Whether the device belongs to the request's class. Raises `Abort`."""
    for index, expression in enumerate(alternative.class_selectors):
        known = device.match(expression)
        if known is False:
            return False
        if known is not True and not _ask(
            expression, device, f'DeviceClass "{alternative.class_.metadata.name}", selector {index}'
        ):
            return False
    return True


def matches_request(alternative: Alternative, device: Device) -> bool:
    """Whether the request's own selectors take the device. Raises `Abort`."""
    for index, expression in enumerate(alternative.selectors):
        known = device.match(expression)
        if known is False:
            return False
        if known is not True and not _ask(expression, device, f'request "{alternative.name}", selector {index}'):
            return False
    return True


def _ask(expression: str, device: Device, where: str) -> bool:
    try:
        known = ask(expression, device)
    except CELCompileError as error:
        raise Abort(Reason.SELECTOR_INVALID, f"{where} does not compile: {_why(expression)}") from error
    if isinstance(known, str):
        raise Abort(Reason.SELECTOR_FAILED, f"{where} failed on device {device.id}: {known}")
    return known


@lru_cache(maxsize=1024)
def _why(expression: str) -> str:
    """Why the selector does not compile; empty if it does. Every pod that asks for it is told so, again and again."""
    try:
        compile_selector(expression)
    except CELCompileError as error:
        hint = next(cures(error), None)
        return f"{error.brief}\nhint: {hint}" if hint else error.brief
    return ""
