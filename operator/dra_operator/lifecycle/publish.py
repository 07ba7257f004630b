"""What a pod's status says about its claims: `resourceClaimStatuses` and the condition DevicesAllocated.

Both are published by one server-side apply that states every field we own there each time, since apply drops what is
left out. An entry that another generator published stays as it is: the same value has two owners, and a different one
is a conflict, after which the other's claim is the one. Only a name whose claim is gone is overwritten by force:
its owner may never look again.

Along with "Allocated" goes `nominatedNodeName`: kube-scheduler writes it by itself for every pod with claims before it
binds it, unless it is there already; so our write spares one of its own. An ungated pod's is stated as it is.

The condition is rewritten when its reason changes; a new sentence for the same reason waits until the last write is
`Policy.condition_interval` old, so that a busy cluster does not turn into status writes of every waiting pod.

Upstream: `resourceClaimStatuses` of core/v1 PodStatus; Gateway-style conditions with reason codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from dra_operator.api.core import Pod, PodResourceClaimStatus
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.reasons import Reason
from dra_operator.lifecycle.actions import PodCondition, PublishStatus
from dra_operator.lifecycle.gate import is_gated

MESSAGE_MAX_LENGTH = 1024


def timestamp(now: float) -> str:
    """RFC 3339 as the API server writes it: UTC, whole seconds."""
    return datetime.fromtimestamp(now, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str | None, default: float) -> float:
    """Seconds since the epoch of an RFC 3339 time; `default` where there is none."""
    return datetime.fromisoformat(text).timestamp() if text else default


def claim_statuses(pod: Pod, names: Mapping[str, str]) -> tuple[PodResourceClaimStatus, ...]:
    """`resourceClaimStatuses` with our generated claims' `names` (by pod claim) beside what is published already."""
    merged = {status.name: status for status in pod.status.resource_claim_statuses or ()}
    merged.update(
        {entry: PodResourceClaimStatus(name=entry, resource_claim_name=name) for entry, name in names.items()}
    )
    return tuple(merged[entry] for entry in sorted(merged))


def condition(pod: Pod, reason: Reason, message: str, now: float) -> PodCondition:
    """The condition for a reason; the transition time changes only when the status does."""
    status = reason in (Reason.ALLOCATED, Reason.UNSCHEDULABLE_AFTER_PIN)
    current = pod.condition(DEVICES_ALLOCATED)
    flipped = current is None or (current.status == "True") != status
    since = timestamp(now) if flipped or current is None else current.last_transition_time or timestamp(now)
    return PodCondition(status, reason.value, message[:MESSAGE_MAX_LENGTH], since)


def publish(
    pod: Pod,
    names: Mapping[str, str],
    wanted: PodCondition | None,
    *,
    message_due: bool,
    nominated: str = "",
) -> PublishStatus | None:
    """The write that makes the pod's status say this, or None if it does, or need not yet.

    Without a wanted condition, the one that is there is stated again. `message_due`: the last write is old enough for
    a new sentence alone. `names` agree with what is published wherever that claim can be used (`generate.py`).
    `nominated` is stated along with the rest, and is no reason to write.
    """
    statuses = claim_statuses(pod, names)
    current = pod.condition(DEVICES_ALLOCATED)
    standing = (
        None
        if current is None
        else PodCondition(current.status == "True", current.reason, current.message, current.last_transition_time or "")
    )
    if wanted is None:
        wanted = standing
    same_statuses = statuses == claim_statuses(pod, {})
    same_code = (
        wanted is not None
        and standing is not None
        and (wanted.status, wanted.reason) == (standing.status, standing.reason)
    )
    if same_statuses and (wanted == standing or (same_code and not message_due)):
        return None
    stale = any(
        status.resource_claim_name not in (None, names.get(status.name, status.resource_claim_name))
        for status in pod.status.resource_claim_statuses or ()
    )
    node = nominated if is_gated(pod) else pod.status.nominated_node_name
    return PublishStatus(pod.key, pod.uid, pod.metadata.resource_version, statuses, wanted, node, force=stale)
