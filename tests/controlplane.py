"""The control plane that integration and end-to-end tests share: a real one, with `manifests/base` in force.

One per test run (it takes seconds to start, and a namespace per test keeps tests apart). A test that restarts or kills
parts of a control plane, or needs other options, starts one of its own with `ControlPlane`.

The programs end with the test run however it ends: by the fixture, also on Ctrl-C, and by the kernel if pytest is
killed. `make test` has built the programs before; a bare pytest builds them here, silently, for minutes.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dra_operator.api.kinds import NAMESPACES
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.binaries import find_binaries
from dra_operator.sandbox.controlplane import ControlPlane, Options, wait_for_service_accounts
from dra_operator.sandbox.supervisor import apply_manifests, wait_for_gate


def binaries() -> Path:
    """The folder of etcd, kube-apiserver and the others."""
    return find_binaries(lambda line: print(line, file=sys.stderr))


@asynccontextmanager
async def running_control_plane(
    options: Options | None = None, *, manifests: bool = True
) -> AsyncIterator[ControlPlane]:
    """A control plane of one's own for the length of the block."""
    options = options or Options()
    async with ControlPlane(binaries(), options) as plane, plane.client() as client:
        await wait_for_service_accounts(client)
        if manifests:
            await apply_manifests(plane.binaries, plane.kubeconfig(), crd=options.crd)
            await wait_for_gate(client)
        yield plane


@asynccontextmanager
async def new_namespace(client: ApiClient, prefix: str) -> AsyncIterator[str]:
    """A namespace that no other test uses. Its deletion is asked for and not awaited."""
    name = f"{prefix}-{uuid.uuid4().hex[:8]}"
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    try:
        yield name
    finally:
        await client.delete(NAMESPACES, ObjectKey("", name))
