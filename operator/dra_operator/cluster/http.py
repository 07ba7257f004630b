"""One thin HTTP client for the Kubernetes API: controller, agent, sandbox and CLI share it.

It knows paths, content types, `metav1.Status` errors and what may be repeated, and nothing about what objects mean.
Bodies are bytes in and typed objects out; watches are lines.

What is repeated: reads, after a broken connection or a 5xx; anything that the server turned away before looking at it
(429, and 503 with Retry-After), after the time it names. Writes whose answer was lost are the caller's to judge.

Upstream: client-go's rest package, `metav1.Status`. Not here: reading kubeconfigs (`kubeconfig.py`), watch semantics
(`reflector.py`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import aiohttp
import msgspec

from dra_operator import __version__
from dra_operator.api.codec import decode, encode
from dra_operator.api.kinds import Kind
from dra_operator.api.meta import Object, ObjectKey, ObjectMeta, Struct, Uid

O = TypeVar("O", bound=Object)  # noqa: E741

PatchType = Literal["merge", "strategic", "apply", "json"]
_PATCH_CONTENT: Final[dict[PatchType, str]] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
    "json": "application/json-patch+json",
}
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_RETRIES: Final = 4
_RETRY_PAUSE: Final = 0.2
_MAX_RETRY_AFTER: Final = 10.0
LIST_CHUNK: Final = 500
WATCH_LINE_MAX: Final = 4 * 1024 * 1024


class ApiError(Exception):
    """The API server's answer was not a success: `metav1.Status` with what a caller decides on."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class NoAnswer(Exception):
    """The connection failed or the time was up; whether the request took effect is not known."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


class _Status(Struct, frozen=True):
    message: str = ""
    reason: str = ""


class _ListMeta(Struct, frozen=True):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(Struct, frozen=True):
    metadata: _ListMeta = _ListMeta()
    items: tuple[msgspec.Raw, ...] | None = None


class _PartialObject(Struct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()


class _PartialList(Struct, frozen=True):
    metadata: _ListMeta = _ListMeta()
    items: tuple[_PartialObject, ...] | None = None


class ApiClient:
    """See the module. One per process; close it (or use it as an async context manager)."""

    def __init__(
        self,
        server: str,
        *,
        token: str | None = None,
        token_file: Path | None = None,
        ssl_context: ssl.SSLContext | bool = True,
        headers: Mapping[str, str] | None = None,
        user_agent: str = f"dra-operator/{__version__}",
        timeout: float = 30.0,
    ) -> None:
        """`token_file` is read again when it changes (bound tokens rotate). `timeout` is seconds a request."""
        self.server = server.rstrip("/")
        self._token = token
        self._token_file = token_file
        self._token_read: tuple[float, str] = (0.0, "")
        self._ssl = ssl_context
        self._headers = {"User-Agent": user_agent, **(headers or {})}
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- requests ----------------------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float | None = None,
    ) -> Response:
        """One request, repeated only where that is safe. Raises `ApiError` or `NoAnswer`."""
        for attempt in range(_RETRIES + 1):
            last = attempt == _RETRIES
            try:
                return await self._once(method, path, params, body, content_type, accept, timeout)
            except NoAnswer:
                if method != "GET" or last:
                    raise
                pause = _RETRY_PAUSE * 2**attempt
            except ApiError as error:
                turned_away = error.status in (429, 503) and error.retry_after is not None
                if last or not (turned_away or (method == "GET" and error.status >= 500)):
                    raise
                pause = min(error.retry_after or _RETRY_PAUSE * 2**attempt, _MAX_RETRY_AFTER)
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: bytes | None,
        content_type: str,
        accept: str,
        timeout: float | None,
    ) -> Response:
        headers = {"Accept": accept, **self._authorization()}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            async with self._open().request(
                method,
                self.server + path,
                params=params,
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout or self._timeout),
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(f"{method} {path}: {type(error).__name__}: {error}") from error
        if answer.status >= 400:
            raise error_of(answer.status, answer.headers, content)
        return Response(answer.status, answer.headers, content)

    # --- typed -------------------------------------------------------------------------------------------------------

    async def get(self, kind: Kind[O], key: ObjectKey) -> O:
        return decode((await self.request("GET", kind.path(key))).body, kind.type)

    async def list_objects(
        self,
        kind: Kind[O],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> tuple[list[O], str]:
        """All objects, in chunks, and the resourceVersion that a watch goes on from."""
        raw, version = await self.list_raw(
            kind, namespace=namespace, label_selector=label_selector, field_selector=field_selector
        )
        return [decode(item, kind.type) for item in raw], version

    async def list_raw(
        self,
        kind: Kind[O],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> tuple[list[msgspec.Raw], str]:
        """Like `list_objects`, each still in JSON: one that cannot be decoded does not take the others along."""
        items: list[msgspec.Raw] = []
        params = _params(labelSelector=label_selector, fieldSelector=field_selector, limit=str(LIST_CHUNK))
        while True:
            answer = await self.request("GET", kind.collection_path(namespace), params=params)
            page = decode(answer.body, _List)
            items += page.items or ()
            if not page.metadata.continue_:
                return items, page.metadata.resource_version
            params = {**params, "continue": page.metadata.continue_}

    async def list_metadata(self, kind: Kind[O]) -> tuple[list[ObjectMeta], str]:
        """Only the metadata of all objects (`PartialObjectMetadataList`)."""
        items: list[ObjectMeta] = []
        params = {"limit": str(LIST_CHUNK)}
        while True:
            answer = await self.request("GET", kind.collection_path(), params=params, accept=_METADATA_ONLY)
            page = decode(answer.body, _PartialList)
            items += [item.metadata for item in page.items or ()]
            if not page.metadata.continue_:
                return items, page.metadata.resource_version
            params = {**params, "continue": page.metadata.continue_}

    async def create(
        self, kind: Kind[O], object_: O | Mapping[str, Any], *, namespace: str = "", dry_run: bool = False
    ) -> O:
        """POST; the namespace is the object's own unless given."""
        where = namespace or (object_.metadata.namespace if isinstance(object_, Object) else "")
        params = _params(fieldManager=_MANAGER, dryRun="All" if dry_run else "")
        path = kind.collection_path(where if kind.namespaced else "")
        return decode((await self.request("POST", path, params=params, body=encode(object_))).body, kind.type)

    async def update(self, kind: Kind[O], object_: O, *, subresource: str = "") -> O:
        """PUT of the whole object, conditional on its resourceVersion."""
        path = kind.path(object_.key, subresource)
        answer = await self.request("PUT", path, params=_params(fieldManager=_MANAGER), body=encode(object_))
        return decode(answer.body, kind.type)

    async def patch(
        self,
        kind: Kind[O],
        key: ObjectKey,
        body: Any,
        *,
        patch_type: PatchType,
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> O:
        params = _params(
            fieldManager=field_manager or _MANAGER,
            force="true" if force else "",
            dryRun="All" if dry_run else "",
        )
        answer = await self.request(
            "PATCH",
            kind.path(key, subresource),
            params=params,
            body=encode(body),
            content_type=_PATCH_CONTENT[patch_type],
        )
        return decode(answer.body, kind.type)

    async def delete(
        self,
        kind: Kind[O],
        key: ObjectKey,
        *,
        uid: Uid | None = None,
        resource_version: str = "",
        grace_seconds: int | None = None,
    ) -> None:
        """DELETE with preconditions. Raises `ApiError` 404 if it is gone, 409 if a precondition does not hold."""
        preconditions = _params(uid=uid or "", resourceVersion=resource_version)
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if preconditions:
            options["preconditions"] = preconditions
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        await self.request("DELETE", kind.path(key), body=encode(options))

    async def watch(
        self,
        kind: Kind[O],
        *,
        resource_version: str,
        timeout: float,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[bytes]:
        """The lines of one watch, until the server ends it. `timeout`: seconds the server is asked to keep it open."""
        params = _params(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            timeoutSeconds=str(int(timeout)),
            labelSelector=label_selector,
            fieldSelector=field_selector,
        )
        try:
            async with self._open().get(
                self.server + kind.collection_path(namespace),
                params=params,
                headers={"Accept": "application/json", **self._authorization()},
                timeout=aiohttp.ClientTimeout(total=timeout + 30, sock_connect=10, sock_read=timeout + 10),
            ) as answer:
                if answer.status >= 400:
                    raise error_of(answer.status, answer.headers, await answer.read())
                buffer = bytearray()
                async for chunk in answer.content.iter_any():
                    buffer += chunk
                    while (end := buffer.find(b"\n")) >= 0:
                        line = bytes(buffer[:end])
                        del buffer[: end + 1]
                        if line:
                            yield line
                    if len(buffer) > WATCH_LINE_MAX:
                        raise NoAnswer(f"watch of {kind.plural}: a line of more than {WATCH_LINE_MAX} bytes")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(f"watch of {kind.plural}: {type(error).__name__}: {error}") from error

    # --- connection --------------------------------------------------------------------------------------------------

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._ssl, limit=0, limit_per_host=0, keepalive_timeout=60)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, auto_decompress=True, trust_env=False
            )
        return self._session

    def _authorization(self) -> dict[str, str]:
        token = self._token
        if self._token_file is not None:
            changed = self._token_file.stat().st_mtime
            if changed != self._token_read[0]:
                self._token_read = (changed, self._token_file.read_text().strip())
            token = self._token_read[1]
        return {"Authorization": f"Bearer {token}"} if token else {}


_MANAGER: Final = "dra-operator"


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error that an answer carries; a body that is no Status is quoted in part."""
    try:
        said = decode(body, _Status)
    except msgspec.DecodeError:
        said = _Status(message=body[:200].decode(errors="replace"))
    after = headers.get("Retry-After", "")
    return ApiError(status, said.reason, said.message, float(after) if after.isdigit() else None)


def _params(**given: str) -> dict[str, str]:
    return {name: value for name, value in given.items() if value}
