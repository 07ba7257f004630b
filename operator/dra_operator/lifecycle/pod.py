"""One look at one pod: what is the next step on its way from gated to running.

    generate → decide → write → (confirm) → publish → ungate + pin

Each look returns the writes of one step; when they are done the pod is looked at again. So a crash between any two
writes leaves a state from which the next look goes on, and a second look at the same state does nothing new.

Invariants:
- a pod is ungated only when every claim is allocated, reserved for it, and *confirmed*: its allocation came back
  through the watch before any rival's (`Ledger.confirmed`);
- a gated pod holds all its claims or, once it is told to wait, none;
- what has been given to an ungated pod is never taken back here.

Upstream: the dynamicresources plugin's Reserve/PreBind, and `syncPod` of the resourceclaim controller for pods that
are bound already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

from dra_operator.allocation.nodefit import covers, fits
from dra_operator.allocation.outcome import Unschedulable
from dra_operator.allocation.place import Placement
from dra_operator.api.core import NodeSelector, Pod
from dra_operator.api.meta import Uid
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import (
    RESERVED_FOR_MAX_SIZE,
    ResourceClaim,
)
from dra_operator.lifecycle.actions import (
    Action,
    CreateClaim,
    DeleteClaim,
    DeletePod,
    Notice,
    ReadPod,
    Ungate,
)
from dra_operator.lifecycle.answer import is_allocated_by_us
from dra_operator.lifecycle.books import find_overdrawn
from dra_operator.lifecycle.claim import DELETE_AGAIN
from dra_operator.lifecycle.consumers import (
    allocated_sentence,
    allocation_of,
    is_only_consumer,
    is_protected,
    leave,
    nodes_tie,
    protect,
    reserve,
    stamped,
)
from dra_operator.lifecycle.decide import Decider, Unfinished
from dra_operator.lifecycle.gate import excludes_namespace, is_gated, leaves_to_others, other_gates
from dra_operator.lifecycle.generate import Blocked, Found, NotNeeded, ToCreate, resolve
from dra_operator.lifecycle.pin import allocated_node, pin
from dra_operator.lifecycle.policy import OnNoCapacity, Policy
from dra_operator.lifecycle.publish import condition, moment, publish
from dra_operator.lifecycle.turns import SILENCE
from dra_operator.lifecycle.unelected import seen
from dra_operator.lifecycle.unplaced import Tell, Wait, judge_unplaced
from dra_operator.lifecycle.uses import find_unknown_request
from dra_operator.lifecycle.verdict import NOTHING, Verdict
from dra_operator.lifecycle.view import View


def reconcile_pod(decider: Decider, uid: Uid, policy: Policy, now: float) -> Verdict:
    """The next step for a pod. `now`: seconds since the epoch."""
    pod = decider.view.pod(uid)
    if pod is None or pod.done:
        return NOTHING  # what it held is released claim by claim
    if decider.view.horizon.in_doubt(pod):
        if decider.view.is_gone(uid):
            return NOTHING  # the mirror says so soon, or a census
        return Verdict(actions=(ReadPod(pod.key, uid, decider.view.horizon.version),))
    return _Look(decider, pod, policy, now).verdict()


@dataclass(slots=True)
class _Look:
    """The state of one look: the pod and its claims as far as they are there."""

    decider: Decider
    pod: Pod
    policy: Policy
    now: float
    entries: dict[str, ResourceClaim] = field(default_factory=dict)
    """The claims by their names in `spec.resourceClaims`."""

    @property
    def view(self) -> View:
        return self.decider.view

    def verdict(self) -> Verdict:
        pod = self.pod
        if not pod.spec.resource_claims:
            return Verdict(actions=(self._ungate(None),)) if is_gated(pod) and not other_gates(pod) else NOTHING
        creates: list[Action] = []
        missing: list[str] = []
        spare: list[Action] = []
        held_twice: list[ResourceClaim] = []
        blocked: list[Blocked] = []
        claims: list[ResourceClaim] = []
        names: dict[str, str] = {}
        for entry, resolution in resolve(self.view, pod):
            match resolution:
                case ToCreate(claim):
                    creates.append(CreateClaim(claim))
                    missing.append(f'"{pod.metadata.namespace}/{entry.resource_claim_template_name}"')
                case Found(claim, duplicates):
                    if all(known.uid != claim.uid for known in claims):  # two entries may name one claim
                        claims.append(claim)
                    self.entries[entry.name] = claim
                    spare += [self._drop(duplicate) for duplicate in duplicates]
                    held_twice += [duplicate for duplicate in duplicates if duplicate.reserved_for(pod.uid)]
                    if entry.resource_claim_template_name:
                        names[entry.name] = claim.metadata.name
                case Blocked():
                    blocked.append(resolution)
                case NotNeeded():
                    pass
        if held_twice and is_gated(pod) and not self.view.unelected.may_take_back(pod, held_twice):
            message = f'ResourceClaim "{held_twice[0].key}" is a second claim for one entry; it gives its devices back'
            return replace(self._renounce(names, Reason.CONFLICT, message, held_twice), requeue_after=0.0)
        if creates and (left := self._others_turn()) > 0:
            return self._await_claims(left, missing, spare, claims, names, blocked)
        if creates and (refusal := self.view.refusals.get(pod.uid)) is not None and refusal.holds(self.now):
            return self._say(names, Reason.CLAIM_CREATION_REFUSED, refusal.message, retry_at=refusal.until)
        if creates or spare:
            deletes = all(isinstance(action, DeleteClaim) for action in (*creates, *spare))
            return Verdict(actions=(*creates, *spare), requeue_after=DELETE_AGAIN if deletes else None)
        if not is_gated(pod):
            return self._ungated(claims, names, blocked)
        return self._gated(claims, names, blocked)

    # --- claims that another may generate ----------------------------------------------------------------------------

    def _others_turn(self) -> float:
        """Seconds for which another generator may still make the claims that are missing."""
        turns = self.view.turns
        return turns.patience(self.policy.claims) - turns.waited(self.pod.uid, self.now)

    def _await_claims(
        self,
        left: float,
        missing: Sequence[str],
        spare: list[Action],
        claims: list[ResourceClaim],
        names: dict[str, str],
        blocked: list[Blocked],
    ) -> Verdict:
        """Usually a fraction of a second: only a pod that waits longer is told."""
        silent = SILENCE - self.view.turns.waited(self.pod.uid, self.now)
        if silent > 0 and not blocked:
            return Verdict(actions=tuple(spare), awaits_claims=True, requeue_after=min(left, silent))
        absent = Blocked(
            Reason.CLAIM_NOT_FOUND,
            f"no ResourceClaim has been generated from ResourceClaimTemplate {missing[0]} yet; "
            "kube-controller-manager's resourceclaim-controller does that: see whether it runs and what it says",
        )
        stands = self._gated if is_gated(self.pod) else self._ungated
        verdict = stands(claims, names, [*blocked, absent])
        again = [left, *([] if verdict.requeue_after is None else [verdict.requeue_after])]
        return replace(verdict, awaits_claims=True, requeue_after=min(again) if min(again) < inf else None)

    # --- gated: ours to allocate -------------------------------------------------------------------------------------

    def _gated(self, claims: list[ResourceClaim], names: dict[str, str], blocked: list[Blocked]) -> Verdict:
        pod, view = self.pod, self.view
        if gates := other_gates(pod):
            listed = ", ".join(f'"{gate}"' for gate in gates)
            return self._say(names, Reason.WAITING_FOR_OTHER_GATES, f"waiting for others to lift the gates {listed}")
        namespace = pod.metadata.namespace
        if (
            not self.policy.allocates
            or excludes_namespace(namespace, view.namespaces.get(namespace), self.policy)
            or (not blocked and claims and leaves_to_others([claim.spec for claim in claims], view.classes))
        ):
            if (kept := self._not_sure(claims, names)) is not None:
                return kept
            say = condition(pod, Reason.NOT_MANAGED, "left to kube-scheduler", self.now)
            return self._step(
                publish(pod, names, say if pod.condition(DEVICES_ALLOCATED) else None, message_due=False),
                self._ungate(None),
            )
        if blocked:
            held = [*claims, *(block.claim for block in blocked if block.claim is not None)]
            return replace(self._wait(names, blocked[0].reason, blocked[0].message, held), no_device_helps=True)
        if undo := self._undo_disputed(claims, names):
            return undo
        if denied := self.decider.admit(pod, claims) or find_unknown_request(pod, self.entries):
            return self._wait(names, denied.reason, denied.message, claims)
        for claim in claims:
            if not claim.reserved_for(pod.uid) and len(claim.status.reserved_for or ()) >= RESERVED_FOR_MAX_SIZE:
                return self._wait(
                    names,
                    Reason.CLAIM_FULL,
                    f'ResourceClaim "{claim.key}" has {RESERVED_FOR_MAX_SIZE} consumers, which is the limit; '
                    "wait for one to end, or use another claim",
                    claims,
                )
        if all(claim.status.allocation is not None and claim.reserved_for(pod.uid) for claim in claims):
            return self._allocated(claims, names)
        return self._allocate(claims, names)

    def _allocate(self, claims: list[ResourceClaim], names: dict[str, str]) -> Verdict:
        pod = self.pod
        decision = self.decider.place(pod, claims)
        if isinstance(decision, Unfinished):
            return Verdict(search=decision.search)
        if not isinstance(decision, Placement):
            if not isinstance(decision, Unschedulable):  # something has to be corrected: more nodes would not help
                return self._wait(names, decision.reason, decision.message, claims)
            if self._handover_due():
                return self._hand_over(names, decision.message, claims)
            waits = self._wait(names, decision.reason, decision.message, claims)
            if not waits.waits:
                return waits
            kept = self.decider.reserve(pod, claims) if self._has_waited(self.policy.reserve_after) else None
            later = None if waits.requeue_after is None else self.now + waits.requeue_after
            again = self._until(later, self._handover_at())
            return replace(waits, group=self.decider.group(pod, claims), reservation=kept, requeue_after=again)
        if unprotected := [claim for claim in claims if not is_protected(claim)]:
            return Verdict(actions=tuple(protect(claim) for claim in unprotected), placement=decision.node)
        allocations = iter(decision.allocations)
        writes = [
            reserve(claim, pod, claim.status.allocation or stamped(next(allocations), self.now))
            for claim in claims
            if claim.status.allocation is None or not claim.reserved_for(pod.uid)
        ]
        return Verdict(actions=tuple(writes), placement=decision.node)

    def _hand_over(self, names: dict[str, str], why: str, claims: Sequence[ResourceClaim]) -> Verdict:
        """From now on kube-scheduler looks for devices for the pod, and an autoscaler sees that there are none."""
        if undo := self._give_back(names, Reason.NOT_MANAGED, f"left to kube-scheduler: {why}", claims):
            return undo
        say = condition(self.pod, Reason.NOT_MANAGED, f"left to kube-scheduler: {why}", self.now)
        return self._step(publish(self.pod, names, say, message_due=False), self._ungate(None))

    def _allocated(self, claims: list[ResourceClaim], names: dict[str, str]) -> Verdict:
        """Every claim is allocated and reserved: confirm, publish, ungate."""
        pod, view = self.pod, self.view
        if any(view.claim_catching_up(claim.key) or not view.ledger.confirmed(claim.uid) for claim in claims):
            return Verdict(requeue_after=self.policy.confirm_timeout)
        nodes = {node for claim in claims if (node := allocated_node(allocation_of(claim))) is not None}
        # Where the allocation means one node, that is it: what we assumed may be of a write that another's came before.
        node = nodes.pop() if len(nodes) == 1 else view.placed_on(pod.uid)
        if node is not None and (misfit := self._misfit(node)) is not None:
            return self._wait(names, Reason.NODE_UNSUITABLE, misfit, claims)
        if node is not None and (overdrawn := find_overdrawn(view, node, claims)) is not None:
            return self._undo([overdrawn], names)
        if not view.unelected.may_announce(pod, claims):
            return self._leave_to_another(claims, names)
        say = condition(pod, Reason.ALLOCATED, allocated_sentence(claims), self.now)
        pinned_to = node if node is not None and nodes_tie(claims) and covers(pod) else None
        if write := publish(pod, names, say, message_due=False, nominated=pinned_to or ""):
            # Who never waited needs no Event: one more write for every pod, and the condition says the same.
            waited = pod.condition(DEVICES_ALLOCATED) is not None
            notices = (self._notice("Normal", Reason.ALLOCATED, say.message),) if waited else ()
            return Verdict(actions=(write,), notices=notices, placement=node)
        pinned = pin(pod, pinned_to) if pinned_to is not None else None
        return Verdict(actions=(self._ungate(pinned),), placement=node, reason=Reason.ALLOCATED, message=say.message)

    def _leave_to_another(self, claims: list[ResourceClaim], names: dict[str, str]) -> Verdict:
        """Only who has allocated the claims may ungate the pod; if it does not for long, they are allocated anew."""
        left = self.view.unelected.patience(self.pod.uid, self.now)
        if left > 0:
            return Verdict(left_to_another=True, requeue_after=left)
        message = "devices were allocated by another operator, which does not go on; trying again"
        return replace(self._wait(names, Reason.CONFLICT, message, claims), left_to_another=True)

    def _not_sure(self, claims: list[ResourceClaim], names: dict[str, str]) -> Verdict | None:
        """What we gave to the pod alone goes along with it only if no other was given that first."""
        ledger = self.view.ledger
        ours = [claim for claim in claims if is_only_consumer(claim, self.pod) and is_allocated_by_us(claim)]
        if disputed := [claim for claim in ours if ledger.rivals(claim.uid)]:
            return self._undo(disputed, names)
        if any(self.view.claim_catching_up(claim.key) or not ledger.confirmed(claim.uid) for claim in ours):
            return Verdict(requeue_after=self.policy.confirm_timeout)
        return None

    def _undo_disputed(self, claims: list[ResourceClaim], names: dict[str, str]) -> Verdict | None:
        """Give back what a rival's allocation came before. Always safe while the pod is gated."""
        disputed = [claim for claim in claims if self.view.ledger.rivals(claim.uid)]
        return self._undo(disputed, names) if disputed else None

    def _undo(self, disputed: list[ResourceClaim], names: dict[str, str]) -> Verdict:
        """Give these back, as far as they are this pod's alone."""
        ours = [claim for claim in disputed if is_only_consumer(claim, self.pod)]
        writes = tuple(leave(claim, self.pod) for claim in ours)
        message = f'another claim was given the devices of ResourceClaim "{disputed[0].key}" first; trying again'
        if writes and not self.view.unelected.may_take_back(self.pod, ours):
            return replace(self._renounce(names, Reason.CONFLICT, message, ours), requeue_after=0.0)
        if not writes:  # not ours to give back: it stays like this until someone does
            retry_at = self.now + self.policy.conflict_retry
            return self._say(names, Reason.CONFLICT, message, waits=True, retry_at=retry_at)
        return Verdict(
            actions=writes,
            notices=(self._notice("Warning", Reason.CONFLICT, message),),
            reason=Reason.CONFLICT,
            message=message,
            requeue_after=self.policy.conflict_retry,
        )

    def _give_back(
        self, names: dict[str, str], reason: Reason, message: str, claims: Sequence[ResourceClaim]
    ) -> Verdict | None:
        """A pod that has to wait holds nothing: neither devices that it alone uses nor a place among others."""
        held = [claim for claim in claims if claim.reserved_for(self.pod.uid)]
        if not held:
            return None
        if not self.view.unelected.may_take_back(self.pod, held):
            return self._renounce(names, reason, message, held)
        return Verdict(actions=tuple(leave(claim, self.pod) for claim in held))

    def _renounce(self, names: dict[str, str], reason: Reason, message: str, held: Sequence[ResourceClaim]) -> Verdict:
        """Say first what the pod does not have any more: then no write that ungates it can succeed (`unelected.py`).

        It has to be a write: what the condition says already is said in other words.
        """
        current, wanted = self.pod.condition(DEVICES_ALLOCATED), condition(self.pod, reason, message, self.now)
        if current is not None and (current.reason, current.message) == (wanted.reason, wanted.message):
            message = f"what it has is given back first: {message}"
        said = self._say(names, reason, message, waits=True, message_due=True)
        return replace(said, renounces=seen(held))

    def _drop(self, duplicate: ResourceClaim) -> Action:
        """A second claim for one entry: its devices are given back before it is deleted."""
        if duplicate.status.reserved_for:
            return leave(duplicate, self.pod)
        return DeleteClaim(duplicate.key, duplicate.uid, duplicate.metadata.resource_version)

    def _misfit(self, node: str) -> str | None:
        """Why the pod may not go to the node any more. Its own room on it is not held against it."""
        known = self.view.nodes.get(node)
        if known is None:
            return f'node "{node}", which has the devices, is gone'
        misfits = fits(self.pod, known, self.view.usage[node])
        return f'node "{node}", which has the devices, does not take the pod: {misfits[0].message}' if misfits else None

    def _handover_at(self) -> float | None:
        """When the pod is handed over unallocated: a while after it was told that there is nothing for it.

        One that was told it has devices, and lost them, is told first: until then it may be ungated with what it holds.
        """
        current = self.pod.condition(DEVICES_ALLOCATED)
        if self.policy.on_no_capacity is not OnNoCapacity.HANDOVER or current is None or current.status == "True":
            return None
        return moment(current.last_transition_time, self.now) + self.policy.handover_after

    def _handover_due(self) -> bool:
        at = self._handover_at()
        return at is not None and self.now >= at

    # --- not gated: kube-scheduler's, or bound already ---------------------------------------------------------------

    def _ungated(self, claims: list[ResourceClaim], names: dict[str, str], blocked: list[Blocked]) -> Verdict:
        pod = self.pod
        if pod.spec.node_name:
            writes = tuple(
                reserve(claim, pod, claim.status.allocation)
                for claim in claims
                if claim.status.allocation is not None
                and not claim.reserved_for(pod.uid)
                and claim.metadata.deletion_timestamp is None
                and len(claim.status.reserved_for or ()) < RESERVED_FOR_MAX_SIZE
            )
            if writes:
                return Verdict(actions=writes)
        if write := publish(pod, names, None, message_due=False):
            return Verdict(actions=(write,))
        if not pod.spec.node_name and (report := self._unplaced(names)):
            return report
        if blocked:
            return Verdict(reason=blocked[0].reason, message=blocked[0].message)
        return NOTHING

    def _unplaced(self, names: dict[str, str]) -> Verdict | None:
        match judge_unplaced(self.pod, self.policy, self.now):
            case Wait(seconds):
                return Verdict(requeue_after=seconds)
            case Tell(message):
                return self._say(names, Reason.UNSCHEDULABLE_AFTER_PIN, message)
            case DeletePod() as delete:
                return Verdict(actions=(delete,), reason=Reason.UNSCHEDULABLE_AFTER_PIN)
            case None:
                return None

    # --- what to write -----------------------------------------------------------------------------------------------

    def _wait(self, names: dict[str, str], reason: Reason, message: str, claims: Sequence[ResourceClaim]) -> Verdict:
        """The pod waits, and holds nothing meanwhile."""
        if undo := self._give_back(names, reason, message, claims):
            return undo
        return self._say(names, reason, message, waits=True)

    def _has_waited(self, seconds: float) -> bool:
        """Whether the pod was told so long ago that there is nothing for it."""
        current = self.pod.condition(DEVICES_ALLOCATED)
        if current is None or current.status == "True":
            return False
        return self.now - moment(current.last_transition_time, self.now) >= seconds

    def _say(
        self,
        names: dict[str, str],
        reason: Reason,
        message: str,
        *,
        waits: bool = False,
        retry_at: float | None = None,
        message_due: bool = False,
    ) -> Verdict:
        written = self.view.message_written.get(self.pod.uid)
        due = message_due or written is None or not 0 <= self.now - written < self.policy.condition_interval
        current = self.pod.condition(DEVICES_ALLOCATED)
        wanted = condition(self.pod, reason, message, self.now)
        write = publish(self.pod, names, wanted, message_due=due)
        news = current is None or current.reason != reason
        later = write is None and current is not None and current.message != wanted.message
        return Verdict(
            actions=() if write is None else (write,),
            notices=(self._notice("Warning", reason, message),) if news else (),
            reason=reason,
            message=message,
            waits=waits,
            requeue_after=self._until(
                retry_at,
                written + self.policy.condition_interval if later and written is not None else None,
            ),
        )

    def _until(self, *times: float | None) -> float | None:
        """Seconds until the first of the times that are set."""
        return min((max(0.0, time - self.now) for time in times if time is not None), default=None)

    @staticmethod
    def _step(first: Action | None, then: Action) -> Verdict:
        """Both writes carry the pod's resourceVersion, so the second has to wait for the next look."""
        return Verdict(actions=(first if first is not None else then,))

    def _ungate(self, required: NodeSelector | None) -> Ungate:
        return Ungate(self.pod.key, self.pod.uid, self.pod.metadata.resource_version, required)

    def _notice(self, type_: str, reason: Reason, message: str) -> Notice:
        return Notice("Pod", self.pod.key, self.pod.uid, type_, reason.value, message)
