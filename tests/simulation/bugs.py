"""Defects to plant on purpose: each must be caught by the invariants within a few seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.resource import ResourceClaim
from dra_operator.inventory.ledger import Ledger
from dra_operator.lifecycle import claim as claim_module
from dra_operator.lifecycle import pod as pod_module
from dra_operator.lifecycle.verdict import NOTHING
from dra_operator.lifecycle.view import View


@contextmanager
def skip_the_confirmation() -> Iterator[None]:
    """Every allocation counts as confirmed as soon as it is written."""

    def confirmed(self: Ledger, uid: Uid) -> bool:
        return True

    def rivals(self: Ledger, uid: Uid) -> frozenset[Uid]:
        return frozenset()

    def catching_up(self: View, key: ObjectKey) -> bool:
        return False

    with (
        patch.object(Ledger, "confirmed", confirmed),
        patch.object(Ledger, "rivals", rivals),
        patch.object(View, "claim_catching_up", catching_up),
    ):
        yield


@contextmanager
def forget_the_finalizer() -> Iterator[None]:
    """Users' claims are allocated without the delete-protection finalizer."""
    with patch.object(pod_module, "_protected", lambda claim: True):
        yield


@contextmanager
def release_early() -> Iterator[None]:
    """A pod counts as done as soon as it is deleted, although it still runs."""
    done = property(lambda self: self.terminal or self.metadata.deletion_timestamp is not None)
    with patch.object(Pod, "done", done):
        yield


@contextmanager
def ignore_the_uid() -> Iterator[None]:
    """A consumer is the pod of its name, whichever that is now."""

    def fate(view: View, claim: ResourceClaim, name: str) -> bool:
        pod = view.pod_named(ObjectKey(claim.metadata.namespace, name))
        return pod is not None and not pod.done

    original = claim_module.reconcile_claim

    def reconcile(view: View, key: ObjectKey) -> Any:
        claim = view.claim(key)
        if claim is not None and any(fate(view, claim, user.name) for user in claim.status.reserved_for or ()):
            return NOTHING
        return original(view, key)

    with patch("dra_operator.controller.engine.reconcile_claim", reconcile):
        yield


BUGS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "skip-the-confirmation": skip_the_confirmation,
    "forget-the-finalizer": forget_the_finalizer,
    "release-early": release_early,
    "ignore-the-uid": ignore_the_uid,
}
