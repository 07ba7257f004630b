"""Claims and pods: those that run keep what they have; those that wait are kube-scheduler's from here on.

The delete-protection finalizer stays on every claim that is allocated. It is upstream's, not ours: kube-controller-
manager clears an allocation only where it finds it, and takes it off itself. It goes from claims that hold nothing:
there it protects nothing, and where resourceclaim-controller is off nobody would take it off.

An allocation of ours that nobody uses and no pod names is cleared: upstream leaves those alone for ever.

Upstream: `syncClaim` of k8s.io/kubernetes/pkg/controller/resourceclaim.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from dra_operator.api.core import Pod
from dra_operator.api.kinds import PODS
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import (
    DELETE_PROTECTION_FINALIZER,
    DEVICES_ALLOCATED,
    POD_CLAIM_NAME_ANNOTATION,
)
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.writer import Writer
from dra_operator.lifecycle.actions import Action, Refused, SetFinalizers, Ungate, WriteClaimStatus
from dra_operator.lifecycle.answer import is_allocated_by_us
from dra_operator.lifecycle.gate import is_gated
from dra_operator.query.doctor.facts import Facts
from dra_operator.removal.steps import Removal, RemovalRefused, Step, Task

_STOCK: Final = "kube-controller-manager"


async def _claims(removal: Removal, facts: Facts) -> Sequence[Task]:
    claims, pods = await facts.claims_and_pods()
    named = {key for pod in pods if not pod.done for key in _claims_of(pod)}
    tasks = []
    for one in claims:
        if one.status.reserved_for:
            continue
        if one.status.allocation is None and DELETE_PROTECTION_FINALIZER in (one.metadata.finalizers or ()):
            left = tuple(name for name in one.metadata.finalizers or () if name != DELETE_PROTECTION_FINALIZER)
            free = SetFinalizers(one.key, one.uid, one.metadata.resource_version, left)
            tasks.append(_task(removal, f"take delete-protection off ResourceClaim {one.key}: it holds nothing", free))
        elif one.status.allocation is not None and is_allocated_by_us(one) and one.key not in named:
            clear = WriteClaimStatus(one.key, one.uid, one.metadata.resource_version, None, ())
            tasks.append(_task(removal, f"free the devices of ResourceClaim {one.key}, which nobody uses", clear))
    return tasks


async def _pods(removal: Removal, facts: Facts) -> Sequence[Task]:
    claims, pods = await facts.claims_and_pods()
    tasks = []
    for pod in pods:
        if is_gated(pod):
            ungate = Ungate(pod.key, pod.uid, pod.metadata.resource_version, None)
            tasks.append(_task(removal, f"take our gate off Pod {pod.key}", ungate))
        elif pod.condition(DEVICES_ALLOCATED) is not None:
            tasks.append(_forget_condition(removal, pod))
    _remark(removal, claims, pods)
    return tasks


def _remark(removal: Removal, claims: Iterable[ResourceClaim], pods: Iterable[Pod]) -> None:
    """What waits for somebody else from now on."""
    generated = [one for one in claims if one.metadata.annotation(POD_CLAIM_NAME_ANNOTATION)]
    if any(
        by.manager == _STOCK and not by.subresource for one in generated for by in one.metadata.managed_fields or ()
    ):
        return
    without = [pod for pod in pods if not pod.done and _lacks_claims(pod)]
    if without:
        removal.remark(
            f"pods that wait for claims of their templates: {len(without)}, for example {without[0].key}; nobody is "
            "known to generate them: enable resourceclaim-controller in kube-controller-manager (it is on by default)"
        )
    held = [one for one in claims if one.status.allocation is not None]
    if held:
        removal.remark(
            f"claims that hold devices: {len(held)}, for example {held[0].key}; resourceclaim-controller of "
            "kube-controller-manager has to be on to free them when their pods end"
        )


def _lacks_claims(pod: Pod) -> bool:
    made = {one.name for one in pod.status.resource_claim_statuses or ()}
    return any(one.resource_claim_template_name and one.name not in made for one in pod.spec.resource_claims or ())


def _claims_of(pod: Pod) -> Iterable[ObjectKey]:
    namespace = pod.metadata.namespace
    for entry in pod.spec.resource_claims or ():
        if entry.resource_claim_name:
            yield ObjectKey(namespace, entry.resource_claim_name)
    for made in pod.status.resource_claim_statuses or ():
        if made.resource_claim_name:
            yield ObjectKey(namespace, made.resource_claim_name)


def _forget_condition(removal: Removal, pod: Pod) -> Task:
    body = {
        "metadata": {"uid": pod.uid},
        "status": {"conditions": [{"type": DEVICES_ALLOCATED, "$patch": "delete"}]},
    }

    async def forget() -> None:
        await removal.client.patch(PODS, pod.key, body, patch_type="strategic", subresource="status")

    return Task(f"take our condition off Pod {pod.key}", forget)


def _task(removal: Removal, what: str, action: Action) -> Task:
    async def act() -> None:
        outcome = await Writer(removal.client).perform(action)
        if isinstance(outcome, Refused):
            raise RemovalRefused(f"{what}: {outcome.message}")

    return Task(what, act)


FREE_CLAIMS: Final = Step("free claims that nobody uses", _claims)
HAND_OVER_PODS: Final = Step("hand pods over to kube-scheduler", _pods)
