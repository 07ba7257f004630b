"""A large cluster, put into etcd directly: 5,000 nodes and 20,000 pods in seconds, where the API server takes minutes.

The API server reads JSON from etcd as it reads protobuf, and its watch cache takes in what appears there. So this is
the real API server with real objects, none of which it was asked to create. Pods look like those of a real cluster
(environment, volumes, statuses, managed fields): what they weigh is what is measured.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Final

import aiohttp

from dra_operator.api.codec import to_plain
from dra_operator.api.names import DELETE_PROTECTION_FINALIZER
from tests.perf.inventories import inventory

_BATCH: Final = 100
"""Objects in one transaction; etcd takes 128 operations."""
CREATED: Final = "2026-01-01T00:00:00Z"
NAMESPACE: Final = "default"


async def put(etcd: str, objects: Iterable[tuple[str, dict[str, Any]]]) -> int:
    """Store objects under their keys in etcd. Returns how many."""
    total = 0
    async with aiohttp.ClientSession() as session:
        batch: list[dict[str, Any]] = []
        for key, body in objects:
            total += 1
            batch.append({"requestPut": {"key": _b64(key.encode()), "value": _b64(json.dumps(body).encode())}})
            if len(batch) == _BATCH:
                await _commit(session, etcd, batch)
                batch = []
        if batch:
            await _commit(session, etcd, batch)
    return total


async def _commit(session: aiohttp.ClientSession, etcd: str, batch: list[dict[str, Any]]) -> None:
    async with session.post(f"{etcd}/v3/kv/txn", json={"success": batch}) as answer:
        if answer.status != 200:
            raise RuntimeError(f"etcd answered {answer.status}: {await answer.text()}")
    await asyncio.sleep(0)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def large_cluster(nodes: int, used: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Nodes with eight GPUs each, of which so many percent are held by a claim of a running pod each; by etcd key."""
    world = inventory("gpu", nodes, used)
    for node in world.nodes.values():
        yield f"/registry/minions/{node.metadata.name}", _node(node.metadata.name)
    for slice_ in world.slices:
        body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", **to_plain(slice_)}
        body["metadata"] = _meta(slice_.metadata.name)
        body["spec"]["pool"] |= {"generation": 1, "resourceSliceCount": 1}  # defaults of ours are left out, and 0 there
        yield f"/registry/resourceslices/{slice_.metadata.name}", body
    for claim in world.allocated:
        name, plain = claim.metadata.name, to_plain(claim)
        pod = _pod(name, plain["status"]["allocation"]["devices"]["results"][0]["pool"])
        user = {"resource": "pods", "name": name, "uid": pod["metadata"]["uid"]}
        owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": user["uid"], "controller": True}
        body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", **plain}
        body["metadata"] = _meta(
            f"{name}-gpu",
            namespace=NAMESPACE,
            annotations={"resource.kubernetes.io/pod-claim-name": "gpu"},
            finalizers=[DELETE_PROTECTION_FINALIZER],
            ownerReferences=[owner],
        )
        body["status"]["reservedFor"] = [user]
        yield f"/registry/resourceclaims/{NAMESPACE}/{name}-gpu", body
        yield f"/registry/pods/{NAMESPACE}/{name}", pod


def _meta(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": CREATED, **more}


def _node(name: str) -> dict[str, Any]:
    room = {"cpu": "128", "memory": "1056Gi", "pods": "110", "ephemeral-storage": "900Gi"}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
    kinds = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    conditions = [
        {"type": kind, "status": "True" if kind == "Ready" else "False", "reason": kind, "lastHeartbeatTime": CREATED}
        for kind in kinds
    ]
    images = [{"names": [f"registry.example/team/image-{index}:v1"], "sizeBytes": 10**9} for index in range(30)]
    status = {"capacity": room, "allocatable": room, "conditions": conditions, "images": images}
    return {"apiVersion": "v1", "kind": "Node", "metadata": _meta(name, labels=labels), "spec": {}, "status": status}


def _pod(name: str, node: str) -> dict[str, Any]:
    env = [{"name": f"SETTING_{index}", "value": f"value-{index}-of-the-training-job"} for index in range(12)]
    mounts = [{"name": f"volume-{index}", "mountPath": f"/mnt/{index}"} for index in range(4)]
    container = {
        "name": "main",
        "image": "registry.example/team/training:v1",
        "command": ["python", "-m", "train", "--epochs=10"],
        "env": env,
        "resources": {"requests": {"cpu": "4", "memory": "32Gi"}, "claims": [{"name": "gpu"}]},
        "volumeMounts": mounts,
        "terminationMessagePath": "/dev/termination-log",
        "imagePullPolicy": "IfNotPresent",
    }
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": CREATED}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    fields: dict[str, Any] = {f"f:setting-{index}": {"f:name": {}, "f:value": {}} for index in range(24)}
    managed = {
        "manager": "kubelet",
        "operation": "Update",
        "apiVersion": "v1",
        "time": CREATED,
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:status": fields},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _meta(name, namespace=NAMESPACE, labels={"app": "training"}, managedFields=[managed]),
        "spec": {
            "nodeName": node,
            "containers": [container],
            "volumes": [{"name": f"volume-{index}", "emptyDir": {}} for index in range(4)],
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "training"}],
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": True,
            "securityContext": {},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        },
        "status": {
            "phase": "Running",
            "conditions": conditions,
            "podIP": "10.0.0.1",
            "startTime": CREATED,
            "resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": f"{name}-gpu"}],
            "containerStatuses": [
                {
                    "name": "main",
                    "ready": True,
                    "started": True,
                    "restartCount": 0,
                    "image": container["image"],
                    "imageID": f"registry.example/team/training@sha256:{'0' * 64}",
                    "containerID": f"containerd://{'0' * 64}",
                    "state": {"running": {"startedAt": CREATED}},
                }
            ],
        },
    }
