"""The allocation that follows from chosen devices: results, config, node selector.

Config: each class's once, in order of first use, with the requests that use it; then the claim's own, in order, where
unscoped or naming a request or a chosen subrequest. `requests` is dropped where it covers all requests.

Node selector: one device that is local to a node, or has `bindsToNode`, ties the claim to that node; else the
requirements of all selectors in one term, without duplicates; else none, which means everywhere.

A device's `bindingConditions` are copied; natively kube-scheduler waits for them. A share gets a `shareID`.

Upstream: the end of `Allocate` and `createNodeSelector` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dra_operator.allocation.features import Features
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.reach import is_local, terms_of
from dra_operator.allocation.requests import Alternative
from dra_operator.allocation.taking import Taken
from dra_operator.api.core import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import (
    AllocationResult,
    DeviceAllocationConfiguration,
    DeviceAllocationResult,
    DeviceRequestAllocationResult,
    ResourceClaim,
)
from dra_operator.inventory.devices import Device


def build_allocation(
    claim: ResourceClaim,
    picked: Sequence[Alternative],
    taken: Sequence[Taken],
    node: str,
    features: Features,
    share_id: Callable[[], str],
) -> AllocationResult:
    """`picked`: the alternative of each request, in order; `taken`: the devices, in order. Raises `Abort`."""
    return AllocationResult(
        devices=DeviceAllocationResult(
            results=tuple(_result(one, features, share_id) for one in taken) or None,
            config=tuple(_config(claim, picked)) or None,
        ),
        node_selector=_node_selector([one.device for one in taken], node),
    )


def _result(one: Taken, features: Features, share_id: Callable[[], str]) -> DeviceRequestAllocationResult:
    basic = one.device.basic
    binding = features.device_binding_and_status
    return DeviceRequestAllocationResult(
        request=one.alternative.name,
        driver=one.device.id.driver,
        pool=one.device.id.pool,
        device=one.device.id.device,
        admin_access=True if one.alternative.admin_access else None,
        tolerations=one.alternative.tolerations or None,
        binding_conditions=basic.binding_conditions if binding else None,
        binding_failure_conditions=basic.binding_failure_conditions if binding else None,
        share_id=None if one.consumption is None else share_id(),
        consumed_capacity=dict(one.consumption) if one.consumption else None,
        skip_node_operations=one.device.slice.spec.skip_node_operations,
    )


def _config(claim: ResourceClaim, picked: Sequence[Alternative]) -> Iterable[DeviceAllocationConfiguration]:
    names = [alternative.name for alternative in picked]
    users: dict[str, list[Alternative]] = {}
    for alternative in picked:
        users.setdefault(alternative.class_.metadata.name, []).append(alternative)
    for alternatives in users.values():
        requests = tuple(alternative.name for alternative in alternatives)
        for config in alternatives[0].class_.spec.config or ():
            yield DeviceAllocationConfiguration(
                source="FromClass", requests=_unless_all(requests, picked), opaque=config.opaque
            )
    for own in claim.spec.devices.config or ():
        scope = own.requests or ()
        requested = {alternative.request for alternative in picked}
        if scope and not any(name in requested or name in names for name in scope):
            continue
        yield DeviceAllocationConfiguration(source="FromClaim", requests=_unless_all(scope, picked), opaque=own.opaque)


def _unless_all(requests: tuple[str, ...], picked: Sequence[Alternative]) -> tuple[str, ...] | None:
    """The scope, or None where it covers every request."""
    covered = all(alternative.request in requests or alternative.name in requests for alternative in picked)
    return None if covered or not requests else requests


def _node_selector(devices: Sequence[Device], node: str) -> NodeSelector | None:
    fields: list[NodeSelectorRequirement] = []
    expressions: list[NodeSelectorRequirement] = []
    for device in devices:
        if is_local(device):
            here = NodeSelectorRequirement(key="metadata.name", operator="In", values=(node,))
            return NodeSelector(node_selector_terms=(NodeSelectorTerm(match_fields=(here,)),))
        terms = terms_of(device)
        if len(terms) > 1:
            raise Abort(
                Reason.POOL_INVALID,
                f'a ResourceSlice of driver "{device.driver}" has a node selector of {len(terms)} terms, not one',
            )
        for term in terms:
            _add_new(fields, term.match_fields)
            _add_new(expressions, term.match_expressions)
    if not fields and not expressions:
        return None
    term = NodeSelectorTerm(match_fields=tuple(fields), match_expressions=tuple(expressions))
    return NodeSelector(node_selector_terms=(term,))


def _add_new(to: list[NodeSelectorRequirement], requirements: Iterable[NodeSelectorRequirement]) -> None:
    for new in requirements:
        if not any(
            (old.key, old.operator, frozenset(old.values)) == (new.key, new.operator, frozenset(new.values))
            for old in to
        ):
            to.append(new)
