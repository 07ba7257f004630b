"""Every label, annotation, finalizer, gate, condition type and field manager that the operator reads or writes."""

from __future__ import annotations

from typing import Final

# Upstream's.
ADMIN_ACCESS_LABEL: Final = "resource.kubernetes.io/admin-access"
POD_CLAIM_NAME_ANNOTATION: Final = "resource.kubernetes.io/pod-claim-name"
EXTENDED_RESOURCE_CLAIM_ANNOTATION: Final = "resource.kubernetes.io/extended-resource-claim"
DELETE_PROTECTION_FINALIZER: Final = "resource.kubernetes.io/delete-protection"

# Ours.
DOMAIN: Final = "dra-operator.io"
GATE: Final = f"{DOMAIN}/allocation"
"""Scheduling gate of pods whose devices this operator allocates."""
ALLOCATION_LABEL: Final = f"{DOMAIN}/allocation"
"""On a Namespace, with the value `disabled`: its pods are neither gated nor allocated."""
ALLOCATE_ANNOTATION: Final = f"{DOMAIN}/allocate"
"""On a DeviceClass, with the value `"false"`: another allocator hands out its devices."""
PLACEMENT_ANNOTATION: Final = f"{DOMAIN}/placement"
"""On a DeviceClass: how devices are chosen for requests of this class, in place of `--placement`."""
RUN_FOR_ANNOTATION: Final = f"{DOMAIN}/run-for"
"""On a Pod in the sandbox: seconds (or a Go duration) after which the stand-in kubelet ends it."""
IGNORE_TERM_ANNOTATION: Final = f"{DOMAIN}/ignore-term"
"""On a Pod in the sandbox, with the value `"true"`: deleted, it runs on for its whole grace period."""
SANDBOX_LABEL: Final = f"{DOMAIN}/sandbox"
"""On a simulated Node: the name of the sandbox that made it, and that takes it away."""
UNHEALTHY_TAINT: Final = f"{DOMAIN}/unhealthy"
"""On a device: NoSchedule where it is degraded, NoExecute where it is lost; the value says why."""
UNPREPARING_TAINT: Final = f"{DOMAIN}/unpreparing"
"""On a device that is still prepared for a claim which it is no longer allocated to."""
DEVICES_ALLOCATED: Final = f"{DOMAIN}/DevicesAllocated"
"""Pod condition: what became of the pod's claims."""
FIELD_MANAGER: Final = "dra-operator"
"""Field manager of every write by the controller; `managedFields` names it."""
REPORTING_CONTROLLER: Final = f"{DOMAIN}/controller"
DEFAULT_DRIVER: Final = f"gpu.{DOMAIN}"
EXAMPLE_DRIVER: Final = "driver.example.com"
OPERATOR_NAMESPACE: Final = "dra-operator"
LEASE_NAME: Final = "dra-operator"
