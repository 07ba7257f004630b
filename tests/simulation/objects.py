"""The objects of the simulated cluster, as users and node agents write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.simulation.model.fields import Json

DRIVER: Final = "gpu.example.com"
CLASS: Final = "gpu"
HOME: Final = "team"
"""Namespace of ordinary pods."""
OPS: Final = "ops"
"""Namespace that may have admin access."""
NATIVE: Final = "native"
"""Namespace that is left to kube-scheduler."""
SHARED_CLAIMS: Final = {"shared-a": "one", "shared-b": "slot"}
"""Users' own claims, and the template that they are like."""

MEMORY: Final = 40
"""GiB of a device that is shared by capacity."""
SLOT: Final = 15
"""GiB that a request for a share asks for: two fit, three do not."""


def node(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {},
        "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "110"}},
    }


def namespace(name: str, labels: dict[str, str] | None = None) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}, "spec": {}}


def device_class() -> Json:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": CLASS},
        "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]},
    }


def slices(
    node_name: str, kind: str, gpus: int, generation: int, *, without: Sequence[str] = (), tainted: Sequence[str] = ()
) -> list[Json]:
    """What the agent of a node publishes: `plain`, `parts` (partitions by counters) or `multi` (shares of memory)."""
    devices: list[Json] = []
    if kind == "plain":
        devices = [_device(f"gpu-{index}", "plain") for index in range(gpus)]
    elif kind == "parts":
        for index in range(gpus):
            devices.append(_device(f"gpu-{index}", "full") | {"consumesCounters": [_uses(index, 4)]})
            devices += [
                _device(f"gpu-{index}-part-{part}", "part") | {"consumesCounters": [_uses(index, 1)]}
                for part in range(5)
            ]
    else:
        devices = [
            _device(f"gpu-{index}", "multi")
            | {"allowMultipleAllocations": True, "capacity": {"memory": {"value": f"{MEMORY}Gi"}}}
            for index in range(gpus)
        ]
    devices = [one for one in devices if one["name"] not in without]
    for one in devices:
        if one["name"] in tainted:
            one["taints"] = [{"key": "example.com/hot", "effect": "NoSchedule"}]
    made = [_slice(node_name, "devices", generation, 2 if kind == "parts" else 1) | {}]
    made[0]["spec"]["devices"] = devices
    if kind == "parts":
        counters = _slice(node_name, "counters", generation, 2)
        counters["spec"]["sharedCounters"] = [
            {"name": f"set-{index}", "counters": {"slots": {"value": "4"}}} for index in range(gpus)
        ]
        made.append(counters)
    return made


def _slice(node_name: str, part: str, generation: int, count: int) -> Json:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{node_name}-{part}"},
        "spec": {
            "driver": DRIVER,
            "nodeName": node_name,
            "pool": {"name": node_name, "generation": generation, "resourceSliceCount": count},
        },
    }


def _device(name: str, kind: str) -> Json:
    return {"name": name, "attributes": {"kind": {"string": kind}}}


def _uses(index: int, slots: int) -> Json:
    return {"counterSet": f"set-{index}", "counters": {"slots": {"value": str(slots)}}}


# --- requests --------------------------------------------------------------------------------------------------------


def _exactly(kind: str, count: int = 1, **more: Json) -> Json:
    expression = f'device.attributes["{DRIVER}"].kind == "{kind}"'
    return {
        "deviceClassName": CLASS,
        "selectors": [{"cel": {"expression": expression}}],
        "allocationMode": "ExactCount",
        "count": count,
        **more,
    }


CLAIM_SPECS: Final[dict[str, Json]] = {
    name: {"devices": {"requests": [request]}}
    for name, request in {
        "one": {"name": "gpu", "exactly": _exactly("plain")},
        "two": {"name": "gpu", "exactly": _exactly("plain", 2)},
        "part": {"name": "gpu", "exactly": _exactly("part")},
        "full": {"name": "gpu", "exactly": _exactly("full")},
        "slot": {"name": "gpu", "exactly": _exactly("multi", capacity={"requests": {"memory": f"{SLOT}Gi"}})},
        "either": {
            "name": "gpu",
            "firstAvailable": [{"name": "big", **_exactly("full")}, {"name": "small", **_exactly("plain")}],
        },
        "watch": {"name": "gpu", "exactly": _exactly("plain", adminAccess=True)},
    }.items()
}


def template(name: str, namespace_: str) -> Json:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name, "namespace": namespace_},
        "spec": {"spec": CLAIM_SPECS[name]},
    }


def claim(name: str, namespace_: str, like: str) -> Json:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": namespace_},
        "spec": CLAIM_SPECS[like],
    }


def pod(name: str, namespace_: str, templates: Sequence[str], claims: Sequence[str], gates: Sequence[str] = ()) -> Json:
    entries = [{"name": f"t{index}", "resourceClaimTemplateName": name} for index, name in enumerate(templates)]
    entries += [{"name": f"c{index}", "resourceClaimName": name} for index, name in enumerate(claims)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace_},
        "spec": {
            "containers": [{"name": "main", "image": "example.com/main"}],
            "resourceClaims": entries,
            **({"schedulingGates": [{"name": gate} for gate in gates]} if gates else {}),
        },
    }
