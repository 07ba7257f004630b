"""A small API server for the tests of `cluster/`: real HTTP and the API's wire format, objects in a dict.

It knows what the tests rely on: resourceVersions and their conflicts, merge patches, lists in chunks and of metadata
only, and the limits that the real server sets to Events. `faults` come before anything else, and may answer, wait
for ever or do nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

from dra_operator.cluster.http import ApiClient
from tests.virtual_loop import run_virtual

T = TypeVar("T")
Fault = Callable[[web.Request], Awaitable[web.Response | None]]

_METADATA_ONLY = "as=PartialObjectMetadataList"
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the server got it."""

    at: float
    method: str
    path: str
    query: dict[str, str]
    accept: str
    content_type: str
    body: Any


@dataclass
class ApiServer:
    """See the module. Objects by the path of each."""

    url: str = ""
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    version: int = 0

    def client(self) -> ApiClient:
        return ApiClient(self.url)

    def requests(self, method: str) -> list[Asked]:
        return [one for one in self.asked if one.method == method]

    def put(self, path: str, object_: dict[str, Any]) -> dict[str, Any]:
        """Set an object as another client would: new version, its uid kept or made."""
        self.version += 1
        old = self.objects.get(path, {}).get("metadata", {})
        metadata = {"uid": old.get("uid") or str(uuid.uuid4()), **(object_.get("metadata") or {})}
        metadata["resourceVersion"] = str(self.version)
        self.objects[path] = {**object_, "metadata": metadata}
        return self.objects[path]

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        body: Any = json.loads(text) if text else None
        self.asked.append(
            Asked(
                asyncio.get_running_loop().time(),
                request.method,
                request.path,
                dict(request.query),
                request.headers.get("Accept", ""),
                request.content_type,
                body,
            )
        )
        for fault in list(self.faults):
            if (answer := await fault(request)) is not None:
                return answer
        match request.method:
            case "GET" if request.path in self.objects:
                return web.json_response(self.objects[request.path])
            case "GET":
                return self.answer_list(request)
            case "POST":
                return self._create(request.path, body)
            case "PATCH":
                return self._patch(request.path, request.content_type, body)
        return status(405, "MethodNotAllowed")

    def answer_list(self, request: web.Request) -> web.Response:
        root, _, plural = request.path.rpartition("/")
        if plural not in _PLURALS:
            return status(404, "NotFound")
        found = sorted(path for path in self.objects if path.startswith(root) and path.split("/")[-2] == plural)
        begin = int(request.query.get("continue", 0))
        end = begin + int(request.query.get("limit", len(found) + 1))
        items = [self.objects[path] for path in found[begin:end]]
        kind = "List"
        if _METADATA_ONLY in request.headers.get("Accept", ""):
            kind = "PartialObjectMetadataList"
            items = [{"kind": "PartialObjectMetadata", "metadata": item["metadata"]} for item in items]
        metadata = {"resourceVersion": str(self.version)}
        if end < len(found):
            metadata["continue"] = str(end)
        return web.json_response({"kind": kind, "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})

    def _create(self, collection: str, body: dict[str, Any]) -> web.Response:
        path = f"{collection}/{body['metadata']['name']}"
        if path in self.objects:
            return status(409, "AlreadyExists")
        return self._accept(path, body, 201)

    def _patch(self, path: str, content_type: str, body: dict[str, Any]) -> web.Response:
        if path not in self.objects:
            return status(404, "NotFound")
        if content_type != "application/merge-patch+json":
            return status(415, "UnsupportedMediaType")
        old = self.objects[path]
        stated = body.get("metadata", {})
        if any(stated.get(name, old["metadata"][name]) != old["metadata"][name] for name in ("uid", "resourceVersion")):
            return status(409, "Conflict")
        return self._accept(path, merged(old, body), 200)

    def _accept(self, path: str, new: dict[str, Any], code: int) -> web.Response:
        if "/events/" in path and (wrong := wrong_in_event(new, self.objects.get(path))):
            return status(422, "Invalid", wrong)
        return web.json_response(self.put(path, new), status=code)


_PLURALS = {"pods", "nodes", "events", "resourceslices"}


def status(code: int, reason: str, message: str = "", *, retry_after: int | None = None) -> web.Response:
    """A failure as the API server words it."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message or reason}
    return web.json_response(body, status=code, headers=headers)


def merged(old: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    new = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        else:
            new[name] = merged(new.get(name), value)
    return new


def wrong_in_event(event: dict[str, Any], old: dict[str, Any] | None) -> str:
    """What the real server refuses in an events.k8s.io/v1 Event; its limits count bytes."""
    metadata = event["metadata"]
    limits = {"reason": 128, "action": 128, "reportingController": 128, "reportingInstance": 128}
    if any(not 0 < len(event.get(name, "").encode()) <= limit for name, limit in limits.items()):
        return "reason, action, reportingController and reportingInstance: 1 to 128 bytes each"
    if len(event.get("note", "").encode()) > 1024:
        return "note: more than 1024 bytes"
    if not (_SUBDOMAIN.fullmatch(metadata["name"]) and len(metadata["name"]) <= 253):
        return f"name {metadata['name']!r}: no DNS subdomain"
    if event.get("type") not in ("Normal", "Warning") or not event.get("eventTime"):
        return "type: Normal or Warning; eventTime: required"
    if event["regarding"].get("namespace", "") not in ("", metadata["namespace"]):
        return "regarding.namespace: not the Event's"
    series = event.get("series")
    if series is not None and not (series["count"] >= 2 and series.get("lastObservedTime")):
        return "series: count at least 2, lastObservedTime required"
    same = ("note", "reason", "action", "type", "regarding", "eventTime", "reportingController", "reportingInstance")
    if old is not None and any(event.get(name) != old.get(name) for name in same):
        return "only the series may change"
    return ""


@asynccontextmanager
async def serving() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def play(scenario: Callable[[ApiServer], Coroutine[Any, Any, T]], *, seed: int = 0) -> T:
    """Run the scenario with a server of its own, in virtual time."""

    async def main() -> T:
        async with serving() as server:
            return await scenario(server)

    return run_virtual(main(), seed=seed)


async def until(condition: Callable[[], object], *, within: float = 60.0) -> None:
    """Wait, in virtual time, for the condition."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)
