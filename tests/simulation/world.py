"""The rest of the cluster, for the simulation: users, kube-scheduler, kubelets, garbage collector, a foreign allocator.

All act on a `Store`, on the loop's virtual clock, from one seed. Between the store and an operator stand delays, lost
answers and crashes; `Link` is one operator's view of the store.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import msgspec

from dra_operator.api.core import Namespace, Node, Pod, PodStatus
from dra_operator.api.meta import Condition, Object, ObjectKey, ObjectMeta
from dra_operator.api.names import DELETE_PROTECTION_FINALIZER, GATE
from dra_operator.api.resource import (
    ResourceClaim,
    ResourceClaimConsumerReference,
    ResourceClaimStatus,
    ResourceSlice,
)
from dra_operator.lifecycle.pin import allocated_node, pinned_node
from dra_operator.lifecycle.publish import timestamp
from dra_operator.world.store import Store
from tests.builders import allocation, claim, device_class, node, pod, request, slice_of, template

O = TypeVar("O", bound=Object)  # noqa: E741

NAMESPACE = "default"
SERVICE = "service"
START = 1_800_000_000.0
"""Wall-clock time at the loop's time 0."""


def wall_clock() -> float:
    return START + asyncio.get_running_loop().time()


@dataclass(slots=True)
class Cluster:
    """The store and all who are not the operator. `trouble` counts the faults that were injected, by kind."""

    rng: random.Random
    store: Store = field(default_factory=Store)
    trouble: Counter[str] = field(default_factory=Counter)
    user_deleted: set[str] = field(default_factory=set)
    """UIDs of claims that a user asked to delete."""
    foreign: set[str] = field(default_factory=set)
    """UIDs of claims that the foreign allocator serves."""
    allocated_at: dict[str, int] = field(default_factory=dict)
    """By claim UID, the version at which its present allocation was written."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def populate(self, nodes: int, gpus: int) -> None:
        self.store.create(Namespace(metadata=ObjectMeta(name=NAMESPACE)))
        self.store.create(_fresh(device_class()))
        self.store.create(_fresh(template(request(), name="one", namespace=NAMESPACE)))
        self.store.create(_fresh(template(request(count=2), name="two", namespace=NAMESPACE)))
        for index in range(nodes):
            self.store.create(_fresh(node(f"node-{index}")))
            self.store.create(_fresh(slice_of(gpus=gpus, node=f"node-{index}")))

    def now(self) -> str:
        return timestamp(wall_clock())

    # --- users -----------------------------------------------------------------------------------------------------

    async def users(self, pods: int, seconds: float) -> None:
        """Create pods over a while, and meddle."""
        shared = ["shared-a", "shared-b"]
        for name in shared:
            self.store.create(_fresh(claim(request(), name=name, namespace=NAMESPACE)))
        self._create_service()
        for index in range(pods):
            await asyncio.sleep(self.rng.uniform(0, 2 * seconds / pods))
            self._create_pod(f"pod-{index}", shared)
            if self.rng.random() < 0.1:
                self._create_service()
            if self.rng.random() < 0.5:
                self._meddle(shared)

    def _create_service(self) -> None:
        """A pod that runs for ever, under one name; the one before it is killed, as a StatefulSet's would be."""
        new = pod(SERVICE, NAMESPACE, claims=["shared-a"], gates=[GATE])
        if self.store.delete(Pod, new.key, now=self.now(), force=True):
            self.trouble["service replaced"] += 1
        self.store.create(_fresh(new))

    def _create_pod(self, name: str, shared: list[str]) -> None:
        kind = self.rng.random()
        templates = ["one"] if kind < 0.5 else ["two"] if kind < 0.7 else []
        claims = [self.rng.choice(shared)] if kind >= 0.6 else []
        new = pod(name, NAMESPACE, templates=templates, claims=claims, gates=[GATE])
        if self.store.get(Pod, new.key) is None:
            self.store.create(_fresh(new))

    def _meddle(self, shared: list[str]) -> None:
        pods = list(self.store.all(Pod))
        claims = list(self.store.all(ResourceClaim))
        match self.rng.randrange(6):
            case 0 if pods:
                self.delete_pod(self.rng.choice(pods), force=False)
            case 1 if pods:
                self.delete_pod(self.rng.choice(pods), force=True)
            case 2 if pods:
                victim = self.rng.choice(pods)
                self.delete_pod(victim, force=True)
                self.trouble["pod replaced"] += 1
                self._create_pod(victim.metadata.name, shared)
            case 3 if claims:
                victim_claim = self.rng.choice(claims)
                self.trouble["claim deleted by a user"] += 1
                self.user_deleted.add(victim_claim.uid)
                self.store.delete(ResourceClaim, victim_claim.key, now=self.now())
            case 4:
                for name in shared:
                    if self.store.get(ResourceClaim, ObjectKey(NAMESPACE, name)) is None:
                        self.store.create(_fresh(claim(request(), name=name, namespace=NAMESPACE)))
            case _:
                self._cordon()

    def delete_pod(self, victim: Pod, *, force: bool) -> None:
        self.trouble["pod deleted by force" if force else "pod deleted"] += 1
        self.store.delete(Pod, victim.key, now=self.now(), force=force)

    def _cordon(self) -> None:
        victim = self.rng.choice(list(self.store.all(Node)))
        self.trouble["node cordoned or uncordoned"] += 1

        def toggle(one: Node) -> Node:
            spec = msgspec.structs.replace(one.spec, unschedulable=not one.spec.unschedulable)
            return msgspec.structs.replace(one, spec=spec)

        self.store.modify(Node, victim.key, toggle)

    def settle(self) -> None:
        """Make the cluster one in which every pod could run in the end."""
        for one in [one for one in self.store.all(Node) if one.spec.unschedulable]:
            self.store.modify(Node, one.key, _uncordoned)
        for name in ("shared-a", "shared-b"):
            if self.store.get(ResourceClaim, ObjectKey(NAMESPACE, name)) is None:
                self.store.create(_fresh(claim(request(), name=name, namespace=NAMESPACE)))

        self._give_up_on_deleted_claims()

    def _give_up_on_deleted_claims(self) -> None:
        """kube-scheduler never binds an ungated pod whose claim a user deleted: someone has to delete the pod."""
        deleting = {
            consumer.uid
            for one in self.store.all(ResourceClaim)
            if one.metadata.deletion_timestamp is not None
            for consumer in one.status.reserved_for or ()
        }
        for one in list(self.store.all(Pod)):
            if one.uid in deleting and not one.spec.node_name and not one.spec.scheduling_gates:
                self.delete_pod(one, force=False)

    # --- kube-scheduler, kubelets, garbage collector ----------------------------------------------------------------

    async def scheduler(self) -> None:
        """Binds ungated pods whose claims are allocated and reserved, to the node that they are pinned to."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.01, 0.2))
            for one in list(self.store.all(Pod)):
                if one.spec.scheduling_gates or one.spec.node_name or one.done:
                    continue
                node_name = self._node_for(one)
                if node_name is not None:
                    self.store.modify(Pod, one.key, partial(_bound, node_name=node_name))

    def _node_for(self, one: Pod) -> str | None:
        where = pinned_node(one)
        published = {entry.name: entry.resource_claim_name for entry in one.status.resource_claim_statuses or ()}
        for entry in one.spec.resource_claims or ():
            name = entry.resource_claim_name or published.get(entry.name)
            found = self.store.get(ResourceClaim, ObjectKey(NAMESPACE, name)) if name else None
            if found is None or found.status.allocation is None or not found.reserved_for(one.uid):
                return None
            if found.metadata.deletion_timestamp is not None:
                return None
            where = where or allocated_node(found.status.allocation)
        target = self.store.get(Node, ObjectKey("", where)) if where else None
        return where if target is not None and not target.spec.unschedulable else None

    async def kubelets(self) -> None:
        """Run bound pods, end them after a while, and finish deletions after a grace period."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.05, 0.3))
            for one in list(self.store.all(Pod)):
                if not one.spec.node_name:
                    continue
                if one.metadata.deletion_timestamp is not None:
                    if self.rng.random() < 0.2:
                        self.store.delete(Pod, one.key, now=self.now(), force=True)
                elif one.status.phase == "Pending":
                    self._set_phase(one, "Running")
                elif one.status.phase == "Running" and one.metadata.name != SERVICE and self.rng.random() < 0.08:
                    self._set_phase(one, "Succeeded")

    def _set_phase(self, one: Pod, phase: str) -> None:
        def change(old: Pod) -> Pod:
            status: PodStatus = msgspec.structs.replace(old.status, phase=phase)
            return msgspec.structs.replace(old, status=status)

        self.store.modify(Pod, one.key, change)

    async def garbage_collector(self) -> None:
        while True:
            await asyncio.sleep(self.rng.uniform(0.2, 1.0))
            self.store.collect_garbage(self.now())

    # --- the foreign allocator --------------------------------------------------------------------------------------

    async def foreign_allocator(self) -> None:
        """Another allocator with a view of its own: gives devices, that are free as far as it knows, to its claims."""
        count = 0
        while True:
            known = self._free_devices()
            await asyncio.sleep(self.rng.uniform(0.05, 0.4))
            if known and self.rng.random() < 0.25:
                self._foreign_allocation(f"foreign-{count}", self.rng.choice(known))
                count += 1
            for uid in sorted(self.foreign):
                if self.rng.random() < 0.15:
                    self.release_foreign(uid)

    def _free_devices(self) -> list[tuple[str, str]]:
        taken = {device for one in self.store.all(ResourceClaim) for device in devices_of(one)}
        return [
            (one.spec.pool.name, device.name)
            for one in self.store.all(ResourceSlice)
            for device in one.spec.devices or ()
            if (one.spec.driver, one.spec.pool.name, device.name) not in taken
        ]

    def _foreign_allocation(self, name: str, device: tuple[str, str]) -> None:
        if self.store.get(ResourceClaim, ObjectKey(NAMESPACE, name)) is not None:
            return
        self.trouble["foreign allocation"] += 1
        made = self.store.create(_fresh(claim(request(), name=name, namespace=NAMESPACE)))
        self.foreign.add(made.uid)
        consumer = ResourceClaimConsumerReference(
            api_group="scheduling.example.com", resource="others", name=name, uid=made.uid
        )
        result = allocation("/".join(device), on=device[0])

        def change(old: ResourceClaim) -> ResourceClaim:
            meta = msgspec.structs.replace(old.metadata, finalizers=(DELETE_PROTECTION_FINALIZER,))
            status = ResourceClaimStatus(allocation=result, reserved_for=(consumer,))
            return msgspec.structs.replace(old, metadata=meta, status=status)

        self.store.modify(ResourceClaim, made.key, change)

    def release_foreign(self, uid: str) -> None:
        for one in list(self.store.all(ResourceClaim)):
            if one.uid == uid:
                self.user_deleted.add(uid)
                self.foreign.discard(uid)

                def change(old: ResourceClaim) -> ResourceClaim:
                    meta = msgspec.structs.replace(old.metadata, finalizers=None)
                    return msgspec.structs.replace(old, metadata=meta, status=ResourceClaimStatus())

                self.store.modify(ResourceClaim, one.key, change)
                self.store.delete(ResourceClaim, one.key, now=self.now())


def devices_of(one: ResourceClaim) -> list[tuple[str, str, str]]:
    """Devices that the claim holds exclusively."""
    if one.status.allocation is None:
        return []
    return [
        (result.driver, result.pool, result.device)
        for result in one.status.allocation.devices.results or ()
        if not result.admin_access
    ]


def _fresh(object_: O) -> O:
    meta = msgspec.structs.replace(object_.metadata, creation_timestamp=timestamp(wall_clock()))
    return msgspec.structs.replace(object_, metadata=meta)


def _uncordoned(old: Node) -> Node:
    return msgspec.structs.replace(old, spec=msgspec.structs.replace(old.spec, unschedulable=False))


def _bound(old: Pod, node_name: str) -> Pod:
    spec = msgspec.structs.replace(old.spec, node_name=node_name)
    scheduled = Condition(type="PodScheduled", status="True")
    conditions = (*(one for one in old.status.conditions or () if one.type != "PodScheduled"), scheduled)
    status = msgspec.structs.replace(old.status, conditions=conditions)
    return msgspec.structs.replace(old, spec=spec, status=status)
