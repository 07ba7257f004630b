"""The webhook flavour of a cluster: no MutatingAdmissionPolicy, and operators on loopback that answer admission.

Pods cannot be reached here, so the webhook configurations of `manifests/` get a `url` in the place of their Service.
Replicas share that address: the kernel gives each connection to one that is there, as a Service would.

    async with running_control_plane(WITHOUT_POLICIES, manifests=False) as plane:
        port = free_port()
        apply_webhook(plane, port)
        operator = launch(plane.kubeconfig("operator"), log, (*FLAGS, f"--webhook-address=127.0.0.1:{port}"))
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml

from dra_operator.sandbox.controlplane import ControlPlane, Options

MANIFESTS: Final = Path(__file__).parents[1] / "manifests"
WITHOUT_POLICIES: Final = Options(api_server_flags=("--feature-gates=MutatingAdmissionPolicy=false",))
"""A 1.37 as far as gates are concerned like 1.34: its API server does not serve the policies."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def apply_webhook(plane: ControlPlane, port: int, components: Sequence[str] = ("webhook", "selectors")) -> None:
    """`manifests/base` with these components, the webhooks at that port of loopback."""
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.relpath(MANIFESTS, os.path.realpath(folder))
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"{root}/base"],
            "components": [f"{root}/components/{name}" for name in components],
            "patches": url_patches(port),
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        plane.kubectl("apply", "--server-side", "-k", folder)


def url_patches(port: int) -> list[dict[str, object]]:
    """Of a kustomization: the webhooks are at that port of loopback."""
    return [
        {"target": {"kind": f"{kind}WebhookConfiguration", "name": name}, "patch": _at(port, path)}
        for kind in ("Mutating", "Validating")
        for name, path in (("dra-operator-gate", "gate"), ("dra-operator-selectors", "selectors"))
    ]


def _at(port: int, path: str) -> str:
    config = {"url": f"https://127.0.0.1:{port}/{path}"}
    return yaml.safe_dump([{"op": "replace", "path": "/webhooks/0/clientConfig", "value": config}])
