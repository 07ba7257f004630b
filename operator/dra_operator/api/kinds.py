"""The resources that the operator lists, watches or writes: group, version, plural, scope and type of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from dra_operator.api.core import Namespace, Node, Pod
from dra_operator.api.meta import Object, ObjectKey
from dra_operator.api.resource import (
    DeviceClass,
    DeviceTaintRule,
    ResourceClaim,
    ResourceClaimTemplate,
    ResourceSlice,
)

O_co = TypeVar("O_co", bound=Object, covariant=True)


@dataclass(frozen=True, slots=True)
class Kind(Generic[O_co]):
    """One resource of the API, as the REST path names it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    type: type[O_co]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def collection_path(self, namespace: str = "") -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"

    def path(self, key: ObjectKey, subresource: str = "") -> str:
        base = f"{self.collection_path(key.namespace if self.namespaced else '')}/{key.name}"
        return f"{base}/{subresource}" if subresource else base


PODS = Kind("", "v1", "pods", "Pod", True, Pod)
NODES = Kind("", "v1", "nodes", "Node", False, Node)
NAMESPACES = Kind("", "v1", "namespaces", "Namespace", False, Namespace)
CLAIMS = Kind("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim", True, ResourceClaim)
TEMPLATES = Kind(
    "resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate", True, ResourceClaimTemplate
)
SLICES = Kind("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", False, ResourceSlice)
CLASSES = Kind("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", False, DeviceClass)
TAINT_RULES = Kind("resource.k8s.io", "v1", "devicetaintrules", "DeviceTaintRule", False, DeviceTaintRule)
