"""Without leader election another operator may be at work on the same pod, unseen: what each of them may do.

A pod's gate and the devices of its claims are in different objects, and no write to one can depend on another. Two
rules make up for that; they meet in the pod's condition DevicesAllocated.

- *Who takes devices back* first writes into the condition that the pod has none, having seen version c of the claim,
  and then frees c. That write fails where the pod is ungated already; and whoever is about to ungate the pod fails,
  since that write carries the version of the pod that said Allocated.
- *Who announces Allocated* has itself written every claim of the pod, having seen the pod's condition as it still is.
  Whoever is about to free one of them wrote the condition before that, so what he has seen is an older c, and he fails.

So of two who are at it one fails, however late each sees what. It takes no further write where nobody else is at work.
Anybody may ungate a pod that another has announced, if it is pinned to the node that was named along with that
(`nominatedNodeName`): the claims as they are seen may be from before they were allocated anew.
What another has allocated is left to it for `PATIENCE`, then taken back and decided anew: it may be gone.

With leader election nothing of this is asked (`alone`): a new leader has caught up with the one before, and what that
one may still have on its way is a write that ungates, after a condition that says Allocated (`may_take_back`).

Upstream: none. kube-scheduler and kube-controller-manager rely on leader election.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.actions import Action, Done, Outcome, PublishStatus, WriteClaimStatus
from dra_operator.lifecycle.answer import is_allocated_by_us

PATIENCE: Final = 3.0
"""Seconds for which another may go on with what it has begun. To wait for one that is gone costs a pod that time; to
overtake one that is only slow costs both a few writes."""

Seen: TypeAlias = frozenset[tuple[Uid, str]]
"""Claims as they were seen: UID and resourceVersion."""


def seen(claims: Iterable[ResourceClaim]) -> Seen:
    return frozenset((claim.uid, claim.metadata.resource_version) for claim in claims)


def says_allocated(pod: Pod) -> bool:
    current = pod.condition(DEVICES_ALLOCATED)
    return current is not None and current.status == "True"


class Unelected:
    """See the module. Times are in seconds.

    The lifecycle asks (`may_…`, `patience`); who runs it tells what was decided, what came of it, and what is seen.
    """

    def __init__(
        self,
        *,
        alone: bool = True,
        patience: float = PATIENCE,
        met: Callable[[ObjectKey], None] = lambda key: None,
    ) -> None:
        """`alone`: nobody else writes while we do. `met` is told of a claim that another operator has allocated.

        Each process has another `patience`, or two would go on getting in each other's way.
        """
        self._alone = alone
        self._patience = patience
        self._met = met
        self._begun: dict[Uid, dict[Uid, str]] = {}
        """By claim that is being allocated or reserved: for which pods, and the versions of their conditions."""
        self._wrote: defaultdict[Uid, dict[Uid, str]] = defaultdict(dict)
        """By pod: which claims we wrote for it, and the version of its condition then."""
        self._renounced: dict[Uid, Seen] = {}
        """By pod: the claims as they were seen before its condition was written."""
        self._others: dict[Uid, float] = {}
        """Since when another's allocation of a pod's claims is left to it."""

    # --- asked by the lifecycle --------------------------------------------------------------------------------------

    def may_take_back(self, pod: Pod, held: Sequence[ResourceClaim]) -> bool:
        """Whether no write that ungates the pod can be on its way, or succeed any more."""
        if self._alone:
            return not says_allocated(pod)
        return seen(held) <= self._renounced.get(pod.uid, frozenset())

    def may_announce(self, pod: Pod, claims: Iterable[ResourceClaim]) -> bool:
        """Whether nobody can be about to free a claim of the pod once its condition says Allocated."""
        if self._alone or says_allocated(pod):
            return True
        wrote, now = self._wrote.get(pod.uid, {}), _condition_version(pod)
        return all(wrote.get(claim.uid) == now for claim in claims)

    def may_ungate(self, pod: Pod, node: str | None) -> bool:
        """Whether the node that the claims tie the pod to, as they are seen, is the one that was announced."""
        return self._alone or (node or "") == pod.status.nominated_node_name

    def patience(self, uid: Uid, now: float) -> float:
        """Seconds for which what another has allocated is still left to it."""
        since = self._others.get(uid, now)
        return self._patience - (now - since if since <= now else 0.0)

    # --- told by the engine ------------------------------------------------------------------------------------------

    def note_left(self, uid: Uid, now: float, *, left: bool) -> None:
        """The pod was looked at; `left`: what another has allocated for it is left to it."""
        if not left:
            self._others.pop(uid, None)
        elif self._others.setdefault(uid, now) > now:
            self._others[uid] = now  # the clock was set back

    def begin(self, pod: Pod, actions: Iterable[Action]) -> None:
        """These were decided on, by what the pod says now."""
        if self._alone:
            return
        for action in actions:
            match action:
                case WriteClaimStatus(allocation=allocation) if allocation is not None:
                    self._begun.setdefault(action.uid, {})[pod.uid] = _condition_version(pod)
                case PublishStatus():
                    self._begun.setdefault(pod.uid, {})[pod.uid] = _condition_version(pod)
                case _:
                    pass

    def settle(self, action: Action, outcome: Outcome) -> None:
        """This is what became of an action. What was found to be done, another may have done: it gives no right."""
        if self._alone or not isinstance(action, WriteClaimStatus | PublishStatus):
            return
        begun = self._begun.pop(action.uid, {})
        if not isinstance(outcome, Done) or outcome.found:
            return
        for uid, version in begun.items():
            if isinstance(action, WriteClaimStatus):
                self._wrote[uid][action.uid] = version
            elif isinstance(outcome.object, Pod):  # nobody else wrote the condition since: ours is as good as that
                wrote = self._wrote[uid]
                wrote |= {
                    claim: _condition_version(outcome.object) for claim, known in wrote.items() if known == version
                }

    def note_renounced(self, uid: Uid, claims: Seen) -> None:
        """The pod's condition says that it has none of these."""
        if not self._alone:
            self._renounced[uid] = claims

    def observe(self, before: ResourceClaim | None, claim: ResourceClaim, *, ours: bool) -> None:
        """A watch shows the claim, whose allocation we decided on or not."""
        if self._alone or ours or claim.status.allocation is None:
            return
        if (before is None or before.status.allocation is None) and is_allocated_by_us(claim):
            self._met(claim.key)

    def forget(self, uid: Uid) -> None:
        """The pod is gone. What is on its way for it is nobody's when it is answered."""
        for pods in self._begun.values():
            pods.pop(uid, None)
        self._wrote.pop(uid, None)
        self._renounced.pop(uid, None)
        self._others.pop(uid, None)


def _condition_version(pod: Pod) -> str:
    """Changes with every write to the pod's condition; before the first one it stays, whatever else changes."""
    return "" if pod.condition(DEVICES_ALLOCATED) is None else pod.metadata.resource_version
