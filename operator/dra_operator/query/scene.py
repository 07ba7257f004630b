"""A cluster in memory from objects: what is there, what the objects leave open, and what is asked "what if".

Left open and filled in: nodes that slices name (with unlimited room, since nobody said how much they have), namespaces
that objects are in, classes that a known driver installs, pods of workloads. Claims may be reserved for pods that are
not among the objects; those are taken to run.

The result is a `Simulation` that has not run yet.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from msgspec import structs

from dra_operator.allocation.podrequests import pod_requests
from dra_operator.api.core import Namespace, NamespaceStatus, Node, NodeStatus, Pod, PodSpec, PodStatus
from dra_operator.api.meta import Object, ObjectKey, ObjectMeta, Uid
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.quantity import Quantity
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceClass, DeviceTaint, DeviceTaintRule, ResourceClaim, ResourceSlice
from dra_operator.lifecycle.gate import class_names
from dra_operator.lifecycle.refusal import Refusal
from dra_operator.query.documents import InputError
from dra_operator.query.drivers import driver_of, installed_classes
from dra_operator.query.objects import Manifests, PriorityClass, Refused
from dra_operator.query.suggest import did_you_mean
from dra_operator.world.simulation import Simulation
from dra_operator.world.workloads import (
    CronJob,
    DaemonSet,
    Deployment,
    Job,
    ReplicaSet,
    StatefulSet,
    Workload,
    named,
    pods_of,
    with_defaults,
)

_PODS_A_NODE: Final = Quantity.parse("110")
_PLENTY: Final = Quantity.parse("1Ei")
_WORKLOADS: Final = (Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob)
MAX_PODS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Taint:
    """`--taint`: devices of a pool (a node's name), one of them or all, carry this taint."""

    pool: str
    device: str
    taint: DeviceTaint


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Changes to the cluster before the pods come."""

    remove_nodes: tuple[str, ...] = ()
    taints: tuple[Taint, ...] = ()


@dataclass(slots=True)
class Scene:
    """The cluster, and what had to be assumed about it."""

    simulation: Simulation
    notes: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    """Objects that the API server would refuse; they are not there."""


def build_scene(
    manifests: Manifests,
    *,
    nodes: Sequence[Node] = (),
    slices: Sequence[ResourceSlice] = (),
    taint_rules: Sequence[DeviceTaintRule] = (),
    what_if: WhatIf | None = None,
    strict: bool = False,
    live: bool = False,
    now: float | None = None,
) -> Scene:
    """`nodes`, `slices` and `taint_rules` come from an inventory and add to those of the manifests.

    Raises `InputError`.

    `live`: the manifests are what a cluster has; a class that is not among them is not there.
    """
    scene = Scene(Simulation(time.time() if now is None else now))
    scene.refused = list(manifests.refused)
    if any(loaded.plain for loaded in manifests.objects):
        from dra_operator.query.strict import find_refusals  # late: what a cluster holds was judged by it already

        scene.refused += find_refusals(manifests, admin_access=strict, live=live)
    if strict and scene.refused:
        first = scene.refused[0]
        more = f" (and {len(scene.refused) - 1} more)" if len(scene.refused) > 1 else ""
        raise InputError(f"{first.place}: {first.message}{more}")
    unusable = {(one.type, one.key) for one in scene.refused if one.type is not ResourceSlice}
    manifests = Manifests(
        [one for one in manifests.objects if (type(one.object), one.object.key) not in unusable], manifests.skipped
    )
    builder = _Builder(scene, manifests, strict=strict, assumes_classes=not strict and not live)
    builder.machines([*manifests.all(Node), *nodes], [*manifests.all(ResourceSlice), *slices], what_if or WhatIf())
    builder.rest(taint_rules)
    builder.pods()
    return scene


class _Builder:
    def __init__(self, scene: Scene, manifests: Manifests, *, strict: bool, assumes_classes: bool) -> None:
        self._scene = scene
        self._simulation = scene.simulation
        self._manifests = manifests
        self._strict = strict
        self._assumes_classes = assumes_classes
        self._namespaces: set[str] = set()

    # --- nodes and devices -------------------------------------------------------------------------------------------

    def machines(self, nodes: list[Node], slices: list[ResourceSlice], what_if: WhatIf) -> None:
        names = {node.metadata.name for node in nodes}
        missing = sorted({slice_.spec.node_name for slice_ in slices if slice_.spec.node_name} - names)
        nodes += [Node(metadata=ObjectMeta(name=name, labels={_HOSTNAME: name})) for name in missing]
        if not nodes and slices:
            nodes = [Node(metadata=ObjectMeta(name="node", labels={_HOSTNAME: "node"}))]
            self._note('no file has a Node; one node "node" is assumed')
        for name in what_if.remove_nodes:
            known = {node.metadata.name for node in nodes}
            if name not in known:
                raise InputError(f"--remove-node {name}: there is no such node{did_you_mean(name, known)}")
            nodes = [node for node in nodes if node.metadata.name != name]
            slices = [slice_ for slice_ in slices if slice_.spec.node_name != name]
        for taint in what_if.taints:
            slices = _tainted(slices, taint)
        for node in nodes:
            self._create(node)
        for slice_ in slices:
            self._create(slice_)

    def _room(self, pods: Iterable[Pod]) -> None:
        """Nodes of which nobody said what they have get room for everything that pods ask for."""
        wanted = {name for pod in pods for name in pod_requests(pod)} | {"cpu", "memory"}
        plenty = {**dict.fromkeys(wanted, _PLENTY), "pods": _PODS_A_NODE}
        store = self._simulation.store
        for node in list(store.all(Node)):
            if node.status.allocatable is None:
                store.modify(Node, node.key, partial(_with_room, room=node.status.capacity or plenty))

    # --- everything but pods -----------------------------------------------------------------------------------------

    def rest(self, taint_rules: Sequence[DeviceTaintRule]) -> None:
        for rule in taint_rules:
            self._create(rule)
        self._namespaces = {one.metadata.name for one in self._manifests.all(Namespace)}
        for loaded in self._manifests.objects:
            object_ = loaded.object
            if isinstance(object_, (Node, ResourceSlice, Pod, PriorityClass, *_WORKLOADS)):
                continue
            self._in_namespace(object_, loaded.place)
            self._create(object_)
        self._classes()

    def _classes(self) -> None:
        if not self._assumes_classes:
            return
        simulation = self._simulation
        wanted = self._classes_named() - {one.key.name for one in self._scene.refused if one.type is DeviceClass}
        for class_ in installed_classes(simulation.view.inventory.drivers):
            name = class_.metadata.name
            if name in wanted and name not in simulation.view.classes:
                self._create(class_)
                self._note(f'DeviceClass "{name}" is in no file; taken as the driver installs it')
        for name in sorted(wanted - simulation.view.classes.keys()):
            driver = driver_of(name)
            if driver is not None:
                self._note(
                    f'DeviceClass "{name}" is in no file, and no device here is of the driver that installs it: '
                    f'give nodes of the inventory "driver: {driver}", or write --add-nodes …@{driver}'
                )

    def _classes_named(self) -> set[str]:
        view = self._simulation.view
        specs = [claim.spec for claim in view.claims.values()]
        specs += [template.spec.spec for template in view.templates.values()]
        return {name for spec in specs for name in class_names(spec)}

    # --- pods --------------------------------------------------------------------------------------------------------

    def pods(self) -> None:
        priorities = {one.metadata.name: one for one in self._manifests.all(PriorityClass)}
        owners = {
            owner.uid
            for loaded in self._manifests.objects
            for owner in loaded.object.metadata.owner_references or ()
            if owner.controller
        }
        created: list[Pod] = []
        for place, pod in self._expanded(owners):
            if len(created) >= MAX_PODS:
                raise InputError(f"{place}: the manifests make more than {MAX_PODS:,} pods")
            created.append(with_defaults(_with_priority(named(pod, len(created)), priorities)))
            self._in_namespace(pod, place)
        self._room(created)
        self._extended(created)
        for pod in created:
            if self._simulation.store.get(Pod, pod.key) is not None:
                raise InputError(
                    f'pod "{pod.key}" is there twice: a workload makes it, and another object has its name'
                )
            self._create(pod)
            self._recall_refusal(pod)
        self._strangers()

    def _extended(self, pods: Iterable[Pod]) -> None:
        """Devices that are asked for as `nvidia.com/gpu: 1` and the like are kube-scheduler's to give.

        What a bound pod has been given of them is known: its claim is there, or a device plugin gave it.
        """
        asking = Counter(
            name for pod in pods if not pod.spec.node_name for name in pod_requests(pod) if _is_extended(name)
        )
        for name, count in sorted(asking.items()):
            who = "1 pod asks" if count == 1 else f"{count} pods ask"
            self._note(f'{who} for the extended resource "{name}", which kube-scheduler serves: that is not simulated')

    def _recall_refusal(self, pod: Pod) -> None:
        """A cluster that refused to create a claim for the pod (a quota, say) would do so again."""
        told = pod.condition(DEVICES_ALLOCATED)
        if told is not None and told.reason == Reason.CLAIM_CREATION_REFUSED:
            self._simulation.view.refusals[pod.uid] = Refusal(told.message, -math.inf, math.inf)

    def _expanded(self, owners: set[Uid]) -> Iterable[tuple[str, Pod]]:
        for loaded in self._manifests.objects:
            object_ = loaded.object
            if isinstance(object_, Pod):
                yield loaded.place, object_
            elif isinstance(object_, _WORKLOADS) and not (object_.uid and object_.uid in owners):
                workload: Workload = object_
                for pod in pods_of(workload, self._simulation.view.nodes.values(), self._simulation.now):
                    yield loaded.place, pod

    def _strangers(self) -> None:
        """Pods that claims know and files do not: they run, so what they use stays in use."""
        store = self._simulation.store
        known = {pod.uid for pod in store.all(Pod)}
        for claim in list(store.all(ResourceClaim)):
            namespace = claim.metadata.namespace
            users = [(one.name, one.uid) for one in claim.status.reserved_for or () if one.resource == "pods"]
            owner = claim.metadata.controller
            if owner is not None and owner.kind == "Pod":
                users.append((owner.name, owner.uid))
            for name, uid in users:
                if uid not in known and store.get(Pod, ObjectKey(namespace, name)) is None:
                    known.add(uid)
                    meta = ObjectMeta(name=name, namespace=namespace, uid=uid)
                    self._create(Pod(metadata=meta, spec=PodSpec(), status=PodStatus(phase="Running")))

    # --- all ---------------------------------------------------------------------------------------------------------

    def _in_namespace(self, object_: Object, place: str) -> None:
        name = object_.metadata.namespace
        if not name or name in self._namespaces:
            return
        if self._strict and name not in ("default", "kube-system", "kube-public", "kube-node-lease"):
            raise InputError(f'{place}: namespace "{name}" is in no file{did_you_mean(name, self._namespaces)}')
        self._namespaces.add(name)
        self._create(Namespace(metadata=ObjectMeta(name=name), status=NamespaceStatus(phase="Active")))

    def _create(self, object_: Object) -> None:
        try:
            self._simulation.create(object_)
        except KeyError:
            raise InputError(f'{type(object_).__name__} "{object_.key}" is there twice') from None

    def _note(self, text: str) -> None:
        self._scene.notes.append(text)


def asks_extended(pod: Pod) -> bool:
    """Whether the pod asks for devices as `nvidia.com/gpu: 1` and the like."""
    return any(map(_is_extended, pod_requests(pod)))


def _is_extended(name: str) -> bool:
    """Upstream: `IsExtendedResourceName`."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


_HOSTNAME: Final = "kubernetes.io/hostname"


def _with_room(node: Node, room: dict[str, Quantity]) -> Node:
    status: NodeStatus = structs.replace(node.status, allocatable=room)
    return structs.replace(node, status=status)


def _with_priority(pod: Pod, classes: dict[str, PriorityClass]) -> Pod:
    if pod.spec.priority is not None:
        return pod
    named_ = classes.get(pod.spec.priority_class_name)
    default = next((one for one in classes.values() if one.global_default), None)
    chosen = named_ if pod.spec.priority_class_name else default
    return pod if chosen is None else structs.replace(pod, spec=structs.replace(pod.spec, priority=chosen.value))


def _tainted(slices: list[ResourceSlice], taint: Taint) -> list[ResourceSlice]:
    """The slices with the taint in them. Raises `InputError` if it meets no device."""
    pools = {slice_.spec.pool.name for slice_ in slices}
    if taint.pool not in pools:
        raise InputError(f"--taint {taint.pool}: no pool or node has that name{did_you_mean(taint.pool, pools)}")
    devices = {
        device.name for slice_ in slices if slice_.spec.pool.name == taint.pool for device in slice_.spec.devices or ()
    }
    if taint.device and taint.device not in devices:
        hint = did_you_mean(taint.device, devices)
        raise InputError(f"--taint {taint.pool}/{taint.device}: the pool has no such device{hint}")
    return [_taint_slice(slice_, taint) if slice_.spec.pool.name == taint.pool else slice_ for slice_ in slices]


def _taint_slice(slice_: ResourceSlice, taint: Taint) -> ResourceSlice:
    devices = tuple(
        structs.replace(device, taints=(*(device.taints or ()), taint.taint))
        if taint.device in ("", device.name)
        else device
        for device in slice_.spec.devices or ()
    )
    return structs.replace(slice_, spec=structs.replace(slice_.spec, devices=devices or None))
