"""The kinds that there is a CustomResourceDefinition for, each as kubectl shows it.

Upstream: columns and short names of pkg/printers/internalversion and pkg/registry/resource.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tools.crds.patterns import Schema
from tools.crds.schema import root_schema

from dra_operator.api.kinds import CLAIMS, CLASSES, SLICES, TAINT_RULES, TEMPLATES, Kind
from dra_operator.validation import slicetypes, types
from dra_operator.validation.shapes import Wire

APPROVAL: Final = "api-approved.kubernetes.io"
UNAPPROVED: Final = "unapproved, dra-operator serves resource.k8s.io/v1 where the API server does not"


@dataclass(frozen=True)
class Column:
    name: str
    path: str
    type: str = "string"

    def schema(self) -> Schema:
        return {"name": self.name, "type": self.type, "jsonPath": self.path}


AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True)
class Definition:
    kind: Kind[Any]
    type: type[Wire]
    columns: tuple[Column, ...] = ()
    status: bool = False
    selectable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.kind.plural}.{self.kind.group}"

    def manifest(self) -> Schema:
        version: Schema = {
            "name": self.kind.version,
            "served": True,
            "storage": True,
            "additionalPrinterColumns": [each.schema() for each in (*self.columns, AGE)],
            "schema": {"openAPIV3Schema": root_schema(self.type)},
        }
        if self.selectable:
            version["selectableFields"] = [{"jsonPath": path} for path in self.selectable]
        if self.status:
            version["subresources"] = {"status": {}}
        names = {
            "kind": self.kind.kind,
            "listKind": f"{self.kind.kind}List",
            "plural": self.kind.plural,
            "singular": self.kind.kind.lower(),
        }
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": self.name,
                "annotations": {APPROVAL: UNAPPROVED},
                "labels": {"app.kubernetes.io/part-of": "dra-operator"},
            },
            "spec": {
                "group": self.kind.group,
                "names": names,
                "scope": "Namespaced" if self.kind.namespaced else "Cluster",
                "versions": [version],
            },
        }


DEFINITIONS: Final = (
    Definition(CLASSES, types.DeviceClass),
    Definition(
        TAINT_RULES,
        types.DeviceTaintRule,
        (
            Column("Key", ".spec.taint.key"),
            Column("Value", ".spec.taint.value"),
            Column("Effect", ".spec.taint.effect"),
        ),
        status=True,
    ),
    Definition(
        CLAIMS,
        types.ResourceClaim,
        # The built-in API computes a State (pending; allocated,reserved), which a path cannot.
        (
            Column("Devices", ".status.allocation.devices.results[*].device"),
            Column("Reserved For", ".status.reservedFor[*].name"),
        ),
        status=True,
    ),
    Definition(TEMPLATES, types.ResourceClaimTemplate),
    Definition(
        SLICES,
        slicetypes.ResourceSlice,
        (Column("Node", ".spec.nodeName"), Column("Driver", ".spec.driver"), Column("Pool", ".spec.pool.name")),
        selectable=(".spec.nodeName", ".spec.driver"),
    ),
)
