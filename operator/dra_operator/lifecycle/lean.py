"""What the mirrors keep of an object: what some rule reads, and what many objects say alike only once.

Most of what a pod says nobody here asks for (who wrote which field, labels, volumes that tie it to no node), and most
of the rest the other pods of its workload say, too. Objects are immutable, so those that say the same may hold the same
part.

Parts are known to be equal by their JSON, since most have dicts and hence no hash; quantities that are equal but were
written differently are two, since selectors tell them apart. What is remembered for that is bounded in number and size;
a part that is not remembered is only held twice.

Upstream: `SetTransform` of client-go's informers, and `cache.TransformStripManagedFields`.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import force_setattr, replace

from dra_operator.api.core import Node, NodeStatus, Pod
from dra_operator.api.meta import Object, ObjectMeta
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import ResourceClaim, ResourceSlice

T = TypeVar("T")
O = TypeVar("O", bound=Object)  # noqa: E741

REMEMBERED: Final = 4_096
_BYTES_MAX: Final = 2_048
_CONDITIONS: Final = frozenset({DEVICES_ALLOCATED, "PodScheduled"})


class Lean:
    """See the module. One a mirror."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, bytes], Any] = {}

    def pod(self, pod: Pod) -> Pod:
        """The pod without what placement and the claims' lifecycle do not read."""
        meta, spec, status = pod.metadata, pod.spec, pod.status
        told = tuple(one for one in status.conditions or () if one.type in _CONDITIONS)
        volumes = tuple(one for one in spec.volumes or () if one.persistent_volume_claim or one.ephemeral is not None)
        return Pod(
            metadata=ObjectMeta(
                name=meta.name,
                namespace=self._part("namespace", meta.namespace),
                uid=meta.uid,
                resource_version=meta.resource_version,
                creation_timestamp=meta.creation_timestamp,
                deletion_timestamp=meta.deletion_timestamp,
                owner_references=self._part("owners", meta.owner_references),
            ),
            spec=replace(
                spec,
                node_name=self._part("node", spec.node_name),
                volumes=volumes or None,
                tolerations=self._part("tolerations", spec.tolerations),
                containers=self._part("containers", spec.containers),
                init_containers=self._part("containers", spec.init_containers),
                resource_claims=self._part("claims", spec.resource_claims),
            ),
            status=replace(status, conditions=told or None),
        )

    def node(self, node: Node) -> Node:
        """The node without its conditions, and without who wrote what."""
        meta, status = node.metadata, node.status
        return Node(
            metadata=replace(meta, annotations=None, managed_fields=None),
            spec=node.spec,
            status=NodeStatus(
                allocatable=self._part("allocatable", status.allocatable),
                declared_features=self._part("features", status.declared_features),
            ),
        )

    def claim(self, claim: ResourceClaim) -> None:
        """Have the claim share what others say, too. Nothing that it says is changed."""
        meta, allocation = claim.metadata, claim.status.allocation
        self._share(claim, "api_version", "kind", "spec")
        self._share(meta, "namespace", "finalizers", "annotations")
        for writer in meta.managed_fields or ():
            self._share(writer, "manager", "operation", "subresource", "time")
        for owner in meta.owner_references or ():
            self._share(owner, "api_version", "kind")
        if allocation is not None:
            self._share(allocation, "node_selector")
            self._share(allocation.devices, "config")
            for result in allocation.devices.results or ():
                self._share(result, "request", "driver", "pool")
        for user in claim.status.reserved_for or ():
            self._share(user, "resource")

    def slice(self, slice_: ResourceSlice) -> None:
        """Have the slice's devices share what others say, too. Nothing that they say is changed."""
        self._share(slice_, "api_version", "kind")
        self._share(slice_.spec, "driver")
        for device in slice_.spec.devices or ():
            self._share(device, "name", "capacity", "taints")
            attributes = device.attributes or {}
            for name, value in attributes.items():
                attributes[name] = self._part("attribute", value)

    def _share(self, holder: Any, *names: str) -> None:
        for name in names:
            value = getattr(holder, name)
            if value:
                force_setattr(holder, name, self._part(name, value))

    def _part(self, what: str, part: T) -> T:
        """The part, or one that is equal and was there before. `what` tells types apart that look alike in JSON."""
        if not part:
            return part
        said = _exact.encode(part)
        if len(said) > _BYTES_MAX:
            return part
        if len(self._parts) >= REMEMBERED:
            self._parts.clear()
        known: T = self._parts.setdefault((what, said), part)
        return known


def _identity(value: Any) -> str:
    if isinstance(value, Quantity):
        return value.identity
    raise NotImplementedError(f"no identity of {type(value).__name__}")


_exact: Final = msgspec.json.Encoder(enc_hook=_identity)
