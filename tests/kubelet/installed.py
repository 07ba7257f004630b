"""dra-operator as an admin installs it: the image, `manifests/overlays/native`, and kustomize patches for this node.

Patched is what every cluster patches, the place of the image, and what is special here: the node has no GPUs, so that
the agent simulates those that a ConfigMap lists; and the kubelet's folder is not where a kubelet's usually is. How many
replicas, who they are, what they may, and their probes stay as they are. So does the way to the API server: the
account's token, and the address that the kubelet tells every pod.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.kubelet.node import NAME, Node
from tests.kubelet.scene import EXAMPLE, Cluster

ROOT: Final = Path(__file__).parents[2]
NAMESPACE: Final = "dra-operator"
IMAGE: Final = "localhost/dra-operator"
WORKLOADS: Final = ("deployment/dra-operator", "daemonset/dra-operator-agent")
_SECONDS: Final = 120
_INVENTORY: Final = [
    {"name": f"gpu-{index}", "attributes": {"profile": {"string": profile}}, "capacity": {"memory": {"value": memory}}}
    for index, (profile, memory) in enumerate((("2g.10gb", "10Gi"), ("3g.20gb", "20Gi"), ("3g.20gb", "20Gi")))
]


def write_overlay(folder: Path, node: Node) -> None:
    """A kustomization over `overlays/native`."""
    kubelet, cdi = str(node.kubelet_folder), str(node.cdi)
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "inventory", "namespace": NAMESPACE},
        "data": {"devices.yaml": json.dumps({"devices": _INVENTORY})},
    }
    args = [
        *("agent", "--devices=/inventory/devices.yaml", f"--driver-name={EXAMPLE}", "--log-format=json"),
        *(f"--kubelet-dir={kubelet}", f"--cdi-dir={cdi}"),
    ]
    folders = {"plugins": f"{kubelet}/plugins", "registry": f"{kubelet}/plugins_registry", "cdi": cdi}
    mounts: list[dict[str, Any]] = [{"name": name, "mountPath": path} for name, path in folders.items()]
    volumes: list[dict[str, Any]] = [
        {"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}} for name, path in folders.items()
    ]
    mounts.append({"name": "inventory", "mountPath": "/inventory", "readOnly": True})
    volumes.append({"name": "inventory", "configMap": {"name": "inventory"}})
    patch = [
        {"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": args},
        {"op": "replace", "path": "/spec/template/spec/containers/0/volumeMounts", "value": mounts},
        {"op": "replace", "path": "/spec/template/spec/volumes", "value": volumes},
    ]
    native = os.path.relpath(ROOT / "manifests" / "overlays" / "native", folder.resolve())
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [native, "inventory.yaml"],
        "images": [{"name": "dra-operator", "newName": IMAGE}],
        "patches": [{"target": {"kind": "DaemonSet", "name": "dra-operator-agent"}, "patch": json.dumps(patch)}],
    }
    folder.mkdir()
    (folder / "inventory.yaml").write_text(json.dumps(config_map))
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))


@asynccontextmanager
async def installed_operator(cluster: Cluster) -> AsyncIterator[None]:
    """It is rolled out at the start of the block, and gone at its end; what `manifests/base` brings stays."""
    plane, node = cluster.plane, cluster.node
    archive, overlay = node.folder / "image.tar", node.folder / "overlay"
    await _run(sys.executable, "-m", "tools.image", f"--output={archive}", cwd=ROOT)
    node.import_images(archive)
    archive.unlink()
    write_overlay(overlay, node)
    plane.kubectl("label", "node", NAME, "dra-operator.io/gpu=true")
    plane.kubectl("apply", "--server-side", "--kustomize", str(overlay))
    try:
        await asyncio.gather(*(rolled_out(cluster, workload) for workload in WORKLOADS))
        yield
    finally:
        gone = ("delete", "--cascade=foreground", f"--namespace={NAMESPACE}", f"--timeout={_SECONDS}s", *WORKLOADS)
        await _run(*plane.kubectl_command(*gone))


async def rolled_out(cluster: Cluster, workload: str) -> None:
    """Wait until all its pods are ready, and fail with what they are if they do not become so."""
    plane, about = cluster.plane, f"--namespace={NAMESPACE}"
    try:
        await _run(*plane.kubectl_command("rollout", "status", workload, about, f"--timeout={_SECONDS}s"))
    except AssertionError as error:
        pods = plane.kubectl("describe", "pods", about, check=False).stdout
        logs = plane.kubectl("logs", workload, about, "--all-pods", "--tail=30", check=False).stdout
        raise AssertionError(f"{error}\n{pods}\n{logs}") from error


async def _run(*command: str, cwd: Path | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{' '.join(command)} ended with {process.returncode}:\n{output.decode()}"
