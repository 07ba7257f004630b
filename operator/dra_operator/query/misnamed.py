"""Names in a claim that no device has: capacities that a request wants, attributes that a constraint compares.

The API takes any name, and to the allocator each device lacks it by itself: it counts as one without enough capacity,
or as one that cannot join the others. That every device lacks it is a slip, and which name was meant can often be told.

Not here: names in selectors (`cel/hints.py`), and whether another name would help (`nearmiss.py` tries it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dra_operator.api.resource import DeviceConstraint, ResourceClaim
from dra_operator.inventory.devices import Device
from dra_operator.query.expressions import says
from dra_operator.query.funnel import AlternativeFunnel
from dra_operator.query.suggest import nearest_part


@dataclass(frozen=True, slots=True)
class Misnamed:
    """A name that no device has."""

    name: str
    like: str | None
    """A name that they have and that may be meant."""

    def told(self, what: str) -> str:
        return f'{what} "{self.name}"' + (f'; did you mean "{self.like}"?' if self.like else "")


def matching(funnel: AlternativeFunnel, devices: Iterable[Device]) -> Iterator[Device]:
    """The devices that the class and the request select."""
    expressions = (*funnel.alternative.class_selectors, *funnel.alternative.selectors)
    return (device for device in devices if all(says(expression, device) for expression in expressions))


def find_capacities(funnel: AlternativeFunnel, devices: Iterable[Device]) -> list[Misnamed]:
    """Those that the request wants and none of the devices that it selects has."""
    if not funnel.alternative.capacity:
        return []
    known = [set(device.basic.capacity or {}) for device in matching(funnel, devices)]
    if not known:
        return []
    names = set[str]().union(*known)
    return [Misnamed(name, nearest_part(name, names)) for name in funnel.alternative.capacity if name not in names]


def find_attribute(
    claim: ResourceClaim,
    constraint: DeviceConstraint,
    funnels: Iterable[AlternativeFunnel],
    devices: Sequence[Device],
) -> Misnamed | None:
    """That of the constraint, if none of the devices that it is about has it."""
    name = constraint.match_attribute or constraint.distinct_attribute or ""
    about = [one for one in funnels if one.claim is claim and _is_about(constraint, one)]
    selected = {device.id: device for funnel in about for device in matching(funnel, devices)}
    if any(name in one.alternative.derived for one in about):
        return None
    if not selected or any(device.attribute(name) is not None for device in selected.values()):
        return None
    names = {
        bare if "/" in bare else f"{device.driver}/{bare}"
        for device in selected.values()
        for bare in device.basic.attributes or {}
    }
    return Misnamed(name, nearest_part(name, names))


def _is_about(constraint: DeviceConstraint, funnel: AlternativeFunnel) -> bool:
    alternative = funnel.alternative
    return not constraint.requests or bool({alternative.name, alternative.request} & set(constraint.requests))


def find_hints(funnels: Sequence[AlternativeFunnel], devices: Sequence[Device]) -> Iterator[str]:
    """A sentence for each such name."""
    for funnel in funnels:
        for one in find_capacities(funnel, devices):
            yield one.told(f'no device that request "{funnel.alternative.name}" selects has the capacity')
    for claim in {one.claim.key: one.claim for one in funnels}.values():
        for constraint in claim.spec.devices.constraints or ():
            found = find_attribute(claim, constraint, funnels, devices)
            if found is not None:
                kind = "matchAttribute" if constraint.match_attribute else "distinctAttribute"
                yield found.told(f"no device that the claim asks for has the attribute of its constraint {kind}")
