"""What a test does to a node of the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dra_operator.api.kinds import NODES
from dra_operator.api.meta import ObjectKey
from tests.e2e.stage import Stage, until


@asynccontextmanager
async def cordoned(stage: Stage, node: str) -> AsyncIterator[None]:
    """Unschedulable for the length of the block, which begins when kube-scheduler knows."""
    try:
        await _set_unschedulable(stage, node, True)
        await _scheduler_refuses(stage, node)
        yield
    finally:
        await _set_unschedulable(stage, node, None)


async def _set_unschedulable(stage: Stage, node: str, value: bool | None) -> None:
    await stage.client.patch(NODES, ObjectKey("", node), {"spec": {"unschedulable": value}}, patch_type="merge")


async def _scheduler_refuses(stage: Stage, node: str) -> None:
    """Wait until kube-scheduler turns away a pod without claims that wants that node."""
    await stage.pod("canary", nodeSelector={"kubernetes.io/hostname": node})

    async def refused() -> bool:
        scheduled = (await stage.get_pod("canary")).condition("PodScheduled")
        return scheduled is not None and scheduled.status == "False"

    await until(lambda: f"kube-scheduler does not refuse node {node}", refused)
    await stage.delete_pod("canary", force=True)
