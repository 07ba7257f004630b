"""A View in one line, and objects as they stand somewhere on the way of a pod.

view = view_of(gated_pod, template(), node(), slice_of())      a cluster that holds these
look(view, gated_pod)                                          the next step for the pod
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from dra_operator.api.core import Namespace, Node, Pod, PodResourceClaimStatus
from dra_operator.api.meta import Condition, ManagedFieldsEntry, Object, OwnerReference
from dra_operator.api.names import (
    DELETE_PROTECTION_FINALIZER,
    DEVICES_ALLOCATED,
    GATE,
    POD_CLAIM_NAME_ANNOTATION,
)
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import (
    DeviceClass,
    DeviceRequest,
    DeviceRequestAllocationResult,
    ResourceClaim,
    ResourceClaimTemplate,
    ResourceSlice,
)
from dra_operator.lifecycle.actions import PodCondition, PublishStatus, Ungate, WriteClaimStatus
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.generate import claim_name
from dra_operator.lifecycle.keys import Ref
from dra_operator.lifecycle.pod import reconcile_pod
from dra_operator.lifecycle.policy import Policy
from dra_operator.lifecycle.publish import timestamp
from dra_operator.lifecycle.verdict import Verdict
from dra_operator.lifecycle.view import View
from tests import builders
from tests.builders import allocated, claim, meta, need, pod, selector, term

NOW = 1_800_000_000.0
PROTECTED = (DELETE_PROTECTION_FINALIZER,)


# --- the cluster -----------------------------------------------------------------------------------------------------


def view_of(*objects: Object) -> View:
    """What a mirror knows that saw these objects come, one by one."""
    view = View()
    for each in objects:
        show(view, each)
    return view


def show(view: View, *objects: Object) -> None:
    """The objects as they are now, through their watch."""
    for each in objects:
        match each:
            case Pod():
                view.observe_pod(each)
            case ResourceClaim():
                view.observe_claim(each, live=True)
            case ResourceClaimTemplate():
                view.observe_template(each)
            case Namespace():
                view.observe_namespace(each)
            case DeviceClass():
                view.observe_class(each)
            case Node():
                view.observe_node(each)
            case ResourceSlice():
                view.observe_slice(each)
            case _:
                raise TypeError(type(each).__name__)


def show_list(view: View, *claims: ResourceClaim, version: str) -> set[Ref]:
    """These are all claims that there were at that version. Returns what has to be looked at."""
    return {ref for refs in view.replace_claims(claims, version) for ref in refs}


def gpus(count: int = 1, *, node: str = "node-a") -> tuple[Object, ...]:
    """A node with so many GPUs, and their class."""
    return builders.node(node), builders.slice_of(gpus=count, node=node), builders.device_class()


def look(view: View, at: Pod, policy: Policy | None = None, *, now: float = NOW) -> Verdict:
    """The next step for the pod."""
    return reconcile_pod(Decider(view), at.uid, policy or Policy(), now)


def namespace(name: str = "default", **labels: str) -> Namespace:
    return Namespace(metadata=meta("namespace", name, labels=labels))


# --- pods ------------------------------------------------------------------------------------------------------------


def gated(
    name: str = "pod", *, claims: Sequence[str] = (), templates: Sequence[str] = (), others: Sequence[str] = ()
) -> Pod:
    """A pod that waits for its devices; `others`: further gates."""
    return pod(name, claims=claims, templates=templates, gates=[GATE, *others])


def says(to: Pod, reason: str, message: str = "", *, since: float = NOW) -> Pod:
    """The pod with our condition."""
    status = "True" if reason in ("Allocated", "UnschedulableAfterPin") else "False"
    return with_condition(to, DEVICES_ALLOCATED, status, reason, message, since)


def with_condition(to: Pod, type_: str, status: str, reason: str = "", message: str = "", since: float = NOW) -> Pod:
    new = Condition(type=type_, status=status, reason=reason, message=message, last_transition_time=timestamp(since))
    others = [one for one in to.status.conditions or () if one.type != type_]
    return msgspec.structs.replace(to, status=msgspec.structs.replace(to.status, conditions=(*others, new)))


def publishes(to: Pod, names: Mapping[str, str | None]) -> Pod:
    """The pod with `resourceClaimStatuses`, by entry."""
    statuses = tuple(PodResourceClaimStatus(name=entry, resource_claim_name=name) for entry, name in names.items())
    return msgspec.structs.replace(
        to, status=msgspec.structs.replace(to.status, resource_claim_statuses=statuses or None)
    )


# --- claims ----------------------------------------------------------------------------------------------------------


def owned_by(owner: Pod) -> OwnerReference:
    return OwnerReference(api_version="v1", kind="Pod", name=owner.metadata.name, uid=owner.uid, controller=True)


def generated(
    for_: Pod,
    *requests: DeviceRequest,
    entry: str = "template",
    name: str | None = None,
    uid: str | None = None,
    deleted: bool = False,
    finalizers: Sequence[str] = PROTECTED,
) -> ResourceClaim:
    """The claim that was generated for the pod's entry."""
    return claim(
        *requests,
        name=name if name is not None else claim_name(for_, entry, 0),
        owner=owned_by(for_),
        annotations={POD_CLAIM_NAME_ANNOTATION: entry},
        finalizers=finalizers,
        uid=uid,
        deleted=deleted,
    )


