"""Whether what a pod was given is still covered: counters of partitioned devices, capacity of shared ones.

The ledger settles who came first where two claims were given one device. Two partitions of one GPU, or two shares of
one device, are different devices or no exclusive ones: each of them may have been allocated by somebody who did not see
the other. So the books are checked once more before a pod is ungated, while giving back is safe.

Invariant: a pod is ungated only if no counter set and no capacity that it draws on is overdrawn, as far as is known.

Upstream: `checkAvailableCounters` and consumable capacity of the structured allocator, which check before allocating.
"""

from __future__ import annotations

from collections.abc import Sequence

from dra_operator.allocation.counters import Book, Totals
from dra_operator.api.resource import ResourceClaim
from dra_operator.inventory.devices import Device, DeviceId, PoolKey
from dra_operator.inventory.pools import NodeSelectorInvalid
from dra_operator.lifecycle.view import View

_NANO = -9


def find_overdrawn(view: View, node_name: str, claims: Sequence[ResourceClaim]) -> ResourceClaim | None:
    """The first of the claims that draws on something of which more is given out than there is."""
    node = view.nodes.get(node_name)
    if node is None:
        return None
    for claim in claims:
        for device, shared in _devices(view, claim):
            if shared and _exceeds_capacity(view, device):
                return claim
            if device.counters and _overdraws_counters(view, node_name, device):
                return claim
    return None


def _devices(view: View, claim: ResourceClaim) -> list[tuple[Device, bool]]:
    """What the claim holds, each with whether it is a share. Admin access takes nothing."""
    allocation = claim.status.allocation
    found = []
    for result in (allocation.devices.results if allocation is not None else None) or ():
        device = view.inventory.device(DeviceId(result.driver, result.pool, result.device))
        if device is not None and not result.admin_access:
            found.append((device, result.share_id is not None))
    return found


def _exceeds_capacity(view: View, device: Device) -> bool:
    capacity = device.basic.capacity or {}
    consumed = view.ledger.consumed(device.id)
    return any(
        name in capacity and amount > capacity[name].value.scaled_value(_NANO) for name, amount in consumed.items()
    )


def _overdraws_counters(view: View, node_name: str, device: Device) -> bool:
    try:
        pools = view.inventory.pools(view.nodes[node_name]).pools
    except NodeSelectorInvalid:
        return False  # nobody can tell what its pools hold
    ledger = view.ledger
    for pool in pools:
        if pool.key != PoolKey(device.id.driver, device.id.pool):
            continue
        in_use = (one for one in (*pool.devices, *pool.elsewhere) if ledger.is_held(one.id) or ledger.is_shared(one.id))
        left = Book.of(Totals(pool), in_use).left
        return any(left.get(counter, 0) < 0 for counter, _ in device.counters)
    return False
