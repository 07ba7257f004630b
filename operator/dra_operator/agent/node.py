"""The agent of one node: asks its source what devices there are, and keeps the slices saying so.

It starts before its Node exists, outlives failures of the API server and of the source, and ends only when cancelled.
Slices stay behind when it ends: pods that hold devices go on, and an agent that starts again finds its slices right.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from dra_operator.agent.publisher import Publisher
from dra_operator.agent.sources import Source, SourceError
from dra_operator.api.core import Node
from dra_operator.api.kinds import NODES
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer

log = structlog.get_logger()

_NODE_PAUSE_SECONDS: Final = 2.0


async def serve_node(
    client: ApiClient, source: Source, *, node_name: str, driver: str, refresh_seconds: float = 10.0
) -> None:
    """Publish what `source` says of the node, until cancelled. It is asked every `refresh_seconds`."""
    node = await _wait_for_node(client, node_name)
    publisher = Publisher(client, node_name=node_name, node_uid=node.uid, driver=driver)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.run(), name="publisher")
        tasks.create_task(_publish_changes(publisher, source, node_name, refresh_seconds), name="source")


async def _wait_for_node(client: ApiClient, node_name: str) -> Node:
    while True:
        try:
            return await client.get(NODES, ObjectKey("", node_name))
        except (ApiError, NoAnswer) as error:
            if isinstance(error, ApiError) and error.status in (401, 403):
                raise
            log.warning("waiting for the Node", node=node_name, error=str(error))
        await asyncio.sleep(_NODE_PAUSE_SECONDS)


async def _publish_changes(publisher: Publisher, source: Source, node_name: str, refresh_seconds: float) -> None:
    published = None
    while True:
        try:
            devices = await asyncio.to_thread(source.read)
            if devices != published:
                writes = await publisher.publish(devices)
                log.info("devices published", node=node_name, devices=len(devices.devices), writes=writes)
                published = devices
        except SourceError as error:
            log.error("the source cannot be read, its last devices stay published", node=node_name, error=str(error))
        except (ApiError, NoAnswer) as error:
            log.warning("devices not published", node=node_name, error=str(error), again_in=refresh_seconds)
        await asyncio.sleep(refresh_seconds)
