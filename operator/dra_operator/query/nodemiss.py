"""Near misses that are not the claim's: rules of nodes, pods that hold devices, and nodes that are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from dra_operator.allocation.outcome import Abort
from dra_operator.api.codec import to_plain
from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import ResourceClaim
from dra_operator.inventory.devices import DeviceId
from dra_operator.lifecycle.publish import moment
from dra_operator.query.amounts import amount_of, duration_of
from dra_operator.query.changes import Change, Step
from dra_operator.query.funnel import Funnels, NodeLook
from dra_operator.query.targets import Suggestion, of_pod
from dra_operator.world.simulation import Simulation

_MOST_SEARCHED: Final = 20
_MOST_RULES: Final = 4
"""Nodes whose rules are looked at: of many, most are alike."""


class NodeMisses:
    """Candidates, each with a topic of which the first that helps is enough."""

    def __init__(
        self, simulation: Simulation, pod: Pod, funnels: Funnels, holders: Mapping[DeviceId, list[ResourceClaim]]
    ) -> None:
        self._simulation = simulation
        self._view = simulation.view
        self._pod = pod
        self._funnels = funnels
        self._holders = holders

    def rules(self) -> Iterator[tuple[str, Suggestion]]:
        """What nodes with devices hold against the pod."""
        spec = self._pod.spec
        looks = islice((one for one in self._funnels.nodes if one.misfits), _MOST_SEARCHED)
        for look in islice((one for one in looks if one.fits_devices), _MOST_RULES):
            name, kinds = look.node.metadata.name, {misfit.kind for misfit in look.misfits}
            if "cordoned" in kinds:
                change = Change(action="set", kind="Node", name=name, path=("spec", "unschedulable"), value=False)
                yield "cordon", Suggestion(message=f'if node "{name}" were uncordoned', changes=(change,))
            if spec.node_selector and any("nodeSelector" in kind for kind in kinds):
                yield "selector", of_pod(self._pod, "if the pod had no nodeSelector", ("spec", "nodeSelector"), {})
            if any("affinity" in kind for kind in kinds):
                path: tuple[Step, ...] = ("spec", "affinity", "nodeAffinity")
                yield "affinity", of_pod(self._pod, "if the pod had no node affinity", path, {})
            if any("tainted" in kind for kind in kinds):
                added = [{"key": one.key, "operator": "Exists"} for one in look.node.spec.taints or ()]
                keys = ", ".join(one["key"] for one in added)
                value = [*to_plain(spec.tolerations or ()), *added]
                message = f'if the pod tolerated the taint {keys} of node "{name}"'
                yield "tolerate", of_pod(self._pod, message, ("spec", "tolerations"), value)
            yield from self._requests(look)

    def _requests(self, look: NodeLook) -> Iterator[tuple[str, Suggestion]]:
        """Smaller requests of its one container, as far as the node has room."""
        name, allocatable = look.node.metadata.name, look.node.status.allocatable or {}
        kinds = [misfit.kind for misfit in look.misfits]
        short = [kind.removeprefix("short of ") for kind in kinds if kind.startswith("short of ")]
        containers = self._pod.spec.containers
        if len(short) != 1 or len(containers) != 1 or short[0] not in allocatable:
            return
        resource, requests = short[0], containers[0].resources.requests or {}
        left = allocatable[resource].scaled_value(-9) - self._view.usage[name].requested(resource, self._pod.uid)
        if resource in requests and 0 < left < requests[resource].scaled_value(-9):
            amount = amount_of(left)
            path: tuple[Step, ...] = ("spec", "containers", 0, "resources", "requests", resource)
            message = f"if the pod asked for {amount} of {resource} instead of {requests[resource]}"
            yield "room", of_pod(self._pod, message, path, amount)

    def ends(self) -> Iterator[tuple[str, Suggestion]]:
        """Pods that have to end first: on each node the fewest that hold what is missing."""
        wants = [min((one.wanted for one in request), default=1) for request in self._funnels.requests]
        options: list[tuple[int, str, tuple[ObjectKey, ...]]] = []
        for look in self._funnels.nodes:
            if look.misfits:
                continue
            held = self._held_on(look)
            free = [max((counts.free for counts in request), default=0) for request in look.counts]
            matching = [max((counts.matching for counts in request), default=0) for request in look.counts]
            if any(there < want for there, want in zip(matching, wants, strict=True)):
                continue
            missing = sum(max(0, want - have) for want, have in zip(wants, free, strict=True))
            most = min(len(held), max(missing, 1) + 2)
            options += [(count, look.node.metadata.name, tuple(held[:count])) for count in range(1, most + 1)]
        for count, node, pods in sorted(options)[:8]:
            names = ", ".join(f"{pod}{self._since(pod)}" for pod in pods)
            what = f"devices on {node} are held by pod{'' if count == 1 else 's'} {names}: "
            message = what + ("when it ends" if count == 1 else "when they end")
            changes = tuple(Change(action="delete", kind="Pod", namespace=one.namespace, name=one.name) for one in pods)
            yield "ends", Suggestion(message=message, changes=changes)

    def _held_on(self, look: NodeLook) -> list[ObjectKey]:
        """Pods that hold matching devices which the node reaches, the ones that hold most first."""
        try:
            pools = self._funnels.plan.allocator.pools(look.node)
        except Abort:
            return []
        pods: Counter[ObjectKey] = Counter()
        for device in pools.devices:
            for claim in self._holders.get(device.id, ()):
                users = claim.status.reserved_for or ()
                if len(users) == 1 and users[0].resource == "pods" and users[0].uid != self._pod.uid:
                    pods[ObjectKey(claim.metadata.namespace, users[0].name)] += 1
        return [pod for pod, _ in sorted(pods.items(), key=lambda item: (-item[1], item[0]))]

    def _since(self, pod: ObjectKey) -> str:
        found = self._view.pod_named(pod)
        if found is None:
            return ""
        times = [
            claim.status.allocation.allocation_timestamp
            for claims in self._holders.values()
            for claim in claims
            if claim.status.allocation is not None and claim.reserved_for(found.uid)
        ]
        known = [moment(one, self._simulation.now) for one in times if one]
        held = self._simulation.now - min(known, default=self._simulation.now)
        return f" for {duration_of(held)}" if held >= 1 else ""

    def more(self) -> Iterator[tuple[str, Suggestion]]:
        """One more node like one that has matching devices."""
        looks = [one for one in self._funnels.nodes if all(any(c.matching for c in request) for request in one.counts)]
        looks.sort(key=lambda one: -sum(c.matching for request in one.counts for c in request))
        for look in looks[:3]:
            name = look.node.metadata.name
            change = Change(action="addNode", kind="Node", name=name)
            yield "node", Suggestion(message=f'if there were one more node like "{name}"', changes=(change,))
