"""The funnel of each request: how many devices are left after each hurdle, and which hurdle is the last.

    published → class → each selector → tolerated → free → together on one node → on a node that takes the pod

Counts come from the allocator's own look at the nodes (`allocation/explain.py`), so they are those of the condition's
sentence; what each selector does is asked of the devices one selector after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dra_operator.allocation.allocator import AllocationError, Allocator, Plan
from dra_operator.allocation.explain import look_at
from dra_operator.allocation.findings import Counts
from dra_operator.allocation.nodefit import Fit, Misfit
from dra_operator.allocation.outcome import Abort, Allocated
from dra_operator.allocation.requests import Alternative
from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import Node, Pod
from dra_operator.api.resource import ResourceClaim
from dra_operator.cel.errors import CELCompileError, CELRuntimeError
from dra_operator.cel.selector import compile_selector
from dra_operator.inventory.devices import Device, DeviceId, UnsupportedAttribute
from dra_operator.lifecycle.view import View

_EMPTY: Final = NodeUsage()


@dataclass(slots=True)
class SelectorStep:
    """One selector, in the order in which they are asked."""

    owner: str
    """`class` or `request`."""
    expression: str
    left: int = 0
    """Devices that matched it and all before it."""
    errors: int = 0
    error: str = ""
    """The first error, with a caret where the text has one."""
    example: DeviceId | None = None
    """The device on which it failed."""


@dataclass(slots=True)
class NodeLook:
    """One node as a place for the pod."""

    plan: Plan
    node: Node
    misfits: tuple[Misfit, ...]
    counts: tuple[tuple[Counts, ...], ...]
    """By request and alternative; devices that several nodes share count for each."""
    _fits: bool | None = None

    @property
    def fits_devices(self) -> bool:
        """Whether the allocator finds all devices there. Searched for when asked: for some claims that takes long."""
        if self._fits is None:
            possible = all(any(counts.free for counts in request) for request in self.counts)
            self._fits = possible and isinstance(self.plan.allocate(self.node), Allocated)
        return self._fits


@dataclass(slots=True)
class AlternativeFunnel:
    claim: ResourceClaim
    alternative: Alternative
    total: Counts = Counts()
    most_free: int = 0
    most_matching: int = 0
    selectors: list[SelectorStep] = field(default_factory=list)

    @property
    def wanted(self) -> int:
        return 1 if self.alternative.all_devices else self.alternative.count


@dataclass(slots=True)
class Funnels:
    """All of it for one pod. `requests`: by request, its alternatives."""

    plan: Plan
    requests: list[list[AlternativeFunnel]]
    nodes: list[NodeLook]


def look(pod: Pod, claims: Sequence[ResourceClaim], view: View, allocator: Allocator) -> Funnels | AllocationError:
    """The funnels over all nodes for the claims that are not allocated yet."""
    waiting = [claim for claim in claims if claim.status.allocation is None]
    plan = allocator.plan(waiting)
    if isinstance(plan, AllocationError):
        return plan
    requests = [
        [AlternativeFunnel(claim, alternative) for alternative in alternatives]
        for claim, of_claim in zip(waiting, plan.requests, strict=True)
        for alternatives in of_claim
    ]
    nodes = list(_looks(pod, plan, view))
    _sum(requests, nodes, plan, view)
    devices = _devices(plan, view)
    for place, request in enumerate(requests):
        for index, funnel in enumerate(request):
            funnel.most_free = max((one.counts[place][index].free for one in nodes), default=0)
            funnel.most_matching = max((one.counts[place][index].matching for one in nodes), default=0)
            funnel.selectors = list(_steps(funnel.alternative, devices))
    return Funnels(plan, requests, nodes)


def _looks(pod: Pod, plan: Plan, view: View) -> Iterable[NodeLook]:
    fit = Fit(pod, view.classes)
    for name, node in sorted(view.nodes.items()):
        yield NodeLook(plan, node, fit.misfits(node, view.usage.get(name, _EMPTY)), look_at(plan, node).counts)


def _sum(requests: list[list[AlternativeFunnel]], nodes: Sequence[NodeLook], plan: Plan, view: View) -> None:
    """Counts over all nodes; a device that several nodes reach counts once."""
    seen: set[DeviceId] | None = None if view.inventory.is_local else set()
    for one in nodes:
        found = one.counts if seen is None else look_at(plan, one.node, seen).counts
        for request, of_request in zip(requests, found, strict=True):
            for funnel, counts in zip(request, of_request, strict=True):
                funnel.total = Counts(*(a + b for a, b in zip(funnel.total, counts, strict=True)))


def _devices(plan: Plan, view: View) -> list[Device]:
    """Every device that some node reaches, once."""
    found: dict[DeviceId, Device] = {}
    for node in view.nodes.values():
        try:
            pools = plan.allocator.pools(node)
        except Abort:
            continue
        for device in pools.devices:
            found.setdefault(device.id, device)
    return list(found.values())


def _steps(alternative: Alternative, devices: list[Device]) -> Iterable[SelectorStep]:
    """What each selector leaves over."""
    expressions = [("class", one) for one in alternative.class_selectors]
    expressions += [("request", one) for one in alternative.selectors]
    for owner, expression in expressions:
        step = SelectorStep(owner, expression)
        left = []
        for device in devices:
            try:
                if compile_selector(expression).matches(device.view):
                    left.append(device)
            except (CELCompileError, CELRuntimeError, UnsupportedAttribute) as error:
                step.errors += 1
                if step.example is None:
                    step.example = device.id
                    step.error = error.brief if isinstance(error, CELCompileError) else str(error)
        step.left = len(left)
        devices = left
        yield step


def find_holders(view: View) -> Mapping[DeviceId, list[ResourceClaim]]:
    """By device, the claims that hold it or have a share of it. Admin access holds nothing."""
    found: dict[DeviceId, list[ResourceClaim]] = {}
    for claim in view.claims.values():
        allocation = claim.status.allocation
        for one in () if allocation is None else allocation.devices.results or ():
            if not one.admin_access:
                found.setdefault(DeviceId(one.driver, one.pool, one.device), []).append(claim)
    return found
