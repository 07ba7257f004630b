"""A cluster for tests of the allocator: slices, allocated claims, classes; what a claim gets on a node, in short."""

from __future__ import annotations

from collections.abc import Sequence

from dra_operator.allocation.allocator import Allocator
from dra_operator.allocation.features import Features
from dra_operator.allocation.outcome import Allocated, AllocationError, Outcome
from dra_operator.api.core import Node
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import AllocationResult, DeviceClass, ResourceClaim, ResourceSlice
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from tests.builders import classes, node


class Cluster:
    """Slices and claims as given; the class "gpu" unless others are."""

    def __init__(
        self,
        *published: ResourceSlice | ResourceClaim,
        of: Sequence[DeviceClass] = (),
        features: Features | None = None,
        budget: int = 10_000,
    ) -> None:
        inventory, self.ledger = Inventory(), Ledger()
        for each in published:
            if isinstance(each, ResourceSlice):
                inventory.apply_slice(each)
            else:
                self.ledger.observe(each, live=True)
        self.allocator = Allocator(inventory, self.ledger, classes(*of), features or Features(), budget)

    def allocate(self, *claims: ResourceClaim, on: Node | None = None) -> Outcome:
        return self.allocator.allocate(claims, on or node())

    def allocations(self, *claims: ResourceClaim, on: Node | None = None) -> tuple[AllocationResult, ...]:
        outcome = self.allocate(*claims, on=on)
        assert isinstance(outcome, Allocated), outcome
        return outcome.allocations

    def gives(self, *claims: ResourceClaim, on: Node | None = None) -> list[str] | None:
        """Per claim "request=device …"; None if the node has nothing for them."""
        outcome = self.allocate(*claims, on=on)
        assert not isinstance(outcome, AllocationError), outcome
        if not isinstance(outcome, Allocated):
            return None
        return [
            " ".join(f"{result.request}={result.device}" for result in allocation.devices.results or ())
            for allocation in outcome.allocations
        ]

    def error(self, *claims: ResourceClaim, on: Node | None = None) -> Reason:
        outcome = self.allocate(*claims, on=on)
        assert isinstance(outcome, AllocationError), outcome
        return outcome.reason
