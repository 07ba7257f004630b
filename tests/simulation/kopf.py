"""Kopf's part of a replica: lists and watches that end in the controller's `observe`, with Kopf's oddities.

- A list is told object by object with the type None; deletions that happened before it are never told.
- Events of one UID keep their order; those of two may change places.
- An expired watch is followed by a list; anything else goes on from the last resourceVersion.
- What ends Kopf altogether (other errors) has it restarted in place, which lists everything again.

Upstream: kopf/_cogs/clients/watching.py, kopf/_core/reactor/queueing.py.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec

from dra_operator.api.kinds import Kind
from dra_operator.cluster.http import ApiClient, ApiError, GarbledWatch, NoAnswer
from dra_operator.controller.controller import Controller
from dra_operator.controller.mirrors import KOPF_KINDS
from tests.simulation.model.fields import Json

_LATENESS = (0.0, 0.0, 0.0, 0.002, 0.02)


class KopfModel:
    """See the module."""

    def __init__(self, client: ApiClient, controller: Controller, rng: random.Random) -> None:
        self._client = client
        self._controller = controller
        self._rng = rng
        self._due: dict[str, float] = {}

    def watches(self) -> list[Any]:
        """What has to run."""
        return [self._follow(kind) for kind in KOPF_KINDS]

    async def _follow(self, kind: Kind[Any]) -> None:
        while True:
            try:
                version = await self._list(kind)
                while version:
                    version = await self._watch(kind, version)
            except (ApiError, NoAnswer, GarbledWatch):
                await asyncio.sleep(self._rng.uniform(0.1, 1.0))

    async def _list(self, kind: Kind[Any]) -> str:
        raw, version = await self._client.list_raw(kind)
        for item in raw:
            self._tell(kind, None, msgspec.json.decode(item))
        return version

    async def _watch(self, kind: Kind[Any], version: str) -> str:
        """One watch. Returns the version to go on from; empty: to list anew."""
        try:
            async for line in self._client.watch(kind, resource_version=version, timeout=300):
                try:
                    event = msgspec.json.decode(line)
                except msgspec.DecodeError:
                    break
                if event["type"] == "ERROR":
                    return ""
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._tell(kind, event["type"], event["object"])
        except NoAnswer:
            await asyncio.sleep(0.1)
        return version

    def _tell(self, kind: Kind[Any], type_: str | None, body: Json) -> None:
        loop = asyncio.get_running_loop()
        uid = body["metadata"]["uid"]
        due = max(self._due.get(uid, 0.0) + 1e-6, loop.time() + self._rng.choice(_LATENESS))
        self._due[uid] = due
        loop.call_at(due, self._controller.observe, kind, type_, body)