def written_by(of: ResourceClaim, manager: str, subresource: str = "status") -> ResourceClaim:
    """The claim as a write of that manager leaves it."""
    entry = ManagedFieldsEntry(manager=manager, operation="Update", subresource=subresource)
    return msgspec.structs.replace(of, metadata=msgspec.structs.replace(of.metadata, managed_fields=(entry,)))


def made_by(manager: str, made: ResourceClaim) -> ResourceClaim:
    """The claim as its creator's POST leaves it."""
    entry = ManagedFieldsEntry(manager=manager, operation="Update")
    return msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, managed_fields=(entry,)))


def held(
    to: ResourceClaim,
    *devices: DeviceRequestAllocationResult | str,
    by: Iterable[Pod] = (),
    on: str | None = "node-a",
) -> ResourceClaim:
    """The claim, allocated on a node and reserved for pods; of "node-a/gpu-0" unless told otherwise."""
    return allocated(to, *(devices or ("node-a/gpu-0",)), on=on, reserved_for=tuple(by))


def later(object_: ResourceClaim, version: int) -> ResourceClaim:
    """The claim at another resourceVersion."""
    return msgspec.structs.replace(
        object_, metadata=msgspec.structs.replace(object_.metadata, resource_version=str(version))
    )


# --- a pod on its way ------------------------------------------------------------------------------------------------

USER = gated(templates=["template"])
MADE = generated(USER)
NAMES = {"template": MADE.metadata.name}
ALLOCATED = "1 device in 1 claim"
"""What a pod with one device is told."""


def ready(user: Pod, *objects: Object, on: str | None = "node-a") -> tuple[View, Pod]:
    """The pod has its device and says so; only the gate is left."""
    told = says(publishes(user, NAMES), "Allocated", ALLOCATED)
    return view_of(told, held(MADE, by=[user], on=on), *(objects or gpus())), told


def full(since: float | None = None) -> tuple[View, Pod]:
    """The only device is another's. `since`: when the pod was told to wait."""
    user = gated(claims=["mine"])
    if since is not None:
        user = says(user, "DevicesInUse", "m", since=since)
    taken = held(claim(name="taken"), by=[pod("runner", claims=["taken"], node_name="node-a")])
    return view_of(user, claim(name="mine", finalizers=PROTECTED), taken, *gpus()), user


# --- what a look decided ---------------------------------------------------------------------------------------------


def writes(verdict: Verdict) -> list[WriteClaimStatus]:
    """The verdict's actions, which are all writes of claims."""
    found = [action for action in verdict.actions if isinstance(action, WriteClaimStatus)]
    assert len(found) == len(verdict.actions)
    return found


def devices(write: WriteClaimStatus) -> list[str]:
    assert write.allocation is not None
    return [f"{one.pool}/{one.device}" for one in write.allocation.devices.results or ()]


def users(write: WriteClaimStatus) -> list[str]:
    return [consumer.uid for consumer in write.reserved_for]


def published(verdict: Verdict) -> PodCondition:
    """The condition that the verdict's only action writes."""
    [action] = verdict.actions
    assert isinstance(action, PublishStatus)
    assert action.condition is not None
    return action.condition


def waits(verdict: Verdict, reason: Reason, *words: str) -> None:
    """The pod is told to wait, and waits."""
    condition = published(verdict)
    assert (condition.status, condition.reason) == (False, reason.value)
    assert [word for word in words if word not in condition.message] == [], condition.message
    assert verdict.reason is reason


def at(pod: Pod, version: int) -> Pod:
    """The pod at another resourceVersion."""
    return msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, resource_version=str(version)))


def ungates(of: Pod, *, pinned_to: str | None) -> Ungate:
    required = selector(term(fields=[need("metadata.name", "In", pinned_to)])) if pinned_to else None
    return Ungate(of.key, of.uid, of.metadata.resource_version, required)
