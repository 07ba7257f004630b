"""Which pods have to go because of a taint of a device that they use, and when. Pure.

A NoExecute taint evicts the pods of every claim that holds the device, unless the claim's request tolerates it: for
ever, or for `tolerationSeconds` (the shortest of the tolerations that match). The time runs from when the taint was
added; from when it was first seen, where the taint says no time that can be read. What an allocation tolerates is
written into its results.

Upstream: `claimEvictionTime` of k8s.io/kubernetes/pkg/controller/devicetainteviction. Not here: taints that an admin's
rules add (`inventory/taintrules.py`), which are among the devices' own by now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from dra_operator.allocation.taints import tolerates
from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import DeviceTaint, DeviceToleration, ResourceClaim
from dra_operator.inventory.devices import DeviceId
from dra_operator.lifecycle.view import View

NO_EXECUTE: Final = "NoExecute"

FirstSeen: TypeAlias = Callable[[DeviceId, DeviceTaint], float]
"""When that taint of the device was seen for the first time, in seconds of the epoch."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """A pod that has to go at `due` (seconds of the epoch), and why."""

    pod: Pod
    due: float
    device: DeviceId
    taint: DeviceTaint


class Users:
    """Which claims have one of some devices. All claims are gone through only when what is allocated has changed: who
    asks every second would otherwise spend a fiftieth of a core on 20,000 claims as long as one device is tainted.
    """

    def __init__(self) -> None:
        self._moment: tuple[int, frozenset[DeviceId]] | None = None
        self._keys: tuple[ObjectKey, ...] = ()

    def of(self, devices: frozenset[DeviceId], view: View) -> tuple[ObjectKey, ...]:
        """The claims that have them, admin access and shares included."""
        moment = view.ledger.version, devices
        if moment != self._moment:
            self._keys = tuple(key for key, claim in view.claims.items() if not devices.isdisjoint(_devices(claim)))
            self._moment = moment
        return self._keys


def _devices(claim: ResourceClaim) -> Iterator[DeviceId]:
    allocation = claim.status.allocation
    for result in (allocation.devices.results if allocation is not None else None) or ():
        yield DeviceId(result.driver, result.pool, result.device)


def evictions(view: View, users: Users, first_seen: FirstSeen) -> list[Eviction]:
    """One for each pod that uses an evicting device, the most urgent of its reasons. Soonest first."""
    tainted = {
        device.id: taints
        for device in view.inventory.tainted()
        if (taints := [taint for taint in device.taints if taint.effect == NO_EXECUTE])
    }
    if not tainted:
        return []
    soonest: dict[str, Eviction] = {}
    claims = [view.claims[key] for key in users.of(frozenset(tainted), view)]
    for eviction in _all(view, claims, tainted, first_seen):
        known = soonest.get(eviction.pod.uid)
        if known is None or eviction.due < known.due:
            soonest[eviction.pod.uid] = eviction
    return sorted(soonest.values(), key=lambda one: (one.due, one.pod.key))


def _all(
    view: View,
    claims: Iterable[ResourceClaim],
    tainted: Mapping[DeviceId, list[DeviceTaint]],
    first_seen: FirstSeen,
) -> Iterator[Eviction]:
    for claim in claims:
        if claim.status.allocation is None:
            continue
        for result in claim.status.allocation.devices.results or ():
            id_ = DeviceId(result.driver, result.pool, result.device)
            for taint in tainted.get(id_, ()):
                added = _time_added(taint)
                since = first_seen(id_, taint) if added is None else added
                due = due_time(taint, result.tolerations or (), since)
                if due is None:
                    continue
                for consumer in claim.status.reserved_for or ():
                    pod = view.pod(consumer.uid)
                    if pod is not None and not pod.done and pod.metadata.deletion_timestamp is None:
                        yield Eviction(pod, due, id_, taint)


def _time_added(taint: DeviceTaint) -> float | None:
    """Seconds of the epoch; None if the taint does not say, or says what is no time."""
    if taint.time_added is None:
        return None
    try:
        return datetime.fromisoformat(taint.time_added).timestamp()
    except (ValueError, OverflowError):
        return None


def due_time(taint: DeviceTaint, tolerations: Iterable[DeviceToleration], added: float) -> float | None:
    """When pods have to go from a device that is tainted since `added`; None: never."""
    matching = [toleration for toleration in tolerations if tolerates(toleration, taint)]
    if not matching:
        return added
    limits = [one.toleration_seconds for one in matching if one.toleration_seconds is not None]
    return added + max(0, min(limits)) if limits else None
