"""Requests as the search works on them: `exactly` is one alternative, `firstAvailable` several.

Checked once per decision, before any device is looked at: known class, known mode, gates of what is used, and for
every alternative, chosen later or not, which devices All means. So a missing class in the last alternative is an error
although the first would do, as upstream.

Upstream: `requestAccessor` and `validateDeviceRequest` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dra_operator.allocation.features import Features
from dra_operator.allocation.outcome import Abort
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import (
    ALL,
    EXACT_COUNT,
    DeviceClass,
    DeviceRequest,
    DeviceSelector,
    DeviceSubRequest,
    DeviceToleration,
    ExactDeviceRequest,
    ResourceClaim,
)
from dra_operator.inventory.devices import Device


@dataclass(slots=True)
class Alternative:
    """One way to satisfy a request. `name` is what results carry: "req" or "req/sub"."""

    request: str
    subrequest: str
    class_: DeviceClass
    selectors: tuple[str, ...]
    tolerations: tuple[DeviceToleration, ...]
    all_devices: bool
    count: int
    admin_access: bool
    all_: tuple[Device, ...] = field(default=())
    """With mode All: the devices that it means on the node."""

    @property
    def name(self) -> str:
        return f"{self.request}/{self.subrequest}" if self.subrequest else self.request


def expand_claim(
    claim: ResourceClaim, classes: Mapping[str, DeviceClass], features: Features
) -> list[list[Alternative]]:
    """The claim's requests in order, each with its alternatives in order. Raises `Abort`."""
    return [_expand(request, classes, features) for request in claim.spec.devices.requests or ()]


def _expand(request: DeviceRequest, classes: Mapping[str, DeviceClass], features: Features) -> list[Alternative]:
    if request.first_available:
        if not features.prioritized_list:
            raise Abort(
                Reason.REQUEST_INVALID, f'request "{request.name}" has subrequests, which are switched off here'
            )
        return [_alternative(request.name, sub.name, sub, classes, features) for sub in request.first_available]
    if request.exactly is None:
        raise Abort(Reason.REQUEST_INVALID, f'request "{request.name}" has neither exactly nor firstAvailable')
    return [_alternative(request.name, "", request.exactly, classes, features)]


def _alternative(
    request: str,
    subrequest: str,
    ask: ExactDeviceRequest | DeviceSubRequest,
    classes: Mapping[str, DeviceClass],
    features: Features,
) -> Alternative:
    name = f"{request}/{subrequest}" if subrequest else request
    if ask.derived_attributes:
        raise Abort(Reason.REQUEST_INVALID, f'request "{name}" uses derivedAttributes, which are not supported')
    if ask.capacity is not None:
        raise Abort(Reason.REQUEST_INVALID, f'request "{name}" asks for a share of capacity, which is not supported')
    admin = isinstance(ask, ExactDeviceRequest) and ask.admin_access is True
    if isinstance(ask, ExactDeviceRequest) and ask.admin_access is not None and not features.admin_access:
        raise Abort(Reason.REQUEST_INVALID, f'request "{name}" asks for admin access, which is switched off here')
    class_ = classes.get(ask.device_class_name)
    if class_ is None:
        raise Abort(
            Reason.CLASS_NOT_FOUND,
            f'request "{name}": DeviceClass "{ask.device_class_name}" does not exist; create it or correct the name',
        )
    if ask.allocation_mode not in (EXACT_COUNT, ALL):
        raise Abort(Reason.REQUEST_INVALID, f'request "{name}": unknown allocationMode "{ask.allocation_mode}"')
    return Alternative(
        request,
        subrequest,
        class_,
        _expressions(name, ask.selectors or ()),
        ask.tolerations or (),
        ask.allocation_mode == ALL,
        ask.count,
        admin,
    )


def _expressions(name: str, selectors: Sequence[DeviceSelector]) -> tuple[str, ...]:
    expressions = []
    for index, selector in enumerate(selectors):
        if selector.cel is None:
            raise Abort(Reason.REQUEST_INVALID, f'request "{name}": selector {index} has no CEL expression')
        expressions.append(selector.cel.expression)
    return tuple(expressions)
