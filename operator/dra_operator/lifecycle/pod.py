"""One look at one pod: what is the next step on its way from gated to running.

    generate → decide → write → (confirm) → publish → ungate + pin

Here is the way in, and its first part: that every claim is there, once. Then the pod is ours (`gated.py`) or
kube-scheduler's (`ungated.py`).

Invariant: each look returns the writes of one step; when they are done the pod is looked at again. So a crash between
any two writes leaves a state from which the next look goes on, and a second look at the same state does nothing new.

Upstream: `syncPod` of the resourceclaim controller.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Final

from dra_operator.api.meta import Uid
from dra_operator.api.reasons import Reason
from dra_operator.lifecycle.actions import CreateClaim, DeleteClaim, ReadClaim, ReadPod
from dra_operator.lifecycle.claim import DELETE_AGAIN
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.gate import is_gated, other_gates
from dra_operator.lifecycle.gated import step_gated
from dra_operator.lifecycle.generate import Blocked
from dra_operator.lifecycle.giveback import drop, renounce
from dra_operator.lifecycle.groups import group_of
from dra_operator.lifecycle.look import Look
from dra_operator.lifecycle.pin import ungate
from dra_operator.lifecycle.policy import Policy
from dra_operator.lifecycle.tell import tell
from dra_operator.lifecycle.turns import SILENCE
from dra_operator.lifecycle.ungated import step_ungated
from dra_operator.lifecycle.verdict import NOTHING, Verdict

READ_AGAIN: Final = 1.0
"""Seconds until a live GET is repeated whose answer was not taken in: what it showed was deleted meanwhile."""


def reconcile_pod(decider: Decider, uid: Uid, policy: Policy, now: float) -> Verdict:
    """The next step for a pod. `now`: seconds since the epoch."""
    view = decider.view
    pod = view.pod(uid)
    if pod is None or pod.done:
        return NOTHING  # what it held is released claim by claim
    if view.horizon.in_doubt(pod):
        if view.is_gone(uid):
            return NOTHING  # the mirror says so soon, or a census
        return Verdict(actions=(ReadPod(pod.key, uid, view.horizon.version),))
    if not pod.spec.resource_claims:
        return Verdict(actions=(ungate(pod),)) if is_gated(pod) and not other_gates(pod) else NOTHING
    look = Look.at(pod, decider, policy, now)
    return _read_unseen(look) or _renounce_duplicates(look) or _complete_claims(look) or _step(look)


def _step(look: Look) -> Verdict:
    return step_gated(look) if is_gated(look.pod) else step_ungated(look)


def _read_unseen(look: Look) -> Verdict | None:
    """Before another claim takes the place of a published one, the API server is asked for that: a mirror may be late.

    None is made in the other generator's turn: until then the mirror may show it, which takes no request.
    """
    unseen = list(look.unseen)
    if look.missing and _others_turn(look) <= 0:
        unseen += [missing.unseen for missing in look.missing if missing.unseen is not None]
    if not unseen:
        return None
    waited = look.view.turns.waited(look.pod.uid, look.now) > 0  # what the pod has waited counts on
    return Verdict(actions=tuple(map(ReadClaim, unseen)), awaits_claims=waited, requeue_after=READ_AGAIN)


def _renounce_duplicates(look: Look) -> Verdict | None:
    """Before a second claim gives its devices back, the pod is told so, where another may be about to ungate it."""
    held = [claim for claim in look.duplicates if claim.reserved_for(look.pod.uid)]
    if not held or not is_gated(look.pod) or look.view.unelected.may_take_back(look.pod, held):
        return None
    message = f'ResourceClaim "{held[0].key}" is a second claim for one entry; it gives its devices back'
    return replace(renounce(look, Reason.CONFLICT, message, held), requeue_after=0.0)


def _complete_claims(look: Look) -> Verdict | None:
    """Generate what is missing, unless another may, and drop what is there twice. None where neither is to be done."""
    if look.missing and (left := _others_turn(look)) > 0:
        return _await_claims(look, left)
    refusal = look.view.refusals.get(look.pod.uid)
    if look.missing and refusal is not None and refusal.holds(look.now):
        return tell(look, Reason.CLAIM_CREATION_REFUSED, refusal.message, retry_at=refusal.until)
    creates = [CreateClaim(missing.claim) for missing in look.missing]
    drops = [drop(duplicate, look.pod) for duplicate in look.duplicates]
    if not creates and not drops:
        return None
    only_deletes = not creates and all(isinstance(action, DeleteClaim) for action in drops)
    return Verdict(actions=(*creates, *drops), requeue_after=DELETE_AGAIN if only_deletes else None)


def _others_turn(look: Look) -> float:
    """Seconds for which another generator may still make the claims that are missing."""
    turns = look.view.turns
    in_group = group_of(look.pod) is not None
    return turns.patience(look.policy.claims, in_group=in_group) - turns.waited(look.pod.uid, look.now)


def _await_claims(look: Look, left: float) -> Verdict:
    """Usually a fraction of a second: only a pod that waits longer is told."""
    silent = SILENCE - look.view.turns.waited(look.pod.uid, look.now)
    if silent > 0 and not look.blocked:
        drops = tuple(drop(duplicate, look.pod) for duplicate in look.duplicates)
        return Verdict(actions=drops, awaits_claims=True, requeue_after=min(left, silent))
    absent = Blocked(
        Reason.CLAIM_NOT_FOUND,
        f'no ResourceClaim has been generated from ResourceClaimTemplate "{look.missing[0].template}" yet; '
        "kube-controller-manager's resourceclaim-controller does that: see whether it runs and what it says",
    )
    verdict = _step(replace(look, blocked=(*look.blocked, absent)))
    again = min(left, inf if verdict.requeue_after is None else verdict.requeue_after)
    return replace(verdict, awaits_claims=True, requeue_after=again if again < inf else None)
