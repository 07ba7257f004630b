"""The gate by webhook on loopback, for API servers without MutatingAdmissionPolicy v1 (1.34, 1.35).

No Service leads to a process on this machine, so the webhook configurations of `manifests/` get a `url` in its place.
Operators that share the port share the work: the kernel gives each connection to one that is there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from dra_operator.api.names import GATE_CONFIGURATION, SELECTORS_CONFIGURATION
from dra_operator.cluster.http import ApiClient, ApiError

MANIFESTS: Final = Path(__file__).resolve().parents[3] / "manifests"
_POLICIES: Final = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
_PATHS: Final = {GATE_CONFIGURATION: "gate", SELECTORS_CONFIGURATION: "selectors"}


async def has_policies(client: ApiClient) -> bool:
    """Whether the API server takes the gate as `manifests/base` has it."""
    try:
        await client.request("GET", _POLICIES, params={"limit": "1"})
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


def address_flag(port: int) -> str:
    """Of `dra-operator run`."""
    return f"--webhook-address=127.0.0.1:{port}"


def write_kustomization(folder: Path, port: int, components: Sequence[str] = ("webhook", "selectors")) -> None:
    """`manifests/base` with these components, the webhooks at that port, for `kubectl apply -k folder`."""
    folder.mkdir(exist_ok=True)
    root = os.path.relpath(MANIFESTS, folder.resolve())
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{root}/base"],
        "components": [f"{root}/components/{name}" for name in components],
        "patches": url_patches(port),
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))


def url_patches(port: int) -> list[dict[str, Any]]:
    """Of a kustomization: the webhooks are at that port."""
    return [
        {"target": {"kind": f"{kind}WebhookConfiguration", "name": name}, "patch": _at(port, path)}
        for kind in ("Mutating", "Validating")
        for name, path in _PATHS.items()
    ]


def _at(port: int, path: str) -> str:
    config = {"url": f"https://127.0.0.1:{port}/{path}"}
    return yaml.safe_dump([{"op": "replace", "path": "/webhooks/0/clientConfig", "value": config}])
