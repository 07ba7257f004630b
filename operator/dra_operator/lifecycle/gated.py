"""A gated pod whose claims are there: ours to allocate, to tell why it waits, or to leave to kube-scheduler.

    decide → protect → write → (confirm) → publish → ungate + pin

Invariants:
- a pod is told Allocated and ungated only when every claim is allocated, reserved for it, and *confirmed*: its
  allocation came back through the watch before any rival's (`Ledger.confirmed`);
- devices are decided on only while ours is the last gate left.

Not here: which devices (`decide.py`), and how they are given back (`giveback.py`).

Upstream: Filter, Reserve and PreBind of the dynamicresources plugin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dra_operator.allocation.nodefit import covers, fits
from dra_operator.allocation.outcome import Unschedulable
from dra_operator.allocation.place import Placement
from dra_operator.api.core import Node
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import RESERVED_FOR_MAX_SIZE, ResourceClaim
from dra_operator.inventory.nodeselector import matches_node_selector
from dra_operator.lifecycle.actions import PodCondition
from dra_operator.lifecycle.answer import is_allocated_by_us
from dra_operator.lifecycle.books import find_overdrawn
from dra_operator.lifecycle.consumers import (
    allocated_sentence,
    allocation_of,
    is_only_consumer,
    is_protected,
    nodes_tie,
    protect,
    reserve,
    stamped,
)
from dra_operator.lifecycle.decide import Unfinished
from dra_operator.lifecycle.gate import excludes_namespace, leaves_to_others, other_gates
from dra_operator.lifecycle.giveback import give_back, give_back_disputed, undo, wait
from dra_operator.lifecycle.look import Look
from dra_operator.lifecycle.pin import allocated_node, pin, ungate
from dra_operator.lifecycle.policy import OnNoCapacity
from dra_operator.lifecycle.publish import condition, publish
from dra_operator.lifecycle.tell import notice, tell
from dra_operator.lifecycle.uses import find_unknown_request
from dra_operator.lifecycle.verdict import Verdict


def step_gated(look: Look) -> Verdict:
    """The next step for a pod with our gate."""
    pod, claims = look.pod, look.claims
    if gates := other_gates(pod):
        listed = ", ".join(f'"{gate}"' for gate in gates)
        return tell(look, Reason.WAITING_FOR_OTHER_GATES, f"waiting for others to lift the gates {listed}")
    if _is_left_to_others(look):
        return _leave_to_others(look)
    if look.blocked:
        first = look.blocked[0]
        held = [*claims, *(block.claim for block in look.blocked if block.claim is not None)]
        return replace(wait(look, first.reason, first.message, held), no_device_helps=True)
    if disputed := give_back_disputed(look, claims):
        return disputed
    if denied := look.decider.admit(pod, claims) or find_unknown_request(pod, look.entries):
        return wait(look, denied.reason, denied.message, claims)
    for claim in claims:
        if not claim.reserved_for(pod.uid) and len(claim.status.reserved_for or ()) >= RESERVED_FOR_MAX_SIZE:
            return wait(
                look,
                Reason.CLAIM_FULL,
                f'ResourceClaim "{claim.key}" has {RESERVED_FOR_MAX_SIZE} consumers, which is the limit; '
                "wait for one to end, or use another claim",
                claims,
            )
    if all(claim.status.allocation is not None and claim.reserved_for(pod.uid) for claim in claims):
        return _let_go(look)
    return _allocate(look)


# --- another's to allocate -------------------------------------------------------------------------------------------


def _is_left_to_others(look: Look) -> bool:
    """Whether the pod should not have been gated, or not with what has changed since."""
    namespace = look.pod.metadata.namespace
    if not look.policy.allocates or excludes_namespace(namespace, look.view.namespaces.get(namespace), look.policy):
        return True
    if look.blocked or not look.claims:
        return False
    return leaves_to_others([claim.spec for claim in look.claims], look.view.classes)


def _leave_to_others(look: Look) -> Verdict:
    """What we gave to the pod alone goes along with it only if no other was given that first."""
    ours = [claim for claim in look.claims if is_only_consumer(claim, look.pod) and is_allocated_by_us(claim)]
    if disputed := give_back_disputed(look, ours):
        return disputed
    if not _confirmed(look, ours):
        return Verdict(requeue_after=look.policy.confirm_timeout)
    say = condition(look.pod, Reason.NOT_MANAGED, "left to kube-scheduler", look.now)
    return _publish_and_ungate(look, say if look.pod.condition(DEVICES_ALLOCATED) else None)


def _hand_over(look: Look, why: str) -> Verdict:
    """From now on kube-scheduler looks for devices for the pod, and an autoscaler sees that there are none."""
    message = f"left to kube-scheduler: {why}"
    if held := give_back(look, Reason.NOT_MANAGED, message, look.claims):
        return held
    return _publish_and_ungate(look, condition(look.pod, Reason.NOT_MANAGED, message, look.now))


def _handover_at(look: Look) -> float | None:
    """When the pod is handed over unallocated: a while after it was told that there is nothing for it.

    One that was told it has devices, and lost them, is told first: until then it may be ungated with what it holds.
    """
    if look.policy.on_no_capacity is not OnNoCapacity.HANDOVER or look.waits_since is None:
        return None
    return look.waits_since + look.policy.handover_after


def _publish_and_ungate(look: Look, say: PodCondition | None) -> Verdict:
    """Both writes carry the pod's resourceVersion, so the second has to wait for the next look."""
    write = publish(look.pod, look.names, say, message_due=False)
    return Verdict(actions=(write or ungate(look.pod),))


