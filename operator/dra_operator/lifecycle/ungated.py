"""A pod that is not gated: kube-scheduler's to place, or bound already.

Its generated claims are published in its status; once it is bound, it is reserved in claims that are allocated
already. One that we let go and that nothing places is told so, or evicted (`unplaced.py`); what it was told of that is
taken back when it is bound with its devices.

Invariant: what has been given to an ungated pod is never taken back here.

Upstream: `syncPod` of the resourceclaim controller, which reserves for pods that are bound past kube-scheduler.
"""

from __future__ import annotations

from typing import Final

from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import RESERVED_FOR_MAX_SIZE
from dra_operator.lifecycle.actions import DeletePod, ReadPod
from dra_operator.lifecycle.consumers import allocated_sentence, reserve
from dra_operator.lifecycle.groups import is_reserved, owning_group
from dra_operator.lifecycle.look import Look
from dra_operator.lifecycle.publish import condition, publish
from dra_operator.lifecycle.tell import tell
from dra_operator.lifecycle.unplaced import Tell, Wait, judge_unplaced
from dra_operator.lifecycle.verdict import NOTHING, Verdict

_UNPLACED: Final = frozenset({Reason.UNSCHEDULABLE_AFTER_PIN, Reason.NOT_MANAGED})
"""What a pod is told while it is kube-scheduler's to place."""


def step_ungated(look: Look) -> Verdict:
    """The next step for a pod without our gate."""
    pod = look.pod
    if pod.spec.node_name and not look.view.is_gone(pod.uid):
        writes = tuple(
            reserve(claim, pod, claim.status.allocation)
            for claim in look.claims
            if claim.status.allocation is not None
            and not is_reserved(claim, pod)
            and owning_group(claim) is None  # its consumer is the PodGroup
            and claim.metadata.deletion_timestamp is None
            and len(claim.status.reserved_for or ()) < RESERVED_FOR_MAX_SIZE
        )
        if writes and look.view.horizon.has_parted(pod.uid):
            return Verdict(actions=(ReadPod(pod.key, pod.uid, look.view.horizon.version),))
        if writes:
            return Verdict(actions=writes)
    told = pod.condition(DEVICES_ALLOCATED)
    is_outdated = told is not None and told.reason in _UNPLACED and pod.spec.node_name and _holds(look)
    say = condition(pod, Reason.ALLOCATED, allocated_sentence(look.claims), look.now) if is_outdated else None
    if write := publish(pod, look.names, say, message_due=False):
        return Verdict(actions=(write,))
    if not pod.spec.node_name and (report := _unplaced(look)):
        return report
    if look.blocked:
        return Verdict(reason=look.blocked[0].reason, message=look.blocked[0].message)
    return NOTHING


def _holds(look: Look) -> bool:
    """Whether the pod has all its devices."""
    return not look.blocked and all(one.status.allocation and is_reserved(one, look.pod) for one in look.claims)


def _unplaced(look: Look) -> Verdict | None:
    match judge_unplaced(look.pod, look.claims, look.policy, look.now, holds=_holds(look)):
        case Wait(seconds):
            return Verdict(requeue_after=seconds)
        case Tell(message, reason):
            return tell(look, reason, message)
        case DeletePod() as delete:
            return Verdict(actions=(delete,), reason=Reason.UNSCHEDULABLE_AFTER_PIN)
        case None:
            return None
