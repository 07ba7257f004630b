"""The webhook flavour of a cluster: no MutatingAdmissionPolicy, and operators on loopback that answer admission.

async with running_control_plane(WITHOUT_POLICIES, manifests=False) as plane:
    port = free_port()
    apply_webhook(plane, port)
    operator = launch(plane.kubeconfig("operator"), log, (*FLAGS, address_flag(port)))
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dra_operator.sandbox.controlplane import ControlPlane, Options
from dra_operator.sandbox.ports import free_port
from dra_operator.sandbox.webhook import url_patches, write_kustomization

__all__ = ["WITHOUT_POLICIES", "apply_webhook", "free_port", "url_patches"]

WITHOUT_POLICIES: Final = Options(api_server_flags=("--feature-gates=MutatingAdmissionPolicy=false",))
"""A 1.37 as far as gates are concerned like 1.34: its API server does not serve the policies."""


def apply_webhook(plane: ControlPlane, port: int, components: Sequence[str] = ("webhook", "selectors")) -> None:
    """`manifests/base` with these components, the webhooks at that port of loopback."""
    with tempfile.TemporaryDirectory() as folder:
        write_kustomization(Path(folder), port, components)
        plane.kubectl("apply", "--server-side", "-k", folder)
