"""What a reconciler concluded about one pod or one claim.

A Verdict is everything that follows from a View and nothing else: the actions to perform in order, the node a pod now
counts on, why it waits. It has no effect until a shell performs its actions.
"""

from __future__ import annotations

from dataclasses import dataclass

from dra_operator.api.reasons import Reason
from dra_operator.lifecycle.actions import Action, Notice
from dra_operator.lifecycle.decide import Search
from dra_operator.lifecycle.reservation import Reservation
from dra_operator.lifecycle.unelected import Seen
from dra_operator.lifecycle.waiting import Group


@dataclass(frozen=True, slots=True)
class Verdict:
    """`actions` are performed in order and stop at the first that is not done; then the ref is looked at again."""

    actions: tuple[Action, ...] = ()
    notices: tuple[Notice, ...] = ()
    """Events, to be recorded once all actions are done."""
    reason: Reason | None = None
    """Why a pod stands where it stands; None where there is nothing to say."""
    message: str = ""
    waits: bool = False
    """The pod waits for devices: look again when anything is freed, added or repaired."""
    group: Group | None = None
    """With `waits`: the pods that wait for the same."""
    reservation: Reservation | None = None
    """With `waits`: the node that is kept for the pod; None: none is, or no longer."""
    no_device_helps: bool = False
    """With `waits`: only what the pod names can help, and events about that wake it."""
    requeue_after: float | None = None
    """Look again after so many seconds even if nothing happens."""
    awaits_claims: bool = False
    """The pod waits for claims that another generator may make."""
    left_to_another: bool = False
    """Another operator has allocated the pod's claims, and goes on with it if it lives."""
    renounces: Seen = frozenset()
    """Claims that may be taken back from the pod once the actions are done, as they were seen."""
    placement: str | None = None
    """The node whose room the pod takes up from now on."""
    search: Search | None = None
    """To be driven to its end, step by step, before the pod is looked at again: nothing is decided yet."""


NOTHING = Verdict()
