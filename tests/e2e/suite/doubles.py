"""Watches every claim for as long as a cluster lives: a device that two claims hold at one moment is noted.

The watch of one resource is totally ordered, so that what is noted here has been so at the API server.
"""

from __future__ import annotations

from collections.abc import Sequence

from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import ResourceClaim
from dra_operator.inventory.devices import DeviceId


class Doubles:
    """A sink of a reflector of claims. `found`: in words, each device that was given out twice."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.given = 0
        """Allocations seen."""
        self._held: dict[ObjectKey, frozenset[DeviceId]] = {}

    async def replace(self, objects: Sequence[ResourceClaim], resource_version: str) -> None:
        self._held.clear()
        for claim in objects:
            self._take(claim)

    def apply(self, type_: str, object_: ResourceClaim) -> None:
        if type_ == "DELETED":
            self._held.pop(object_.key, None)
        else:
            self._take(object_)

    def _take(self, claim: ResourceClaim) -> None:
        results = () if claim.status.allocation is None else claim.status.allocation.devices.results or ()
        devices = frozenset(
            DeviceId(one.driver, one.pool, one.device) for one in results if not one.admin_access and not one.share_id
        )
        self.given += bool(devices - self._held.get(claim.key, frozenset()))
        for key, held in self._held.items():
            if key != claim.key and held & devices:
                self.found.append(f"{claim.key} and {key} both hold {sorted(map(str, held & devices))}")
        self._held[claim.key] = devices
