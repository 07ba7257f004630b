"""What a pod that waits gives back: the devices that it alone uses, and its place among the users of a claim.

Only while it is gated. Where leader election does not keep others away, it is told first that it has none
(`unelected.py`); it is given back at the look that follows.

Invariant: a gated pod holds all its claims or, once it is told to wait, none.

Not here: pods that are done (`claim.py`). What an ungated pod was given is never taken back.

Upstream: `Unreserve` of the dynamicresources plugin, which takes the pod out of `reservedFor`, and its PostFilter,
which deallocates. Here it is one write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dra_operator.api.core import Pod
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.actions import DeleteClaim, WriteClaimStatus
from dra_operator.lifecycle.consumers import leave
from dra_operator.lifecycle.look import Look
from dra_operator.lifecycle.publish import condition
from dra_operator.lifecycle.tell import notice, tell
from dra_operator.lifecycle.unelected import seen
from dra_operator.lifecycle.verdict import Verdict


def wait(look: Look, reason: Reason, message: str, claims: Sequence[ResourceClaim]) -> Verdict:
    """The pod waits, and holds nothing of these meanwhile."""
    if undo := give_back(look, reason, message, claims):
        return undo
    return tell(look, reason, message, waits=True)


def give_back(look: Look, reason: Reason, message: str, claims: Sequence[ResourceClaim]) -> Verdict | None:
    """None where the pod holds nothing of these: neither devices that it alone uses nor a place among others."""
    held = [claim for claim in claims if claim.reserved_for(look.pod.uid)]
    if not held:
        return None
    if not look.view.unelected.may_take_back(look.pod, held):
        return renounce(look, reason, message, held)
    return Verdict(actions=tuple(leave(claim, look.pod) for claim in held))


def give_back_disputed(look: Look, claims: Sequence[ResourceClaim]) -> Verdict | None:
    """Give back what a rival's allocation came before. Always safe while the pod is gated."""
    disputed = [claim for claim in claims if look.view.ledger.rivals(claim.uid)]
    if not disputed:
        return None
    return undo(
        look,
        disputed,
        f'another claim was given the devices of ResourceClaim "{disputed[0].key}" first; trying again',
    )


def undo(look: Look, disputed: Sequence[ResourceClaim], message: str) -> Verdict:
    """Give these back. Of one that others use, too, the pod leaves its place; the last one takes the devices along.

    `message`: why.
    """
    held = [claim for claim in disputed if claim.reserved_for(look.pod.uid)]
    if not held:  # others have them; it stays like this until they give them back
        retry_at = look.now + look.policy.conflict_retry
        undone = give_back(look, Reason.CONFLICT, message, look.claims)
        return undone or tell(look, Reason.CONFLICT, message, waits=True, retry_at=retry_at)
    if not look.view.unelected.may_take_back(look.pod, held):
        return replace(renounce(look, Reason.CONFLICT, message, held), requeue_after=0.0)
    return Verdict(
        actions=tuple(leave(claim, look.pod) for claim in held),
        notices=(notice(look, "Warning", Reason.CONFLICT, message),),
        reason=Reason.CONFLICT,
        message=message,
        requeue_after=look.policy.conflict_retry,
    )


def renounce(look: Look, reason: Reason, message: str, held: Sequence[ResourceClaim]) -> Verdict:
    """Say first what the pod does not have any more: then no write that ungates it can succeed (`unelected.py`).

    It has to be a write: what the condition says already is said in other words.
    """
    current, wanted = look.pod.condition(DEVICES_ALLOCATED), condition(look.pod, reason, message, look.now)
    if current is not None and (current.reason, current.message) == (wanted.reason, wanted.message):
        message = f"what it has is given back first: {message}"
    said = tell(look, reason, message, waits=True, message_due=True)
    return replace(said, renounces=seen(held))


def drop(duplicate: ResourceClaim, pod: Pod) -> WriteClaimStatus | DeleteClaim:
    """A second claim for one entry: its devices are given back before it is deleted."""
    if duplicate.status.reserved_for:
        return leave(duplicate, pod)
    return DeleteClaim(duplicate.key, duplicate.uid, duplicate.metadata.resource_version)
