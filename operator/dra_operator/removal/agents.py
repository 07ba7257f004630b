"""The node agents and their slices, which go when no claim holds a device of theirs.

A pod that runs with such a device cannot end without its node's agent: the kubelet calls it to unprepare the claim, and
tries for ever. So by default the agents stay until the last of these pods has gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dra_operator.api.kinds import PODS, SLICES
from dra_operator.api.names import FIELD_MANAGER
from dra_operator.api.resource import ResourceSlice
from dra_operator.query.doctor.facts import COMPONENT_LABEL, Facts, is_ours
from dra_operator.query.doctor.objects import DAEMONSETS
from dra_operator.removal.controller import deletion
from dra_operator.removal.steps import Agents, Removal, Step, Task, wait_for


def is_our_slice(one: ResourceSlice) -> bool:
    return any(by.manager == FIELD_MANAGER for by in one.metadata.managed_fields or ())


async def agents_stay(removal: Removal, facts: Facts) -> bool:
    """Whether they are left for now; says why."""
    if removal.agents is Agents.REMOVE:
        return False
    there = any(is_ours(one) for one in await facts.all(DAEMONSETS))
    if removal.agents is Agents.KEEP:
        if there:
            removal.remark("the node agents and their slices stay, as you asked")
        return there
    claims, pods = await facts.claims_and_pods()
    drivers = {one.spec.driver for one in await facts.all(SLICES) if is_our_slice(one)}
    held = [
        one
        for one in claims
        if one.status.allocation is not None
        and any(result.driver in drivers for result in one.status.allocation.devices.results or ())
    ]
    waiting = [pod for pod in pods if pod.spec.resource_claims and not pod.spec.node_name and not pod.done]
    if not (there or drivers) or not (held or waiting):
        return False
    removal.remark(
        f"the node agents stay (claims that hold devices of theirs: {len(held)}, pods that wait for devices: "
        f"{len(waiting)}); run uninstall again when these pods have ended, or with --agents=remove (such pods can then "
        "neither start nor end on their nodes)"
    )
    return True


async def _agents(removal: Removal, facts: Facts) -> Sequence[Task]:
    if await agents_stay(removal, facts):
        return ()
    return [deletion(removal, DAEMONSETS, one) for one in await facts.all(DAEMONSETS) if is_ours(one)]


async def _ended(removal: Removal) -> None:
    if await agents_stay(removal, removal.look()):
        return

    async def no_pod(facts: Facts) -> bool:
        return not any(is_ours(pod) and pod.metadata.label(COMPONENT_LABEL) == "agent" for pod in await facts.all(PODS))

    await wait_for(removal, no_pod, "pods of the node agents have not ended; see why, and start again")


async def _slices(removal: Removal, facts: Facts) -> Sequence[Task]:
    if await agents_stay(removal, facts):
        return ()
    return [deletion(removal, SLICES, one) for one in await facts.all(SLICES) if is_our_slice(one)]


STOP_AGENTS: Final = Step("stop the node agents", _agents, _ended)
WITHDRAW_SLICES: Final = Step("withdraw their slices, and the taints in them", _slices)
