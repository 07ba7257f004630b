"""What is looked at although no event told of it.

An event marks what it concerns, so a sweep finds nothing as long as everything is right: it is there for a mark that
was lost. Each round looks at all that is unsettled, which waits for something or has to be taken away: pods that are
not bound or lack a claim, claims without an allocation or without a user that lives. The rest is settled, and most of a
large cluster is: to look at 20,000 running pods and their claims every minute takes a tenth of a core for ever. Of the
settled each round looks at a part, and the next round at another; where there are few of them, at all.

Invariant: while the number of objects stays about the same, each is looked at within `parts` rounds.

Upstream: the resync of client-go's informers, every 12 hours in kube-controller-manager.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, TypeVar

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.groups import is_reserved
from dra_operator.lifecycle.keys import ClaimRef, PodRef, Ref
from dra_operator.lifecycle.view import View

T = TypeVar("T")

SETTLED_A_ROUND: Final = 1_000
"""About so many that are settled: a tenth of a second of looks."""
BATCH: Final = 500
"""Refs that are handed out together. Others have their turn in between: 40,000 at once take some tenths of a second."""


class Sweep:
    """See the module. The View may change between two batches."""

    def __init__(self, view: View, settled_a_round: int = SETTLED_A_ROUND) -> None:
        self._view = view
        self._settled_a_round = settled_a_round
        self._round = 0

    @property
    def parts(self) -> int:
        """Into how many parts the settled are divided: a power of two, so that it seldom changes."""
        most = len(self._view.pods) + len(self._view.claims)
        return 1 << max(0, -(-most // self._settled_a_round) - 1).bit_length()

    def everything(self) -> Iterator[list[Ref]]:
        """All that there is, in batches: for who begins to decide."""
        return self._pick(0, 1)

    def round(self) -> Iterator[list[Ref]]:
        """What this round looks at, in batches. The next call is the next round."""
        self._round += 1
        parts = self.parts
        return self._pick(self._round % parts, parts)

    def _pick(self, part: int, parts: int) -> Iterator[list[Ref]]:
        """A batch is as many as were considered, however few of them are picked: considering takes time, too."""
        view = self._view
        for pods in _batches(list(view.pods.values())):
            yield [
                PodRef(pod.uid)
                for pod in pods
                if (pod.spec.resource_claims or pod.spec.scheduling_gates)
                and (_part_of(pod.uid, parts) == part or not _is_settled_pod(view, pod))
            ]
        for claims in _batches(list(view.claims.values())):
            yield [
                ClaimRef(claim.key)
                for claim in claims
                if _part_of(claim.uid, parts) == part or not _is_settled_claim(view, claim)
            ]


def _is_settled_pod(view: View, pod: Pod) -> bool:
    """It ended, or it is on a node and has every claim that it names."""
    if pod.done or not pod.spec.node_name:
        return pod.done
    published = {one.name: one.resource_claim_name for one in pod.status.resource_claim_statuses or ()}
    for entry in pod.spec.resource_claims or ():
        name = entry.resource_claim_name or published.get(entry.name, "")
        if name is None:
            continue  # it needs none
        claim = view.claims.get(ObjectKey(pod.metadata.namespace, name))
        if claim is None or claim.status.allocation is None or not is_reserved(claim, pod):
            return False
    return True


def _is_settled_claim(view: View, claim: ResourceClaim) -> bool:
    """Allocated, and every user is a pod that runs."""
    users = claim.status.reserved_for or ()
    if claim.status.allocation is None or claim.metadata.deletion_timestamp is not None or not users:
        return False
    pods = [view.pods.get(user.uid) for user in users]
    return all(pod is not None and not pod.done for pod in pods)


def _part_of(uid: str, parts: int) -> int:
    """The same in every process, and evenly spread whatever UIDs look like."""
    return zlib.crc32(uid.encode()) % parts


def _batches(objects: list[T]) -> Iterator[list[T]]:
    return (objects[start : start + BATCH] for start in range(0, len(objects), BATCH))
