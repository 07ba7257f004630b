"""The devices of one driver in a claim's allocation, and which of them two claims may not hold at a time.

Upstream: `DeviceRequestAllocationResult` of k8s.io/api/resource/v1; exclusiveness as the allocator means it.
"""

from __future__ import annotations

from dra_operator.api.meta import Struct
from dra_operator.api.resource import DeviceRequestAllocationResult


class AllocatedDevice(Struct, frozen=True, kw_only=True):
    """A device of a claim as its allocation names it; `requests` are all that it was given to, without subrequests."""

    requests: tuple[str, ...]
    pool: str
    device: str
    share_id: str | None = None
    admin_access: bool = False

    def excludes(self, other: AllocatedDevice) -> bool:
        """Whether two claims may not hold these two at a time: one device, unless it is shared or only looked at."""
        return (
            (self.pool, self.device) == (other.pool, other.device)
            and not (self.admin_access or other.admin_access)
            and (self.share_id is None or other.share_id is None)
        )


def allocated_devices(results: tuple[DeviceRequestAllocationResult, ...], driver: str) -> tuple[AllocatedDevice, ...]:
    """What the results give of this driver. A device (or share of one) that several requests got is listed once."""
    found: dict[tuple[str, str, str | None, bool], list[str]] = {}
    for result in results:
        if result.driver == driver:
            key = (result.pool, result.device, result.share_id, bool(result.admin_access))
            request, _, _ = result.request.partition("/")
            requests = found.setdefault(key, [])
            if request not in requests:
                requests.append(request)
    return tuple(
        AllocatedDevice(requests=tuple(requests), pool=pool, device=device, share_id=share, admin_access=admin)
        for (pool, device, share, admin), requests in found.items()
    )
