"""What a real API server says to an object, as values that can be compared with our own answer.

Every question is asked with `dryRun=All&fieldValidation=Strict`. A question about a change needs an object that is
there: whoever asks stores it, and deletes it afterwards.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import yaml

from tests.corpus import Answer

_PLURALS: Final = {
    "DeviceClass": "deviceclasses",
    "DeviceTaintRule": "devicetaintrules",
    "ResourceClaim": "resourceclaims",
    "ResourceClaimTemplate": "resourceclaimtemplates",
    "ResourceSlice": "resourceslices",
    "Pod": "pods",
}
CLUSTER_SCOPED: Final = frozenset({"DeviceClass", "DeviceTaintRule", "ResourceSlice"})
_AT_ONCE: Final = 16
_STRICT: Final = {"dryRun": "All", "fieldValidation": "Strict"}


class Reviewer:
    """Asks one API server. Use it as an async context manager."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._server = cluster["server"]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=_AT_ONCE),
            headers={"Authorization": f"Bearer {user['token']}"},
        )
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self.namespace = namespace

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def on_create(self, kind: str, text: str, namespace: str = "") -> Answer:
        """The answer to the creation of this object, given as JSON."""
        return _answer(*await self._send("POST", self._path(kind, namespace), text, _STRICT))

    async def on_update(self, kind: str, text: str, name: str, namespace: str = "", *, subresource: str = "") -> Answer:
        """The answer to the change of the object of this name."""
        path = f"{self._path(kind, namespace)}/{name}"
        return _answer(*await self._send("PUT", f"{path}/{subresource}" if subresource else path, text, _STRICT))

    async def store(self, kind: str, object_: dict[str, Any], namespace: str = "") -> dict[str, Any]:
        """Create it, with its status. Returns what is stored."""
        path = self._path(kind, namespace)
        stored = _succeeded(*await self._send("POST", path, json.dumps(object_), {}))
        if "status" in object_:
            whole = {**stored, "status": object_["status"]}
            where = f"{path}/{stored['metadata']['name']}/status"
            stored = _succeeded(*await self._send("PUT", where, json.dumps(whole), {}))
        return stored

    async def read(self, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
        return _succeeded(*await self._send("GET", f"{self._path(kind, namespace)}/{name}", "", {}))

    async def delete(self, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
        """Delete it. Returns what is left of it for now."""
        return _succeeded(*await self._send("DELETE", f"{self._path(kind, namespace)}/{name}", "", {}))

    async def release(self, kind: str, name: str, namespace: str = "") -> None:
        """Take all finalizers away."""
        patch = json.dumps({"metadata": {"finalizers": None}})
        path = f"{self._path(kind, namespace)}/{name}"
        _succeeded(*await self._send("PATCH", path, patch, {}, "application/merge-patch+json"))

    def _path(self, kind: str, namespace: str) -> str:
        group = "/api/v1" if kind == "Pod" else "/apis/resource.k8s.io/v1"
        place = "" if kind in CLUSTER_SCOPED else f"/namespaces/{namespace or self.namespace}"
        return f"{group}{place}/{_PLURALS[kind]}"

    async def _send(
        self, method: str, path: str, text: str, params: dict[str, str], content_type: str = "application/json"
    ) -> tuple[int, dict[str, Any]]:
        async with (
            self._turns,
            self._session.request(
                method,
                self._server + path,
                params=params,
                data=text.encode() if text else None,
                headers={"Content-Type": content_type},
            ) as response,
        ):
            return response.status, await response.json()


def _answer(status: int, body: dict[str, Any]) -> Answer:
    if status < 300:
        return Answer()
    causes = body.get("details", {}).get("causes")
    if body.get("reason") == "Invalid" and causes:
        return Answer(errors=tuple(f"{cause.get('field', '')}: {cause['message']}" for cause in causes))
    return Answer(message=body["message"])


def _succeeded(status: int, body: dict[str, Any]) -> dict[str, Any]:
    assert status < 300, body.get("message", body)
    return body
