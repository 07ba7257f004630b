"""What an answer of the API server means: to the View, to what was assumed, and for when to look again.

What was assumed for a write is taken back where the write did not take effect; where that is not known, the engine
has read until it is. What the API server made of an allocation counts, not what was asked for.

Invariant: a pod that is turned away holds neither devices nor room on a node.

Upstream: `ForgetPod` of kube-scheduler's cache, and `Unreserve` of the dynamicresources plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from dra_operator.api.core import Pod
from dra_operator.api.meta import Uid
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.actions import (
    Action,
    Conflict,
    CreateClaim,
    Done,
    Later,
    Missing,
    Outcome,
    PublishStatus,
    ReadClaim,
    ReadPod,
    Refused,
    SetFinalizers,
    Unknown,
    WriteClaimStatus,
    target_of,
)
from dra_operator.lifecycle.answer import find_changed_fields
from dra_operator.lifecycle.keys import PodRef, Ref
from dra_operator.lifecycle.refusal import Refusal
from dra_operator.lifecycle.verdict import Verdict
from dra_operator.lifecycle.versions import newer
from dra_operator.lifecycle.view import View

log = structlog.get_logger()

REFUSAL_RETRY: Final = 10.0
"""Seconds until a refused creation is tried again: a quota is freed, a role is granted."""
_LATER_MAX: Final = 30.0
"""Whoever asks to come later than that, a tenant's webhook say, is asked again."""


class Answers:
    """See the module. `mark`: these have to be looked at; `now`: wall-clock seconds."""

    def __init__(self, view: View, mark: Callable[[Iterable[Ref]], None], now: Callable[[], float]) -> None:
        self._view = view
        self._mark = mark
        self._now = now
        self._not_kept: set[str] = set()
        """Fields of allocations that came back other than written: each is told once."""

    def settle(self, ref: Ref, verdict: Verdict, outcomes: Sequence[Outcome], assumed: frozenset[Uid]) -> float:
        """Take in what became of a verdict. Returns the seconds to wait before the next look; 0 if all went well."""
        pause = 0.0
        for action, outcome in zip(verdict.actions, outcomes, strict=True):
            pause = max(pause, self._settle(ref, action, outcome, assumed))
        if isinstance(ref, PodRef) and verdict.placement is not None and _is_turned_away(verdict.actions, outcomes):
            self._mark(self._view.forget_placement(ref.uid))
        return pause

    def _settle(self, ref: Ref, action: Action, outcome: Outcome, assumed: frozenset[Uid]) -> float:
        """Take in one answer. Returns the seconds to wait before the next look."""
        self._view.unelected.settle(action, outcome)
        match outcome:
            case Done(object_):
                self._settle_done(action, object_)
                return 0.0
            case Conflict(message):
                pause = 0.02
            case Missing(message):
                pause = 0.1
                if isinstance(action, ReadClaim | SetFinalizers | WriteClaimStatus):
                    self._mark(self._view.note_claim_missing(action.key))
            case Refused(_, message):
                pause = 1.0
                if isinstance(action, CreateClaim) and isinstance(ref, PodRef) and ref.uid in self._view.pods:
                    self._view.refusals[ref.uid] = Refusal(message, now := self._now(), now + REFUSAL_RETRY)
                    pause = 0.001  # the next look publishes why
            case Later(message, retry_after) | Unknown(message, retry_after):
                pause = min(max(0.2, retry_after or 0.0), _LATER_MAX)
        if isinstance(action, WriteClaimStatus) and action.uid in assumed:
            self._mark(self._view.forget_allocation(action.uid))
        level = log.warning if isinstance(outcome, Refused | Later | Unknown) else log.debug
        level(
            "write not done",
            action=type(action).__name__,
            target=str(target_of(action)),
            outcome=type(outcome).__name__,
            message=message,
        )
        return pause

    def _settle_done(self, action: Action, object_: object) -> None:
        match action:
            case ReadPod():
                found = object_ if isinstance(object_, Pod) else None
                self._mark(self._view.note_read(action.uid, found, action.horizon))
                return
            case WriteClaimStatus() if isinstance(object_, ResourceClaim):
                self._take_in(action, object_)
            case PublishStatus() if action.uid in self._view.pods:
                self._view.message_written[action.uid] = self._now()
            case CreateClaim():
                owner = action.claim.metadata.controller
                if owner is not None:
                    self._view.refusals.pop(owner.uid, None)
            case _:
                pass
        if isinstance(object_, Pod | ResourceClaim):
            self._mark(self._view.note_written(object_))

    def _take_in(self, action: WriteClaimStatus, answer: ResourceClaim) -> None:
        """What the API server made of an allocation counts: what it dropped, the mirror never shows."""
        if action.allocation is None:
            return
        kept = answer.status.allocation
        changed = find_changed_fields(action.allocation, kept)
        for name in sorted(changed - self._not_kept):
            log.warning("the API server does not keep a field of allocations as it is written", field=name)
        self._not_kept |= changed
        if not self._view.ledger.is_assumed(answer.uid):
            return
        shown = self._view.claims.get(answer.key)
        if kept is None or (shown is not None and newer(shown, answer)):
            self._mark(self._view.forget_allocation(answer.uid))  # what the mirror shows is judged already
        elif kept.devices.results != action.allocation.devices.results:
            self._view.assume_allocation(answer, kept)


def _is_turned_away(actions: Sequence[Action], outcomes: Sequence[Outcome]) -> bool:
    """Whether the pod gets nothing of what was decided, and not soon: then the room on its node is others', too.

    A conflict is no such thing: the pod is decided on again at once.
    """
    return (
        all(isinstance(action, SetFinalizers | WriteClaimStatus) for action in actions)
        and not any(isinstance(outcome, Done) for outcome in outcomes)
        and any(isinstance(outcome, Later | Refused) for outcome in outcomes)
    )
