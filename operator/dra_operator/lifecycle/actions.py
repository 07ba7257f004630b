"""What the lifecycle decides to do to the cluster, as data, and what came of it.

A reconciler reads a `View` and returns Actions; `cluster/writer.py` performs them on an API server, `world/` on an
in-memory cluster. Every action is conditional (uid and resourceVersion of what was read) or idempotent, so performing
one twice, late, or after a crash changes nothing that was not decided on.

One action is one request. The writer knows how to say it over HTTP, and nothing about why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dra_operator.api.core import NodeSelector, PodResourceClaimStatus
from dra_operator.api.meta import Object, ObjectKey, Uid
from dra_operator.api.resource import AllocationResult, ResourceClaim, ResourceClaimConsumerReference


@dataclass(frozen=True, slots=True)
class CreateClaim:
    """POST a generated claim: named deterministically, finalizer and controller ownerRef set. Idempotent by name."""

    claim: ResourceClaim


@dataclass(frozen=True, slots=True)
class SetFinalizers:
    """Metadata merge patch on the claim: its whole list of finalizers, conditional on uid and resourceVersion."""

    key: ObjectKey
    uid: Uid
    resource_version: str
    finalizers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WriteClaimStatus:
    """Merge patch on `resourceclaims/status`: `status.allocation` and `status.reservedFor` exactly as given.

    None clears the allocation; an empty tuple clears the reservations. Conditional on uid and resourceVersion.
    Allocating, reserving, releasing and undoing are all this one write.
    """

    key: ObjectKey
    uid: Uid
    resource_version: str
    allocation: AllocationResult | None
    reserved_for: tuple[ResourceClaimConsumerReference, ...]


@dataclass(frozen=True, slots=True)
class DeleteClaim:
    """DELETE with uid and resourceVersion as preconditions. Already gone counts as done."""

    key: ObjectKey
    uid: Uid
    resource_version: str


@dataclass(frozen=True, slots=True)
class PodCondition:
    """The condition `dra-operator.io/DevicesAllocated` as it should stand on the pod."""

    status: bool
    reason: str
    message: str
    last_transition_time: str


@dataclass(frozen=True, slots=True)
class PublishStatus:
    """Server-side apply on `pods/status` (uid and resourceVersion in the body): all fields that we own.

    `force` only where another generator published a claim that is gone: its name has to give way to ours.
    """

    key: ObjectKey
    uid: Uid
    resource_version: str
    claim_statuses: tuple[PodResourceClaimStatus, ...]
    condition: PodCondition | None
    nominated: str = ""
    """`nominatedNodeName`: where kube-scheduler will bind the pod."""
    force: bool = False


@dataclass(frozen=True, slots=True)
class Ungate:
    """Strategic merge patch on the pod: remove our gate and, where the allocation means one node, pin the pod to it.

    `required` is the pod's whole required node affinity with the pin in it, as the patch must state it; None leaves
    the affinity as it is. Carries uid and resourceVersion: fences a paused ex-leader.
    """

    key: ObjectKey
    uid: Uid
    resource_version: str
    required: NodeSelector | None


@dataclass(frozen=True, slots=True)
class DeletePod:
    """DELETE a pod (`--repack=evict`), with uid and resourceVersion as preconditions."""

    key: ObjectKey
    uid: Uid
    resource_version: str


@dataclass(frozen=True, slots=True)
class ReadPod:
    """Live GET of a pod that the mirror no longer has: a consumer is only gone when the API server says so.

    Or of one that the mirror may show as it was before the `horizon` (lifecycle/horizon.py).

    Outcome: `Done(pod)` with the live object, or `Done(None)` when no pod of that name and uid exists.
    """

    key: ObjectKey
    uid: Uid
    horizon: int = 0


@dataclass(frozen=True, slots=True)
class ReadClaim:
    """Live GET of a claim: after a write whose outcome is not known, or of one that only a pod's status tells of."""

    key: ObjectKey


Action: TypeAlias = (
    CreateClaim
    | SetFinalizers
    | WriteClaimStatus
    | DeleteClaim
    | PublishStatus
    | Ungate
    | DeletePod
    | ReadPod
    | ReadClaim
)


@dataclass(frozen=True, slots=True)
class Done:
    """It is in effect. `object` is what the API server answered with (None: the object is gone)."""

    object: Object | None
    found: bool = False
    """The answer was lost, and it was found to be in effect: another may have done the same."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A precondition did not hold (409): the object changed since it was read. Read again, decide again."""

    message: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The object is gone, or its namespace is: the API says so by name (`ApiError.is_gone`)."""

    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The API server will not have it (403, 422, 400, 413): repeating it changes nothing until something else does."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Later:
    """It did not take effect, and may if it comes again: 429 after all repetitions, or it was not sent in time."""

    message: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer, or one that does not say whether the write took effect (timeout, reset, 5xx)."""

    message: str
    retry_after: float | None = None


Outcome: TypeAlias = Done | Conflict | Missing | Refused | Later | Unknown


@dataclass(frozen=True, slots=True)
class Notice:
    """An Event to record about an object: best effort, rate-limited by the recorder, never awaited by a decision."""

    kind: str
    key: ObjectKey
    uid: Uid
    type: str
    """`Normal` or `Warning`."""
    reason: str
    message: str


def target_of(action: Action) -> ObjectKey | Uid:
    """The object that an action writes or reads: a claim by key, a pod by UID."""
    match action:
        case CreateClaim():
            return action.claim.key
        case SetFinalizers() | WriteClaimStatus() | DeleteClaim() | ReadClaim():
            return action.key
        case PublishStatus() | Ungate() | DeletePod() | ReadPod():
            return action.uid
