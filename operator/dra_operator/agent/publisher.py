"""Keeps the ResourceSlices of one node and driver as they should be.

`publish` says what the node has and writes what differs; `run` watches the slices and puts them right when anyone
else changed them: the kubelet deletes all slices of a driver when it starts, and the garbage collector those of a
Node that went away. Every round lists anew and decides on that (`slices.py`), so a round may fail at any write, and
an answer that was lost costs one more round, never a second slice. The watch only says when a round is due.

Where a feature is disabled, the API server drops its fields silently. What it stored then counts as what was wanted,
or every round would write again; the log says so once for each feature. Two features must not be dropped unnoticed even
for a moment, for a device without its taint or its counters would be given out: the first write that needs one of them
is tried as a dry run, and where the server drops it those devices leave the slices (`withheld.py`).

Another driver that publishes under the same name for this node is never fought: nothing is written beside it
(`RivalPublisherError`), for each would delete the other's slices for ever.

Upstream: `Controller` of k8s.io/dynamic-resource-allocation/resourceslice, which waits 30 seconds before it repairs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final, NoReturn

import structlog

from dra_operator.agent.slices import (
    CreateSlice,
    DeleteSlice,
    NodePool,
    SliceContent,
    SliceWrite,
    UpdateSlice,
    dropped_features,
    plan_writes,
    split_into_slices,
)
from dra_operator.agent.sources import NodeDevices
from dra_operator.agent.withheld import needed_features, withhold
from dra_operator.api.kinds import NODES, SLICES
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.names import FIELD_MANAGER
from dra_operator.api.resource import ResourceSlice
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.cluster.reflector import Reflector

log = structlog.get_logger()

_ROUNDS: Final = 5
"""How often one `publish` starts over after conflicts and lost answers before it gives up."""
_SETTLE_SECONDS: Final = 0.1
"""Slices are deleted in bursts: wait for the rest of it, and repair once."""
_RETRY_MIN_SECONDS: Final = 0.5
_RETRY_MAX_SECONDS: Final = 30.0


class RivalPublisherError(Exception):
    """Somebody else publishes for this driver and node. The message says who, and what to do."""


class Publisher:
    """One driver's pool of one node. `publish` and `run` may be used together or alone."""

    def __init__(self, client: ApiClient, *, node_name: str, node_uid: Uid, driver: str) -> None:
        self._client = client
        self._pool = NodePool(driver, node_name, node_uid)
        self._selector = f"spec.driver={driver},spec.nodeName={node_name}"
        self._node: NodeDevices | None = None
        self._wanted: list[SliceContent] = []
        self._storable: dict[int, SliceContent] = {}
        """By index, what the API server kept of a wanted slice, where it dropped fields of it."""
        self._warned: set[str] = set()
        self._kept: set[str] = set()
        self._dropped: set[str] = set()
        """Of the features that devices depend on, what the API server is known to keep, and to drop."""
        self._round = asyncio.Lock()
        self._due = asyncio.Event()

    async def refuse_rivals(self) -> None:
        """Raises RivalPublisherError, ApiError or NoAnswer."""
        existing, _ = await self._client.list_objects(SLICES, field_selector=self._selector)
        self._refuse_rivals(existing)

    async def publish(self, node: NodeDevices) -> int:
        """Make the slices say what the node has. Returns the number of writes.

        Raises RivalPublisherError, ApiError or NoAnswer.
        """
        async with self._round:
            self._node = node
            self._want()
            return await self._converge()

    async def run(self) -> None:
        """Repair the slices whenever someone else changes them. Never returns."""
        rng = random.Random()  # noqa: S311 - spreads watches over time, hides nothing
        reflector = Reflector(self._client, SLICES, _Wake(self._due), rng=rng, field_selector=self._selector)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reflector.run(), name=f"watch slices of {self._pool.node_name}")
            tasks.create_task(self._repair_when_due(), name=f"repair slices of {self._pool.node_name}")

    # --- rounds ------------------------------------------------------------------------------------------------------

    async def _repair_when_due(self) -> None:
        pause = _RETRY_MIN_SECONDS
        while True:
            await self._due.wait()
            await asyncio.sleep(_SETTLE_SECONDS)
            self._due.clear()
            try:
                await self._repair()
                pause = _RETRY_MIN_SECONDS
            except (ApiError, NoAnswer, RivalPublisherError) as error:
                log.warning("slices not repaired", node=self._pool.node_name, error=str(error), again_in=pause)
                self._due.set()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _RETRY_MAX_SECONDS)

    async def _repair(self) -> None:
        async with self._round:
            if self._node is None:
                return
            node = await self._client.get(NODES, ObjectKey("", self._pool.node_name))
            # A Node that was created anew owns the slices: the old owner's would be collected again and again.
            self._pool = NodePool(self._pool.driver, self._pool.node_name, node.uid)
            writes = await self._converge()
            if writes:
                log.info("slices repaired", node=self._pool.node_name, driver=self._pool.driver, writes=writes)

    async def _converge(self) -> int:
        """Rounds of list, decide, write, until one of them was not disturbed."""
        writes = 0
        for attempt in range(_ROUNDS):
            existing, _ = await self._client.list_objects(SLICES, field_selector=self._selector)
            self._refuse_rivals(existing)
            desired = [self._storable.get(index, content) for index, content in enumerate(self._wanted)]
            try:
                for write in plan_writes(self._pool, existing, desired):
                    await self._perform(write)
                    writes += 1
                return writes
            except _Dropped:
                self._want()
            except (ApiError, NoAnswer) as error:
                disturbed = isinstance(error, NoAnswer) or error.status in (404, 409)
                if not disturbed or attempt == _ROUNDS - 1:
                    raise
        raise NoAnswer("the API server drops what it kept before, again and again")

    def _refuse_rivals(self, existing: Sequence[ResourceSlice]) -> None:
        for slice_ in existing:
            managers = sorted({entry.manager for entry in slice_.metadata.managed_fields or ()})
            if managers and FIELD_MANAGER not in managers:
                raise RivalPublisherError(
                    f"the slices of driver {self._pool.driver} on node {self._pool.node_name} are published by "
                    f"{', '.join(managers)} ({slice_.metadata.name}): take that driver off the node and delete its "
                    "slices, or let this agent have another --driver-name"
                )

    async def _perform(self, write: SliceWrite) -> None:
        match write:
            case DeleteSlice():
                try:
                    key = ObjectKey("", write.name)
                    await self._client.delete(SLICES, key, uid=write.uid, resource_version=write.resource_version)
                except ApiError as error:
                    if error.status != 404:
                        raise
            case UpdateSlice():
                if unsure := needed_features(self._wanted[write.index]) - self._kept:
                    self._tried(write.index, unsure, await self._update(write, dry_run=True))
                self._stored(write.index, await self._update(write))
            case CreateSlice():
                if unsure := needed_features(self._wanted[write.index]) - self._kept:
                    self._tried(write.index, unsure, await self._client.create(SLICES, write.body(), dry_run=True))
                self._stored(write.index, await self._client.create(SLICES, write.body()))

    async def _update(self, write: UpdateSlice, *, dry_run: bool = False) -> ResourceSlice:
        key = ObjectKey("", write.name)
        return await self._client.patch(SLICES, key, write.body(), patch_type="merge", dry_run=dry_run)

    # --- what the API server keeps -----------------------------------------------------------------------------------

    def _want(self) -> None:
        """What the slices should say, as far as the API server is known to keep it."""
        node = self._node or NodeDevices()
        wanted = withhold(split_into_slices(node.devices, node.shared_counters), self._dropped)
        if wanted != self._wanted:
            self._wanted, self._storable = wanted, {}

    def _tried(self, index: int, features: set[str], slice_: ResourceSlice) -> None:
        """A dry run came back. Raises _Dropped if something that devices depend on is missing."""
        dropped = features.intersection(dropped_features(self._wanted[index], slice_.spec))
        self._kept |= features - dropped
        if dropped:
            self._drop(dropped)

    def _stored(self, index: int, slice_: ResourceSlice) -> None:
        """Compare what was sent with what came back. Raises _Dropped, as `_tried` does."""
        features = set(dropped_features(self._wanted[index], slice_.spec))
        if needed := features & needed_features(self._wanted[index]):
            self._drop(needed)
        if features:
            self._storable[index] = SliceContent(slice_.spec.devices or (), slice_.spec.shared_counters or ())
            self._warn(features, "its fields are missing from the slices")

    def _drop(self, features: set[str]) -> NoReturn:
        self._dropped |= features
        self._kept -= features
        self._warn(features, "devices that need it are taken out of the slices")
        raise _Dropped

    def _warn(self, features: set[str], consequence: str) -> None:
        for feature in sorted(features - self._warned):
            self._warned.add(feature)
            log.warning(
                "the API server drops fields of slices; is the feature disabled there?",
                feature=feature,
                consequence=consequence,
                node=self._pool.node_name,
            )


class _Dropped(Exception):
    """Decide anew: the API server drops something that devices depend on."""


class _Wake:
    """Any change calls for a round, own writes too: that round finds nothing to do, and needs no bookkeeping."""

    def __init__(self, due: asyncio.Event) -> None:
        self._due = due

    async def replace(self, objects: Sequence[ResourceSlice], resource_version: str) -> None:
        self._due.set()

    def apply(self, type_: str, object_: ResourceSlice) -> None:
        self._due.set()