# --- ours to allocate ------------------------------------------------------------------------------------------------


def _allocate(look: Look) -> Verdict:
    decision = look.decider.place(look.pod, look.claims)
    match decision:
        case Unfinished(search):
            return Verdict(search=search)
        case Placement():
            return _write(look, decision)
        case Unschedulable():
            due = _handover_at(look)
            if due is not None and look.now >= due:
                return _hand_over(look, decision.message)
            return _wait_for_devices(look, decision)
        case _:  # something has to be corrected: more nodes would not help
            return wait(look, decision.reason, decision.message, look.claims)


def _wait_for_devices(look: Look, decision: Unschedulable) -> Verdict:
    waits = wait(look, decision.reason, decision.message, look.claims)
    if not waits.waits:
        return waits
    told = look.waits_since
    long_ago = told is not None and look.now - told >= look.policy.reserve_after
    retry_at = None if waits.requeue_after is None else look.now + waits.requeue_after
    return replace(
        waits,
        group=look.decider.group(look.pod, look.claims),
        reservation=look.decider.reserve(look.pod, look.claims) if long_ago else None,
        requeue_after=look.until(retry_at, _handover_at(look)),
    )


def _write(look: Look, placement: Placement) -> Verdict:
    if unprotected := [claim for claim in look.claims if not is_protected(claim)]:
        return Verdict(actions=tuple(protect(claim) for claim in unprotected), placement=placement.node)
    allocations = iter(placement.allocations)
    writes = [
        reserve(claim, look.pod, claim.status.allocation or stamped(next(allocations), look.now))
        for claim in look.claims
        if claim.status.allocation is None or not claim.reserved_for(look.pod.uid)
    ]
    return Verdict(actions=tuple(writes), placement=placement.node)


# --- allocated: on its way to kube-scheduler -------------------------------------------------------------------------


def _let_go(look: Look) -> Verdict:
    """Every claim is allocated and reserved: confirm, publish, ungate."""
    pod, view, claims = look.pod, look.view, look.claims
    if not _confirmed(look, claims):
        return Verdict(requeue_after=look.policy.confirm_timeout)
    nodes = {node for claim in claims if (node := allocated_node(allocation_of(claim))) is not None}
    # Where the allocation means one node, that is it: what we assumed may be of a write that another's came before.
    node = min(nodes) if nodes else view.placed_on(pod.uid)
    if node is not None and (misfit := _misfit(look, node)) is not None:
        return wait(look, Reason.NODE_UNSUITABLE, misfit, claims)
    if nodes and not _reaches(claims, view.nodes[min(nodes)]):  # two operators allocated a claim each
        tied = [claim for claim in claims if allocation_of(claim).node_selector is not None]
        return undo(look, tied, "its claims were given devices that no node has all of; trying again")
    if node is not None and (overdrawn := find_overdrawn(view, node, claims)) is not None:
        message = f'more is given out than there is of what ResourceClaim "{overdrawn.key}" draws on; trying again'
        return undo(look, [overdrawn], message)
    if not view.unelected.may_announce(pod, claims):
        return _leave_to_another(look)
    say = condition(pod, Reason.ALLOCATED, allocated_sentence(claims), look.now)
    pinned_to = node if node is not None and nodes_tie(claims) and covers(pod, view.classes) else None
    if write := publish(pod, look.names, say, message_due=False, nominated=pinned_to or ""):
        # Who never waited needs no Event: one more write for every pod, and the condition says the same.
        waited = pod.condition(DEVICES_ALLOCATED) is not None
        notices = (notice(look, "Normal", Reason.ALLOCATED, say.message),) if waited else ()
        return Verdict(actions=(write,), notices=notices, placement=node)
    if not view.unelected.may_ungate(pod, pinned_to):
        return _leave_to_another(look)
    pinned = pin(pod, pinned_to) if pinned_to is not None else None
    return Verdict(actions=(ungate(pod, pinned),), placement=node, reason=Reason.ALLOCATED, message=say.message)


def _confirmed(look: Look, claims: Iterable[ResourceClaim]) -> bool:
    """Whether the mirror has shown the allocations as we wrote them, and nobody's before."""
    view = look.view
    return all(view.ledger.confirmed(claim.uid) and not view.claim_catching_up(claim.key) for claim in claims)


def _reaches(claims: Iterable[ResourceClaim], node: Node) -> bool:
    """Whether all that the claims have can be had on the node."""
    selectors = (allocation_of(claim).node_selector for claim in claims)
    return all(matches_node_selector(selector, node) for selector in selectors if selector is not None)


def _misfit(look: Look, node: str) -> str | None:
    """Why the pod may not go to the node any more. Its own room on it is not held against it."""
    known = look.view.nodes.get(node)
    if known is None:
        return f'node "{node}", which has the devices, is gone'
    misfits = fits(look.pod, known, look.view.usage[node], look.view.classes)
    return f'node "{node}", which has the devices, does not take the pod: {misfits[0].message}' if misfits else None


def _leave_to_another(look: Look) -> Verdict:
    """Who has allocated the claims, or has seen them as they are, ungates the pod, or they are allocated anew."""
    left = look.view.unelected.patience(look.pod.uid, look.now)
    if left > 0:
        return Verdict(left_to_another=True, requeue_after=left)
    message = "devices were allocated by another operator, which does not go on; trying again"
    return replace(wait(look, Reason.CONFLICT, message, look.claims), left_to_another=True)
