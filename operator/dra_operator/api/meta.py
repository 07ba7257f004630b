"""Object metadata: the parts of `metav1.ObjectMeta` that the operator reads or writes, and the base of all objects.

Objects are decoded into frozen structs that hold only the fields which are read: unknown fields are dropped by the
decoder. Nothing here is ever written back whole; writes are patches.

Upstream: k8s.io/apimachinery/pkg/apis/meta/v1.
"""

from __future__ import annotations

from typing import NamedTuple, NewType

import msgspec

Uid = NewType("Uid", str)
"""A Kubernetes object's `metadata.uid`: unique over time, where a name is not."""


class ObjectKey(NamedTuple):
    """Namespace and name of an object; the namespace of a cluster-scoped one is empty."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def as_number(resource_version: str) -> int:
    """A resourceVersion, to be compared with others of its resource (KEP-5504); 0 where it is no number."""
    return int(resource_version) if resource_version.isdigit() else 0


class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of every API type: immutable, camelCase on the wire, defaults left out."""


class OwnerReference(Struct, frozen=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: Uid = Uid("")
    controller: bool = False
    block_owner_deletion: bool | None = None


class ManagedFieldsEntry(Struct, frozen=True):
    """Who wrote last through which subresource; the field set itself is not read."""

    manager: str = ""
    operation: str = ""
    subresource: str = ""
    time: str | None = None


class ObjectMeta(Struct, frozen=True):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: Uid = Uid("")
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: tuple[str, ...] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    managed_fields: tuple[ManagedFieldsEntry, ...] | None = None

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.namespace, self.name)

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages this object (`metav1.GetControllerOf`)."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)

    def annotation(self, name: str) -> str | None:
        return self.annotations.get(name) if self.annotations else None

    def label(self, name: str) -> str | None:
        return self.labels.get(name) if self.labels else None


class Object(Struct, frozen=True):
    """Anything with metadata. `kind` and `apiVersion` are empty on items of a list, as the API server sends them."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()

    @property
    def key(self) -> ObjectKey:
        return self.metadata.key

    @property
    def uid(self) -> Uid:
        return self.metadata.uid


class Condition(Struct, frozen=True):
    """`metav1.Condition` and `v1.PodCondition`, whichever fields are there."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    observed_generation: int | None = None


class LabelSelectorRequirement(Struct, frozen=True):
    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(Struct, frozen=True):
    match_labels: dict[str, str] | None = None
    match_expressions: tuple[LabelSelectorRequirement, ...] | None = None
