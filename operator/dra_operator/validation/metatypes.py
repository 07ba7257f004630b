"""Object metadata, conditions and node selectors, as they are sent.

Upstream: k8s.io/apimachinery/pkg/apis/meta/v1, k8s.io/api/core/v1 (1.37).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import field

from dra_operator.validation.shapes import Always, GoType, Raw, Time, Wire

Uid = Annotated[str, GoType("types.UID")]


class OwnerReference(Wire, frozen=True):
    tagged_internally: ClassVar[bool] = True

    api_version: Annotated[str, Always()] = ""
    kind: Annotated[str, Always()] = ""
    name: Annotated[str, Always()] = ""
    uid: Annotated[Uid, Always()] = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ManagedFieldsEntry(Wire, frozen=True):
    tagged_internally: ClassVar[bool] = True

    manager: str = ""
    operation: Annotated[str, GoType("v1.ManagedFieldsOperationType")] = ""
    api_version: str = ""
    time: Time | None = None
    fields_type: str = ""
    fields_v1: Annotated[Raw | None, GoType("v1.FieldsV1")] = field(default=None, name="fieldsV1")
    subresource: str = ""


class ObjectMeta(Wire, frozen=True):
    tagged_internally: ClassVar[bool] = True

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    self_link: str = ""
    uid: Uid = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    finalizers: tuple[str, ...] | None = None
    managed_fields: tuple[ManagedFieldsEntry, ...] | None = None


class Object(Wire, frozen=True):
    """Anything with metadata."""

    kind: str = ""
    api_version: str = ""
    metadata: ObjectMeta = ObjectMeta()


class Condition(Wire, frozen=True):
    tagged_internally: ClassVar[bool] = True

    type: Annotated[str, Always()] = ""
    status: Annotated[str, GoType("v1.ConditionStatus"), Always()] = ""
    observed_generation: int = 0
    last_transition_time: Annotated[Time | None, Always()] = None
    reason: Annotated[str, Always()] = ""
    message: Annotated[str, Always()] = ""


class NodeSelectorRequirement(Wire, frozen=True):
    key: Annotated[str, Always()] = ""
    operator: Annotated[str, GoType("v1.NodeSelectorOperator"), Always()] = ""
    values: tuple[str, ...] | None = None


class NodeSelectorTerm(Wire, frozen=True):
    match_expressions: tuple[NodeSelectorRequirement, ...] | None = None
    match_fields: tuple[NodeSelectorRequirement, ...] | None = None


class NodeSelector(Wire, frozen=True):
    node_selector_terms: Annotated[tuple[NodeSelectorTerm, ...] | None, Always()] = None
