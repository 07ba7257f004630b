"""Gate and replicas: no new pod is gated, and nobody of ours decides any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dra_operator.api.kinds import NAMESPACES, PODS, Kind
from dra_operator.api.meta import Object
from dra_operator.cluster.http import ApiError
from dra_operator.query.doctor.facts import COMPONENT_LABEL, Facts, is_ours
from dra_operator.query.doctor.findings import NotChecked
from dra_operator.query.doctor.gating import find_gates, is_gated_in
from dra_operator.query.doctor.objects import (
    DEPLOYMENTS,
    MUTATING_BINDINGS,
    MUTATING_POLICIES,
    MUTATING_WEBHOOKS,
    VALIDATING_WEBHOOKS,
)
from dra_operator.removal.steps import Removal, RemovalRefused, Step, Task, wait_for

_NOT_FOUND: Final = 404


def deletion(removal: Removal, kind: Kind[Any], one: Object) -> Task:
    async def delete() -> None:
        await removal.client.delete(kind, one.key, uid=one.uid)

    return Task(f"delete {kind.kind} {one.key}", delete)


async def _gate(removal: Removal, facts: Facts) -> Sequence[Task]:
    gates = await find_gates(facts)
    tasks = [
        deletion(removal, MUTATING_BINDINGS, one)
        for one in await facts.all(MUTATING_BINDINGS)
        if one.spec.policy_name in gates.policies  # others of ours may be rules of the CRD flavour, which stay
    ]
    tasks += [
        deletion(removal, MUTATING_POLICIES, one)
        for one in await facts.all(MUTATING_POLICIES)
        if one.metadata.name in gates.policies
    ]
    for kind in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
        tasks += [deletion(removal, kind, one) for one in await facts.all(kind) if is_ours(one)]
    return tasks


async def _ungated(removal: Removal) -> None:
    """API servers take a moment to forget a policy."""
    namespaces = {one.metadata.name for one in await removal.look().all(NAMESPACES) if one.status.phase == "Active"}
    where = "default" if "default" in namespaces else min(namespaces, default="")

    async def no_gate(facts: Facts) -> bool:
        try:
            return not await is_gated_in(facts, where)
        except NotChecked:
            return True  # pods are refused there, so none comes that is gated; the last step looks at pods again

    await wait_for(removal, no_gate, "pods are still gated, though the gate has been deleted: look for a second one")


async def _operator(removal: Removal, facts: Facts) -> Sequence[Task]:
    def scaling(one: Object) -> Task:
        async def scale() -> None:
            await removal.client.patch(DEPLOYMENTS, one.key, {"spec": {"replicas": 0}}, patch_type="merge")

        return Task(f"scale Deployment {one.key} to 0 replicas", scale)

    return [scaling(one) for one in await facts.controllers() if one.spec.replicas]


async def _stopped(removal: Removal) -> None:
    async def no_pod(facts: Facts) -> bool:
        return not any(
            is_ours(pod) and pod.metadata.label(COMPONENT_LABEL) == "controller" for pod in await facts.all(PODS)
        )

    await wait_for(removal, no_pod, "pods of the operator have not ended; see why, and start again")

    async def no_leader(facts: Facts) -> bool:
        lease = await facts.lease()
        return lease is None or not lease.spec.holder_identity or facts.has_expired(lease)

    try:
        await wait_for(removal, no_leader, "")
    except RemovalRefused:
        lease = await removal.look().lease()
        holder = lease.spec.holder_identity if lease is not None else ""
        raise RemovalRefused(
            f"an operator that no Deployment of ours runs holds the Lease: {holder}; stop it, and start again"
        ) from None


STOP_GATING: Final = Step("stop gating pods", _gate, _ungated)
STOP_OPERATOR: Final = Step("stop the operator", _operator, _stopped)


async def exists(removal: Removal, kind: Kind[Any], one: Object) -> bool:
    try:
        found: Object = await removal.client.get(kind, one.key)
    except ApiError as error:
        if error.status == _NOT_FOUND:
            return False
        raise
    return found.uid == one.uid
