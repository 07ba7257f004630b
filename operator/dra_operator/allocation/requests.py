"""Requests as the search works on them: `exactly` is one alternative, `firstAvailable` several.

An `allocationMode` of All asks for every device that matches; its count is known only node by node (`candidates.py`).

Checked once per decision, before any device is looked at: known class, known mode, gates of what is used; for every
alternative, chosen later or not. So a missing class in the last alternative is an error although the first would do,
as upstream.

Upstream: `requestAccessor` and `validateDeviceRequest` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dra_operator.allocation.features import Features
from dra_operator.allocation.outcome import Abort
from dra_operator.api.quantity import Quantity
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


class Question(NamedTuple):
    """What of a request decides which devices match it."""

    class_selectors: tuple[str, ...]
    selectors: tuple[str, ...]
    tolerations: tuple[DeviceToleration, ...]


@dataclass(slots=True, eq=False)
class Alternative:
    """One way to satisfy a request. `name` is what results carry: "req" or "req/sub"."""

    request: str
    subrequest: str
    class_: DeviceClass
    class_selectors: tuple[str, ...]
    selectors: tuple[str, ...]
    tolerations: tuple[DeviceToleration, ...]
    all_devices: bool
    count: int
    admin_access: bool
    capacity: Mapping[str, Quantity]
    """Amounts asked for, by name as written."""
    derived: Mapping[str, str]
    """Expressions of derived attributes, by fully qualified name."""
    name: str = field(init=False)
    question: Question = field(init=False)
    amounts: tuple[tuple[str, Quantity], ...] = field(init=False)
    """`capacity`, as a key."""

    def __post_init__(self) -> None:
        self.question = Question(self.class_selectors, self.selectors, self.tolerations)
        self.amounts = tuple(sorted(self.capacity.items()))
        self.name = f"{self.request}/{self.subrequest}" if self.subrequest else self.request


def expand_claim(
    claim: ResourceClaim, classes: Mapping[str, DeviceClass], features: Features
) -> tuple[tuple[Alternative, ...], ...]:
    """The claim's requests in order, each with its alternatives in order. Raises `Abort`."""
    return tuple(_expand(request, classes, features) for request in claim.spec.devices.requests or ())


def _expand(request: DeviceRequest, classes: Mapping[str, DeviceClass], features: Features) -> tuple[Alternative, ...]:
    if request.first_available:
        if not features.prioritized_list:
            raise _invalid(request.name, "has subrequests, which are switched off here")
        return tuple(_alternative(request.name, sub.name, sub, classes, features) for sub in request.first_available)
    if request.exactly is None:
        raise _invalid(request.name, "has neither exactly nor firstAvailable")
    return (_alternative(request.name, "", request.exactly, classes, features),)


def _alternative(
    request: str,
    subrequest: str,
    ask: ExactDeviceRequest | DeviceSubRequest,
    classes: Mapping[str, DeviceClass],
    features: Features,
) -> Alternative:
    name = f"{request}/{subrequest}" if subrequest else request
    if ask.derived_attributes and not features.derived_attributes:
        raise _invalid(name, "uses derivedAttributes, which are switched off here")
    if ask.capacity is not None and not features.consumable_capacity:
        raise _invalid(name, "asks for capacity, which is switched off here")
    admin_access = ask.admin_access if isinstance(ask, ExactDeviceRequest) else None
    if admin_access is not None and not features.admin_access:
        raise _invalid(name, "asks for admin access, which is switched off here")
    class_ = classes.get(ask.device_class_name)
    if class_ is None:
        raise Abort(
            Reason.CLASS_NOT_FOUND,
            f'request "{name}": DeviceClass "{ask.device_class_name}" does not exist; create it or correct the name',
        )
    if ask.allocation_mode not in (EXACT_COUNT, ALL):
        raise _invalid(name, f'has the unknown allocationMode "{ask.allocation_mode}"')
    return Alternative(
        request=request,
        subrequest=subrequest,
        class_=class_,
        class_selectors=_expressions(f'DeviceClass "{class_.metadata.name}"', class_.spec.selectors or ()),
        selectors=_expressions(f'request "{name}"', ask.selectors or ()),
        tolerations=ask.tolerations or (),
        all_devices=ask.allocation_mode == ALL,
        count=ask.count,
        admin_access=admin_access is True,
        capacity=(ask.capacity.requests if ask.capacity is not None else None) or {},
        derived={derived.name: derived.expression for derived in ask.derived_attributes or ()},
    )


def _expressions(owner: str, selectors: Sequence[DeviceSelector]) -> tuple[str, ...]:
    expressions = []
    for index, selector in enumerate(selectors):
        if selector.cel is None:
            raise Abort(Reason.REQUEST_INVALID, f"{owner}: selector {index} has no CEL expression")
        expressions.append(selector.cel.expression)
    return tuple(expressions)


def _invalid(name: str, what: str) -> Abort:
    return Abort(Reason.REQUEST_INVALID, f'request "{name}" {what}')
