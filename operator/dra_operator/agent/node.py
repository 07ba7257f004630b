"""The agent of one node: asks its source what devices there are, and keeps the slices saying so, with their taints.

It starts before its Node exists, outlives failures of the API server and of the source, and ends only when cancelled.
Slices stay behind when it ends: pods that hold devices go on, and an agent that starts again finds its slices right.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

import structlog

from dra_operator.agent.health import HealthBoard
from dra_operator.agent.monitor import HealthMonitor
from dra_operator.agent.publisher import Publisher
from dra_operator.agent.sources import NodeDevices, Source, SourceError
from dra_operator.agent.taints import DeviceTaints
from dra_operator.api.core import Node
from dra_operator.api.kinds import NODES
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer

log = structlog.get_logger()

_NODE_PAUSE_SECONDS: Final = 2.0


async def serve_node(
    client: ApiClient,
    source: Source,
    *,
    node_name: str,
    driver: str,
    taints: DeviceTaints | None = None,
    health: HealthBoard | None = None,
    refresh_seconds: float = 10.0,
    health_seconds: float = 5.0,
) -> None:
    """Publish what `source` says of the node, until cancelled. It is asked every `refresh_seconds`.

    `taints` and `health` are for the other parts of the agent: they add taints of their own, and read the health.
    """
    taints, health = taints or DeviceTaints(), health or HealthBoard()
    monitor = HealthMonitor(source, taints, health, now=time.time, interval=health_seconds)
    node = await _wait_for_node(client, node_name)
    publisher = Publisher(client, node_name=node_name, node_uid=node.uid, driver=driver)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.run(), name="publisher")
        tasks.create_task(_publish_changes(publisher, source, monitor, taints, refresh_seconds), name="source")
        tasks.create_task(monitor.run(), name="health")


async def _wait_for_node(client: ApiClient, node_name: str) -> Node:
    while True:
        try:
            return await client.get(NODES, ObjectKey("", node_name))
        except (ApiError, NoAnswer) as error:
            if isinstance(error, ApiError) and error.status in (401, 403):
                raise
            log.warning("waiting for the Node", node=node_name, error=str(error))
        await asyncio.sleep(_NODE_PAUSE_SECONDS)


async def _publish_changes(
    publisher: Publisher, source: Source, monitor: HealthMonitor, taints: DeviceTaints, refresh_seconds: float
) -> None:
    read: NodeDevices | None = None
    published: NodeDevices | None = None
    while True:
        try:
            read = await asyncio.to_thread(source.read)
            await monitor.saw(read)
        except SourceError as error:
            log.error("the source cannot be read, its last devices stay published", error=str(error))
        taints.changed.clear()
        if read is not None and (devices := taints.on(read)) != published:
            try:
                writes = await publisher.publish(devices)
                log.info("devices published", devices=len(devices.devices), writes=writes)
                published = devices
            except (ApiError, NoAnswer) as error:
                log.warning("devices not published", error=str(error), again_in=refresh_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(taints.changed.wait(), refresh_seconds)
