"""Which devices a request may have, by the selectors of its class and its own.

The class's selectors go first, and one that does not match hides errors of those behind it. An error is not "no
match": it ends the decision. Results are kept on the device, since nothing else decides them.

Upstream: `isSelectable` and `selectorsMatch` of structured/internal/experimental.
"""

from __future__ import annotations

from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.requests import Alternative
from dra_operator.api.reasons import Reason
from dra_operator.cel.errors import CELCompileError, CELRuntimeError
from dra_operator.cel.selector import compile_selector
from dra_operator.inventory.devices import Device


def in_class(alternative: Alternative, device: Device) -> bool:
    """Whether the device belongs to the request's class. Raises `Abort`."""
    for index, selector in enumerate(alternative.class_.spec.selectors or ()):
        where = f'DeviceClass "{alternative.class_.metadata.name}", selector {index}'
        if selector.cel is None:
            raise Abort(Reason.SELECTOR_INVALID, f"{where}: no CEL expression")
        if not _matches(selector.cel.expression, device, where):
            return False
    return True


def matches_request(alternative: Alternative, device: Device) -> bool:
    """Whether the request's own selectors take the device. Raises `Abort`."""
    return all(
        _matches(expression, device, f'request "{alternative.name}", selector {index}')
        for index, expression in enumerate(alternative.selectors)
    )


def _matches(expression: str, device: Device, where: str) -> bool:
    known = device.matches.get(expression)
    if known is None:
        try:
            known = compile_selector(expression).matches(device.view)
        except CELCompileError as error:
            raise Abort(Reason.SELECTOR_INVALID, f"{where} does not compile: {error}") from error
        except CELRuntimeError as error:
            known = str(error)
        device.matches[expression] = known
    if isinstance(known, str):
        raise Abort(Reason.SELECTOR_FAILED, f"{where} failed on device {device.id}: {known}{_cure(known)}")
    return known


def _cure(error: str) -> str:
    if "no such key" not in error:
        return ""
    return '; not every device has that attribute: guard it, as in `"name" in device.attributes["domain"] && …`'
