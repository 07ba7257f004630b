"""Which devices a gated pod gets: all its claims together, on one node, or nothing.

Claims that are allocated already only restrict the node. After a crash between two writes the allocated one fixes the
node; if the rest does not fit there and only this pod uses what is allocated, that is given back first, so that the
pod holds nothing while it waits.

Answers "does not fit" are remembered per signature (what is asked, and where it may go) for as long as nothing has
become free: a thousand equal waiting pods cost one search.

Upstream: the dynamicresources plugin of kube-scheduler (PreFilter, Filter, Reserve); here one loop decides serially.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from dra_operator.access.admin import asks_admin_access, grants_admin_access
from dra_operator.allocation.allocator import AllocationError, Allocator, Unschedulable
from dra_operator.allocation.features import Features
from dra_operator.allocation.place import Placement, place
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.codec import encode
from dra_operator.api.core import Pod
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.generate import Blocked, admin_access_denied
from dra_operator.lifecycle.view import View

Decision: TypeAlias = Placement | Unschedulable | AllocationError


@dataclass(slots=True)
class Decider:
    """Places pods with an allocator over a View, and remembers what did not fit."""

    view: View
    features: Features = field(default_factory=Features)
    strategy: Strategy = Strategy.BEST_FIT
    allocator: Allocator = field(init=False)
    _refused: dict[bytes, Unschedulable | AllocationError] = field(init=False, default_factory=dict)
    _epoch: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        view = self.view
        self.allocator = Allocator(view.inventory, view.ledger, view.classes, self.features, strategy=self.strategy)

    def admit(self, pod: Pod, claims: Sequence[ResourceClaim]) -> Blocked | None:
        """The admin-access rule, asked again before devices are given."""
        if grants_admin_access(self.view.namespaces.get(pod.metadata.namespace)):
            return None
        for claim in claims:
            if claim.status.allocation is None and asks_admin_access(claim.spec):
                return Blocked(Reason.ADMIN_ACCESS_DENIED, admin_access_denied(f'ResourceClaim "{claim.key}"', pod))
        return None

    def place(self, pod: Pod, claims: Sequence[ResourceClaim], only_node: str | None = None) -> Decision:
        """A node and allocations for the unallocated of `claims`, in their order; or why there are none."""
        signature = self._signature(pod, claims, only_node)
        if self._epoch != self.view.capacity_epoch:
            self._refused.clear()
            self._epoch = self.view.capacity_epoch
        if signature is not None and signature in self._refused:
            return self._refused[signature]
        decision = place(
            pod,
            claims,
            nodes=self.view.nodes,
            usage=self.view.usage,
            allocator=self.allocator,
            only_node=only_node,
        )
        if signature is not None and not isinstance(decision, Placement):
            self._refused[signature] = decision
        return decision

    def _signature(self, pod: Pod, claims: Sequence[ResourceClaim], only_node: str | None) -> bytes | None:
        """What the decision depends on besides the cluster; None where claims of others take part."""
        if any(claim.status.allocation is not None for claim in claims):
            return None
        spec = pod.spec
        return encode(
            (
                only_node,
                [claim.spec for claim in claims],
                spec.node_selector,
                spec.affinity,
                spec.tolerations,
                [container.resources for container in (*spec.containers, *(spec.init_containers or ()))],
                spec.resources,
                spec.overhead,
            )
        )
