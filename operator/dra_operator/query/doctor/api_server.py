"""What the API server is: its version, whether it serves resource.k8s.io/v1 and from what, which fields it keeps.

Fields are tried, not looked up: an object that has them all is created as a dry run, and what comes back is compared.
Feature gates of an API server are not readable, and a field whose gate is off vanishes without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from dra_operator.api.kinds import CLAIMS, CLASSES, NAMESPACES, SLICES, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import ADMIN_ACCESS_LABEL, DOMAIN
from dra_operator.api.resource import ResourceSlice
from dra_operator.cluster.http import ApiError
from dra_operator.query.doctor.facts import FORBIDDEN, Facts
from dra_operator.query.doctor.findings import Finding, NotChecked, check, problem, remark
from dra_operator.query.doctor.objects import DEFINITIONS, ServedResources, Version

LEAST_MINOR: Final = 34
_GROUP: Final = "resource.k8s.io"
_KINDS: Final = (SLICES, CLASSES, CLAIMS, TEMPLATES)
_PROBE: Final = "dra-operator-doctor"


@check("version", "the API server is of a version that is supported")
async def version(facts: Facts) -> Iterable[Finding]:
    found = await facts.read("/version", Version)
    digits = re.match(r"\d+", found.minor) if found is not None else None
    if found is None or digits is None or int(digits[0]) >= LEAST_MINOR:
        return ()
    return (
        problem(
            "API server",
            f"it is Kubernetes {found.git_version or f'{found.major}.{found.minor}'}",
            why="before 1.34 pods and pod templates lose resource claims of the v1 API, so nothing here can work",
            cure="upgrade the control plane to Kubernetes 1.34 or later",
        ),
    )


@check("resource-api", "resource.k8s.io/v1 is served")
async def resource_api(facts: Facts) -> Iterable[Finding]:
    served = await facts.read(f"/apis/{_GROUP}/v1", ServedResources)
    names = {one.name for one in served.resources} if served is not None else set()
    missing = [kind.plural for kind in _KINDS if kind.plural not in names]
    if not missing:
        return ()
    what = "it is not served" if len(missing) == len(_KINDS) else f"{', '.join(missing)} are not served"
    return (
        problem(
            f"API {_GROUP}/v1",
            what,
            why="devices, claims and classes are objects of this API",
            cure="enable it on the API server (--runtime-config=resource.k8s.io/v1=true), or install the "
            "CustomResourceDefinitions: kubectl apply -k manifests/overlays/crd",
        ),
    )


@check("flavour", "resource.k8s.io/v1 comes from one place")
async def flavour(facts: Facts) -> Iterable[Finding]:
    found = [
        one.plural
        for one in _KINDS
        if await facts.find(DEFINITIONS, ObjectKey("", f"{one.plural}.{_GROUP}")) is not None
    ]
    if not found:
        return ()
    if len(found) < len(_KINDS):
        missing = [one.plural for one in _KINDS if one.plural not in found]
        return (
            problem(
                f"CustomResourceDefinitions of {_GROUP}",
                f"{', '.join(missing)} of them are missing",
                why="with some kinds built in or absent, and some from custom resources, no part sees the whole",
                cure="apply all of them (kubectl apply -k manifests/overlays/crd), or delete those that there are",
            ),
        )
    return (
        remark(
            f"API {_GROUP}/v1",
            "it is served from CustomResourceDefinitions, not built in",
            why="kube-controller-manager's resourceclaim-controller must be off here, and the operator has to run with "
            "--api=crd",
            cure="nothing to do where that is meant; otherwise enable the built-in API and delete the definitions",
        ),
    )


@check("kept-fields", "the API server keeps the fields of every feature")
async def kept_fields(facts: Facts) -> Iterable[Finding]:
    device = {
        "name": "one",
        "taints": [{"key": f"{DOMAIN}/doctor", "effect": "NoSchedule"}],
        "allowMultipleAllocations": True,
        "bindsToNode": True,
        "bindingConditions": [f"{DOMAIN}/doctor"],
        "bindingFailureConditions": [f"{DOMAIN}/doctor-failed"],
    }
    one = await _dry_run(facts, {"devices": [device]})
    counters = {"sharedCounters": [{"name": "one", "counters": {"one": {"value": "1"}}}]}
    two = await _dry_run(facts, counters)
    return list(_dropped(one, two))


async def _dry_run(facts: Facts, spec: dict[str, Any]) -> ResourceSlice:
    body = {
        "metadata": {"name": _PROBE},
        "spec": {
            "driver": f"doctor.{DOMAIN}",
            "pool": {"name": _PROBE, "generation": 1, "resourceSliceCount": 1},
            "allNodes": True,
            **spec,
        },
    }
    try:
        return await facts.client.create(SLICES, body, dry_run=True)
    except ApiError as error:
        if error.status == FORBIDDEN:
            raise NotChecked("you may not create resourceslices, also not as a dry run") from None
        raise NotChecked(f"a slice that tries the fields is refused: {error.message}") from None


def _dropped(one: ResourceSlice, two: ResourceSlice) -> Iterator[Finding]:
    [device] = one.spec.devices or (None,)
    kept = {
        ("device taints", "DRADeviceTaints", "devices that fail are taken out of their slice instead of tainted"): (
            device is not None and device.taints
        ),
        ("partitionable devices (sharedCounters)", "DRAPartitionableDevices", "GPUs cannot be cut on demand"): (
            two.spec.shared_counters
        ),
        ("consumable capacity", "DRAConsumableCapacity", "a device cannot be shared by amounts"): (
            device is not None and device.allow_multiple_allocations
        ),
        (
            "binding conditions",
            "DRADeviceBindingConditions",
            "pods do not wait for devices that have to be attached to their node first",
        ): (device is not None and device.binding_conditions),
    }
    for (feature, gate, why), is_kept in kept.items():
        if not is_kept:
            yield remark(
                "API server",
                f"it drops the fields of {feature}",
                why=why,
                cure=f"enable the feature gate {gate} on the API server and kube-scheduler if you need it",
            )


@check("admin-access", "admin access needs a labelled namespace")
async def admin_access(facts: Facts) -> Iterable[Finding]:
    namespaces = await facts.all(NAMESPACES)
    where = next(
        (
            one.metadata.name
            for one in sorted(namespaces, key=lambda one: (one.metadata.name != "default", one.metadata.name))
            if one.metadata.label(ADMIN_ACCESS_LABEL) != "true" and one.status.phase == "Active"
        ),
        None,
    )
    if where is None:
        return ()
    request = {"name": "one", "exactly": {"deviceClassName": _PROBE, "adminAccess": True}}
    try:
        made = await facts.client.create(
            CLAIMS,
            {"metadata": {"name": _PROBE}, "spec": {"devices": {"requests": [request]}}},
            namespace=where,
            dry_run=True,
        )
    except ApiError as error:
        if ADMIN_ACCESS_LABEL in error.message:
            return ()  # refused as it should be; a quota or somebody's webhook has other words
        if error.status == FORBIDDEN and "cannot create" in error.message:
            raise NotChecked(f"you may not create resourceclaims in {where}, also not as a dry run") from None
        raise NotChecked(f"a claim that tries it is refused for something else: {error.message}") from None
    [kept] = made.spec.devices.requests or (None,)
    if kept is None or kept.exactly is None or not kept.exactly.admin_access:
        return (
            remark(
                "API server",
                "it drops adminAccess",
                why="a claim that asks to look into devices in use would get free ones of its own instead",
                cure="enable the feature gate DRAAdminAccess on the API server and kube-scheduler if you need it",
            ),
        )
    return (
        problem(
            f"Namespace {where}",
            f'a claim with adminAccess is accepted there, without the label {ADMIN_ACCESS_LABEL}: "true"',
            why="any tenant could look into devices that others use",
            cure="apply the ValidatingAdmissionPolicies of manifests/overlays/crd: with custom resources, they hold "
            "the rule that the built-in API has",
        ),
    )
