"""Every revision of a cluster, read from its etcd: what happened, in the order in which it happened.

The API server's watches order the objects of one kind only, and end with it. etcd orders everything, and a watch is
taken up again at the revision where it broke off. The API server has to store JSON for this
(`--storage-media-type=application/json`).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from dra_operator.api.meta import ObjectKey

_AGAIN: Final = 0.1
_KINDS: Final = {"pods": True, "resourceclaims": True, "resourceslices": False}
"""What is read, and whether it lives in namespaces."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One object as of one revision; without `value` it was deleted then."""

    number: int
    kind: str
    key: ObjectKey
    value: bytes | None


async def watch_history(server: str, first: int = 1) -> AsyncIterator[Revision]:
    """Revisions from `first` on, for ever. Raises `RuntimeError` if etcd has dropped one that was not read yet."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        while True:
            try:
                async for answer in _watch(session, server, first):
                    for revision in _revisions(answer):
                        first = max(first, revision.number + 1)
                        yield revision
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(_AGAIN)


async def _watch(session: aiohttp.ClientSession, server: str, first: int) -> AsyncIterator[dict[str, Any]]:
    request = {"key": _encode("/registry/"), "range_end": _encode("/registry0"), "start_revision": str(first)}
    async with session.post(f"{server}/v3/watch", json={"create_request": request}) as response:
        rest = b""
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                result = json.loads(line)["result"]
                if result.get("canceled"):
                    raise RuntimeError(f"etcd does not have revision {first} any more: {result}")
                yield result


def _revisions(answer: dict[str, Any]) -> list[Revision]:
    """Those of the kinds that are read. The events of one revision come in one answer."""
    found = []
    for event in answer.get("events", ()):
        stored = event["kv"]
        parts = base64.b64decode(stored["key"]).decode().removeprefix("/registry/").split("/")
        kind = parts[0]
        if kind not in _KINDS:
            continue
        namespace, name = (parts[1], parts[2]) if _KINDS[kind] else ("", parts[1])
        value = None if event.get("type") == "DELETE" else base64.b64decode(stored["value"])
        found.append(Revision(int(stored["mod_revision"]), kind, ObjectKey(namespace, name), value))
    return found


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
