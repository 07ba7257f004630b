"""A pod that was given its devices and then is not scheduled (`--repack`), or got others from kube-scheduler. Pure.

It has `repack_after` seconds; then it is told why it waits, and keeps its devices. With `evict` it is deleted after
that, so that its controller makes another, for which devices are looked for anew: only a pod that has a controller,
only after it was told, and only what kube-scheduler has looked at and refused. A scheduler that is down refuses nobody.
Where the pod is not pinned, kube-scheduler may take back what it was given, to find it a place by itself: then it is
kube-scheduler's, and told so.

Not here: giving an ungated pod other devices. What it was given is never taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from dra_operator.api.core import Pod
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.actions import DeletePod
from dra_operator.lifecycle.policy import Policy, Repack
from dra_operator.lifecycle.publish import moment

_SCHEDULING_GATED: Final = "SchedulingGated"
"""The reason of PodScheduled from a gated pod's creation until kube-scheduler has looked at it ungated."""


@dataclass(frozen=True, slots=True)
class Wait:
    """It may still be scheduled: look again after so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tell:
    """What the pod is told."""

    message: str
    reason: Reason = Reason.UNSCHEDULABLE_AFTER_PIN


Judgement: TypeAlias = Wait | Tell | DeletePod


def judge_unplaced(
    pod: Pod, claims: Iterable[ResourceClaim], policy: Policy, now: float, *, holds: bool
) -> Judgement | None:
    """For a pod without gate and without node. None if it was given nothing by us. `holds`: it has its devices."""
    ours = pod.condition(DEVICES_ALLOCATED)
    if ours is None or ours.reason not in (Reason.ALLOCATED, Reason.UNSCHEDULABLE_AFTER_PIN):
        return None
    waited = now - moment(ours.last_transition_time, now)
    scheduled = pod.condition("PodScheduled")
    if scheduled is None or scheduled.status == "True":
        return Wait(policy.repack_after)
    if waited < policy.repack_after:
        return Wait(policy.repack_after - waited)
    if scheduled.reason == _SCHEDULING_GATED:
        if awaited := next(_awaited(claims), None):
            return Tell(f"has its devices; it is bound when {awaited}")
        return Tell("has its devices, but kube-scheduler has not looked at it since: see whether it runs")
    if not holds:
        why = f"left to kube-scheduler, which took its devices back and does not place it: {scheduled.message}"
        return Tell(why, Reason.NOT_MANAGED)
    told = ours.reason == Reason.UNSCHEDULABLE_AFTER_PIN
    if told and policy.repack is Repack.EVICT and pod.metadata.controller is not None:
        return DeletePod(pod.key, pod.uid, pod.metadata.resource_version)
    return Tell(f"has its devices, but kube-scheduler does not place it: {scheduled.message}")


def _awaited(claims: Iterable[ResourceClaim]) -> Iterator[str]:
    """What kube-scheduler waits for before it binds the pod: conditions of devices, which their drivers set."""
    for claim in claims:
        allocation = claim.status.allocation
        true = {
            (one.driver, one.pool, one.device, condition.type)
            for one in claim.status.devices or ()
            for condition in one.conditions or ()
            if condition.status == "True"
        }
        for result in allocation.devices.results or () if allocation is not None else ():
            for awaited in result.binding_conditions or ():
                if (result.driver, result.pool, result.device, awaited) not in true:
                    device = f"{result.pool}/{result.device}"
                    yield f'driver "{result.driver}" says condition "{awaited}" of device {device}'
