"""Simulated GPU nodes: a Node and its heartbeat, its ResourceSlices, and a stand-in for its kubelet.

Slices go out through the agent's own publisher; when someone deletes them they are published again.

A Node of that name that is not this sandbox's own is left alone: an existing cluster may be used, and it has real ones.
What was made goes with its Node, which owns the Lease and the slices.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from dra_operator.agent.publisher import Publisher
from dra_operator.api.codec import encode
from dra_operator.api.core import Node
from dra_operator.api.kinds import NODES, SLICES
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.names import SANDBOX_LABEL
from dra_operator.api.resource import ResourceSlice
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.cluster.reflector import Reflector
from dra_operator.sandbox.inventory import SimulatedNode
from dra_operator.sandbox.kubelet import Kubelets
from dra_operator.sandbox.runtime import NodeRuntime, SimulatedRuntime

log = structlog.get_logger()

_HEARTBEAT: Final = 10.0
_LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_CAPACITY: Final = {"cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1Ti"}
_CONCURRENT: Final = 16
_RETRY: Final = 1.0


class NodeTakenError(Exception):
    """The cluster has such a Node already, and it is not ours."""


class Nodes:
    """See the module."""

    def __init__(
        self,
        client: ApiClient,
        nodes: Sequence[SimulatedNode],
        *,
        sandbox: str = "default",
        runtime: NodeRuntime | None = None,
        publishes: bool = True,
    ) -> None:
        """`publishes`: the nodes' slices are published here, and not by agents."""
        self._client = client
        self._sandbox = sandbox
        self._nodes = {node.name: node for node in nodes}
        self._publishes = publishes
        self._publishers: dict[str, Publisher] = {}
        self._uids: dict[str, Uid] = {}
        self._kubelets = Kubelets(client, list(self._nodes), runtime or SimulatedRuntime())
        self._due: asyncio.Queue[str] = asyncio.Queue()
        self._limit = asyncio.Semaphore(_CONCURRENT)

    async def register(self) -> None:
        """Create the nodes and publish what they have. Returns when all of it is there; safe to repeat."""
        async with asyncio.TaskGroup() as tasks:
            for node in self._nodes.values():
                tasks.create_task(self._register(node))

    async def run(self) -> None:
        """Heartbeats, kubelets, and slices put right, for ever."""
        rng = random.Random()  # noqa: S311 - jitter
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._kubelets.run())
            tasks.create_task(self._beat())
            if self._publishes:
                tasks.create_task(self._repair())
                tasks.create_task(Reflector(self._client, SLICES, _SliceSink(self), rng=rng).run())

    def see_deletion(self, node: str) -> None:
        if node in self._publishers:
            self._due.put_nowait(node)

    def see_publishing(self, nodes: set[str]) -> None:
        """Of these nodes there are slices; one that has none lost them while nobody watched."""
        for node in self._nodes.keys() - nodes:
            self.see_deletion(node)

    # --- nodes and their leases ------------------------------------------------------------------------------------

    async def _register(self, node: SimulatedNode) -> None:
        async with self._limit:
            uid = self._uids[node.name] = (await self._create_node(node)).uid
            await self._renew(node.name)
            if self._publishes:
                publisher = Publisher(self._client, node_name=node.name, node_uid=uid, driver=node.driver)
                self._publishers[node.name] = publisher
                await publisher.publish(node.content)

    async def _create_node(self, node: SimulatedNode) -> Node:
        labels = {
            "kubernetes.io/hostname": node.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            **node.labels,
            SANDBOX_LABEL: self._sandbox,
        }
        now = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "simulated",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        status = {"capacity": _CAPACITY, "allocatable": _CAPACITY, "conditions": [ready]}
        key = ObjectKey("", node.name)
        try:
            metadata = {"name": node.name, "labels": labels}
            await self._client.create(NODES, {"metadata": metadata, "status": status})
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            existing = await self._client.get(NODES, key)
            if (existing.metadata.labels or {}).get(SANDBOX_LABEL) != self._sandbox:
                raise NodeTakenError(f"the cluster has a node {node.name!r} that is not of this sandbox") from error
            await self._client.patch(NODES, key, {"metadata": {"labels": labels}}, patch_type="merge")
            await self._client.patch(NODES, key, {"status": status}, patch_type="strategic", subresource="status")
        # Admission marks every new node not ready; the controller manager lifts that only in its next round.
        return await self._client.patch(NODES, key, {"spec": {"taints": None}}, patch_type="merge")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            await asyncio.gather(*(self._beat_once(name) for name in self._nodes))

    async def _beat_once(self, name: str) -> None:
        async with self._limit:
            try:
                await self._renew(name)
            except (ApiError, NoAnswer) as error:
                log.warning("heartbeat failed", node=name, error=str(error))

    async def _renew(self, name: str) -> None:
        now = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now}
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self._uids[name]}
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]},
            "spec": spec,
        }
        await self._client.request(
            "PATCH",
            f"{_LEASES}/{name}",
            params={"fieldManager": "kubelet", "force": "true"},
            body=encode(lease),
            content_type="application/apply-patch+yaml",
        )

    # --- slices ------------------------------------------------------------------------------------------------------

    async def _repair(self) -> None:
        while True:
            name = await self._due.get()
            try:
                await self._publishers[name].publish(self._nodes[name].content)
            except (ApiError, NoAnswer) as error:
                log.warning("slices not published", node=name, error=str(error), again_in=_RETRY)
                self._due.put_nowait(name)
                await asyncio.sleep(_RETRY)


class _SliceSink:
    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    async def replace(self, objects: Sequence[ResourceSlice], resource_version: str) -> None:
        self._nodes.see_publishing({object_.spec.node_name or "" for object_ in objects})

    def apply(self, type_: str, object_: ResourceSlice) -> None:
        if type_ == "DELETED":
            self._nodes.see_deletion(object_.spec.node_name or "")
