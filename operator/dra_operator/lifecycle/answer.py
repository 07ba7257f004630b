"""Whose an allocation is, and what of it the API server kept as it was written. Pure.

A server drops the fields that it does not know or has switched off (taints and tolerations, shares of a device, the
timestamp), and says so to nobody. So the answer to a write counts from then on, not what was sent.

Upstream: the strategies of resource.k8s.io drop disabled fields on every write (`dropDisabledFields`).
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from dra_operator.api.codec import to_plain
from dra_operator.api.names import FIELD_MANAGER
from dra_operator.api.resource import AllocationResult, DeviceRequestAllocationResult, ResourceClaim


def find_changed_fields(written: AllocationResult, answered: AllocationResult | None) -> set[str]:
    """The paths below `status.allocation` at which the answer differs."""
    if answered is None:
        return {"devices.results"}
    found = set()
    mine, theirs = written.devices.results or (), answered.devices.results or ()
    if len(mine) != len(theirs):
        found.add("devices.results")
    else:
        for one, other in zip(mine, theirs, strict=True):
            found |= {f"devices.results.{name}" for name in _differing(one, other)}
    # Opaque parameters come back with their keys in another order.
    if to_plain(written.devices.config or ()) != to_plain(answered.devices.config or ()):
        found.add("devices.config")
    return found | {name for name in _differing(written, answered) if name != "devices"}


def same_devices(one: AllocationResult | None, other: AllocationResult | None) -> bool:
    """Whether both give the same requests the same devices, whatever else a server may have dropped."""
    if one is None or other is None:
        return one is other
    return [_which(result) for result in one.devices.results or ()] == [
        _which(result) for result in other.devices.results or ()
    ]


def is_allocated_by_us(claim: ResourceClaim) -> bool:
    """Whether this operator, be it another replica, wrote the claim's status."""
    return any(
        entry.manager == FIELD_MANAGER and entry.subresource == "status"
        for entry in claim.metadata.managed_fields or ()
    )


def _which(result: DeviceRequestAllocationResult) -> tuple[str, str, str, str]:
    return result.request, result.driver, result.pool, result.device


def _differing(one: Struct, other: Struct) -> Iterator[str]:
    """Fields by their names in JSON. Empty and left out are the same."""
    for field, name in zip(one.__struct_fields__, one.__struct_encode_fields__, strict=True):
        if (getattr(one, field) or None) != (getattr(other, field) or None):
            yield name
