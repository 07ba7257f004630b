"""Clusters with a pod that waits, generated: plain manifests, as a user would write them.

Every case has two or three nodes of four devices, some held by other pods, some tainted, and one pod that asks for
something that it cannot have. What it asks for, and what is in the way, comes from the seed.
"""

from __future__ import annotations

import random
from typing import Any, TypeAlias

Manifest: TypeAlias = dict[str, Any]

DRIVER = "gpu.example.com"
MODELS = ("A100", "H100", "L4")
POD = "wanting"


def _object(kind: str, name: str, **parts: Any) -> Manifest:
    version = "v1" if kind in ("Pod", "Node", "Namespace") else "resource.k8s.io/v1"
    metadata = {"name": name, **parts.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **parts}


def _device(rng: random.Random, name: str) -> Manifest:
    device: Manifest = {
        "name": name,
        "attributes": {
            "model": {"string": rng.choice(MODELS)},
            "driverVersion": {"version": f"{rng.choice((535, 550, 580))}.{rng.randrange(90)}.0"},
            "numa": {"int": rng.randrange(2)},
        },
        "capacity": {"memory": {"value": rng.choice(("24Gi", "40Gi", "80Gi"))}},
    }
    if rng.random() < 0.25:
        device["taints"] = [{"key": "example.com/hot", "value": "yes", "effect": "NoSchedule"}]
    if rng.random() < 0.2:
        device["attributes"]["nvlink"] = {"bool": True}
    return device


def _attribute(name: str) -> str:
    return f"device.attributes['{DRIVER}'].{name}"


def _selector(rng: random.Random) -> str:
    conditions = [
        f"{_attribute('model')} == '{rng.choice((*MODELS, 'B300'))}'",
        f"device.capacity['{DRIVER}'].memory.compareTo(quantity('{rng.choice(('48Gi', '100Gi', '40Gi'))}')) >= 0",
        f"{_attribute('driverVersion')}.isGreaterThan(semver('{rng.choice(('560.0.0', '600.1.0'))}'))",
        f"{_attribute('numa')} >= {rng.choice((1, 2))}",
        f"{_attribute('nvlink')}",
    ]
    return " && ".join(rng.sample(conditions, rng.choice((1, 1, 2))))


def _asks(rng: random.Random) -> tuple[Manifest, Manifest]:
    """A claim's `devices`, and what the pod's spec has besides."""
    exactly: Manifest = {"deviceClassName": "gpu", "count": rng.choice((1, 1, 2, 5))}
    devices: Manifest = {"requests": [{"name": "gpu", "exactly": exactly}]}
    spec: Manifest = {}
    kind = rng.randrange(7)
    if kind in (0, 1, 2):
        exactly["selectors"] = [{"cel": {"expression": _selector(rng)}}]
    elif kind == 3:
        devices["constraints"] = [
            {"requests": ["gpu"], "matchAttribute": f"{DRIVER}/{rng.choice(('model', 'nowhere'))}"}
        ]
        exactly["count"] = 3
    elif kind == 4:
        spec = rng.choice(
            (
                {"nodeSelector": {"zone": "nowhere"}},
                {"containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "100"}}}]},
            )
        )
    elif kind == 5:
        exactly["deviceClassName"] = "gpus"
    else:
        subs = [
            {"name": f"s{n}", "deviceClassName": "gpu", "selectors": [{"cel": {"expression": _selector(rng)}}]}
            for n in (0, 1)
        ]
        devices["requests"] = [{"name": "gpu", "firstAvailable": subs}]
    return devices, spec


def waiting_case(seed: int) -> list[Manifest]:
    """All objects of one case."""
    rng = random.Random(seed)
    selector = {"cel": {"expression": f"device.driver == '{DRIVER}'"}}
    objects = [_object("DeviceClass", "gpu", spec={"selectors": [selector]}), _object("Namespace", "team")]
    for name in [f"node-{n}" for n in range(rng.choice((2, 3)))]:
        room = {"cpu": "32", "memory": "256Gi", "pods": "110"}
        labels = {"kubernetes.io/hostname": name, "zone": "a"}
        node = _object("Node", name, metadata={"labels": labels}, status={"allocatable": room, "capacity": room})
        if rng.random() < 0.15:
            node["spec"] = {"unschedulable": True}
        devices = [_device(rng, f"gpu-{n}") for n in range(4)]
        pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
        slice_ = {"driver": DRIVER, "nodeName": name, "pool": pool, "devices": devices}
        objects += [node, _object("ResourceSlice", f"slice-{name}", spec=slice_)]
        for device in devices:
            if rng.random() < rng.choice((0.2, 0.9)):
                objects += _held(name, device["name"])
    devices_, spec = _asks(rng)
    if rng.random() < 0.5:
        objects.append(_object("ResourceClaim", "mine", metadata={"namespace": "team"}, spec={"devices": devices_}))
        entry = {"name": "gpu", "resourceClaimName": "mine"}
    else:
        template = {"spec": {"devices": devices_}}
        objects.append(_object("ResourceClaimTemplate", "mine", metadata={"namespace": "team"}, spec=template))
        entry = {"name": "gpu", "resourceClaimTemplateName": "mine"}
    pod = {"containers": [{"name": "main", "image": "none"}], "resourceClaims": [entry], **spec}
    return [*objects, _object("Pod", POD, metadata={"namespace": "team"}, spec=pod)]


def _held(node: str, device: str) -> list[Manifest]:
    """A running pod with the device."""
    name = f"other-{node}-{device}"
    meta = {"namespace": "others", "uid": f"uid-of-{name}"}
    claim = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}
    result = {"request": "gpu", "driver": DRIVER, "pool": node, "device": device}
    status = {
        "allocation": {"devices": {"results": [result]}, "allocationTimestamp": "2026-01-01T00:00:00Z"},
        "reservedFor": [{"resource": "pods", "name": name, "uid": meta["uid"]}],
    }
    entry = {"name": "gpu", "resourceClaimName": name}
    spec = {"nodeName": node, "containers": [{"name": "main", "image": "none"}], "resourceClaims": [entry]}
    return [
        _object(
            "ResourceClaim", name, metadata={"namespace": "others", "uid": f"claim-{name}"}, spec=claim, status=status
        ),
        _object("Pod", name, metadata=meta, spec=spec, status={"phase": "Running"}),
    ]
