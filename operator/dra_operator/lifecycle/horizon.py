"""Pods that the mirror may show as they were before a moment at which all unbound pods were listed: the horizon.

Another may have written a pod up to then: lifted its gate, above all. A pod that the list shows at the version that the
mirror has is as it is shown. One that it shows otherwise is *in doubt*, and so is one that the mirror shows for the
first time, later, at a version before the horizon: it was bound already, or gone, or the mirror had not shown it yet.
Nothing is decided on a pod in doubt; it is read (`ReadPod`), or an event from beyond the horizon shows it.

A pod that runs, for all the mirror shows, and that somebody takes out of a claim's users, has *parted* from it: most
likely it has ended. It is read before it is made a user again. Who took it out would do so once more, and the two would
go on for as long as the mirror is late.

Not here: who lists, and when (`controller/takeover.py`). Without a horizon nothing is in doubt.

Upstream: none.
"""

from __future__ import annotations

from dra_operator.api.core import Pod
from dra_operator.api.meta import Uid
from dra_operator.lifecycle.versions import version_of


class Horizon:
    """See the module. A doubt ends with the pod (`forget`)."""

    def __init__(self) -> None:
        self.version = 0
        self._doubted: set[Uid] = set()
        self._parted: set[Uid] = set()

    def begin(self, version: int, doubted: set[Uid]) -> None:
        """All unbound pods were listed at this version; in doubt are these, and no others any more."""
        self.version, self._doubted = version, doubted

    def in_doubt(self, pod: Pod) -> bool:
        """Whether nothing may be decided on it. A pod that is bound is not ours to decide on, whatever else it says."""
        return pod.uid in self._doubted and not pod.spec.node_name

    def note_shown(self, pod: Pod, *, first: bool) -> None:
        """The mirror shows the pod; `first`: it was not known before."""
        if version_of(pod) > self.version:
            self._doubted.discard(pod.uid)
        elif first and pod.spec.resource_claims and not pod.spec.node_name:
            self._doubted.add(pod.uid)

    def note_parted(self, uid: Uid) -> None:
        """Somebody took the pod, which is bound, out of a claim's users."""
        self._parted.add(uid)

    def has_parted(self, uid: Uid) -> bool:
        return uid in self._parted

    def note_read(self, uid: Uid, horizon: int) -> None:
        """The pod is known as a GET found it that was sent when this was the horizon."""
        self._parted.discard(uid)
        if horizon == self.version:
            self._doubted.discard(uid)

    def forget(self, uid: Uid) -> None:
        """The pod is gone."""
        self._doubted.discard(uid)
        self._parted.discard(uid)
