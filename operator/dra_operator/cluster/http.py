"""One thin client for the Kubernetes API: controller, agent, sandbox and CLI share it.

It knows paths, content types and the forms of lists, patches and watches, and nothing about what objects mean. Bodies
are typed objects in and out; watches are lines.

A LIST is consistent: all its pages are of one resourceVersion, and that is at least as new as anything anyone had seen
when it began (the census stands on that). Where the server forgets the version between two pages, it starts over.

Upstream: client-go's dynamic and metadata clients. Not here: connection, errors and repetition (`wire.py`), reading
kubeconfigs (`kubeconfig.py`), what a watch means (`reflector.py`).
"""

from __future__ import annotations

import copy
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import aiohttp
import msgspec

from dra_operator import __version__
from dra_operator.api.codec import decode, encode
from dra_operator.api.kinds import Kind
from dra_operator.api.meta import Object, ObjectKey, ObjectMeta, Struct, Uid
from dra_operator.api.names import FIELD_MANAGER
from dra_operator.api.quantity import QuantityError
from dra_operator.cluster.errors import ApiError, GarbledWatch, NoAnswer, NotSent, error_of
from dra_operator.cluster.lent import Lent
from dra_operator.cluster.pace import Endpoint, Pace
from dra_operator.cluster.sign import Authenticator, Token, TokenFile
from dra_operator.cluster.wire import REQUEST_SECONDS, WATCH_IDLE_SECONDS, WATCH_LINE_MAX, Response, Wire

__all__ = [
    "LIST_CHUNK",
    "WATCH_LINE_MAX",
    "ApiClient",
    "ApiError",
    "GarbledWatch",
    "NoAnswer",
    "NotSent",
    "PatchType",
    "Response",
    "error_of",
]

O = TypeVar("O", bound=Object)  # noqa: E741
T = TypeVar("T")

PatchType = Literal["merge", "strategic", "apply", "json"]
_PATCH_CONTENT: Final[dict[PatchType, str]] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
    "json": "application/json-patch+json",
}
_JSON: Final = "application/json"
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_GONE: Final = 410
LIST_CHUNK: Final = 500


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


P = TypeVar("P", _List, _PartialList)


class ApiClient:
    """See the module. One per process; close it (or use it as an async context manager)."""

    def __init__(
        self,
        server: str,
        *,
        token: str | None = None,
        token_file: Path | None = None,
        authenticator: Authenticator | None = None,
        ssl_context: ssl.SSLContext | bool = True,
        headers: Sequence[tuple[str, str]] = (),
        user_agent: str = f"dra-operator/{__version__}",
        timeout: float = REQUEST_SECONDS,
        server_name: str | None = None,
        proxy: str | None = None,
        distrusted: Callable[[], None] | None = None,
        field_manager: str = FIELD_MANAGER,
    ) -> None:
        """Who we are is one of: an authenticator, a token file, a token, or the client certificate of `ssl_context`.

        `timeout` is seconds a request with all its repetitions. `server_name` is what the server's certificate has
        to name where that is not the host; `proxy` the URL of the proxy that leads to it. `distrusted` is called when
        its certificate was not trusted, so that the next attempt may fare better.
        """
        signs = authenticator or (TokenFile(token_file) if token_file is not None else Token(token))
        named = [("User-Agent", user_agent), *headers]
        self.server = server.rstrip("/")
        self._wire = Wire(
            self.server,
            signs,
            ssl_context=ssl_context,
            headers=named,
            timeout=timeout,
            server_name=server_name,
            proxy=proxy,
            distrusted=distrusted,
        )
        self._field_manager = field_manager
        self._allow: Callable[[], bool] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._wire.close()

    def observe(
        self,
        called: Callable[[str, int | None], None],
        answered: Callable[[Endpoint, str, ApiError | None], None],
    ) -> None:
        """`called` is told of every request: its method, and the status of its answer or None if there was none.

        `answered` of every answer: what was asked for, its path, and the error unless it was a success.
        """
        self._wire.called, self._wire.answered = called, answered

    def lend(self) -> aiohttp.ClientSession:
        """A session for a library that lists and watches by itself; see `lent.py`. It closes it."""
        return self._wire.open(Lent(self._wire))

    @property
    def pace(self) -> Pace:
        """When requests may be sent: to limit them, and to ask how many wait."""
        return self._wire.pace

    def guarded(self, allow: Callable[[], bool]) -> ApiClient:
        """The same client and connections, which asks `allow` before every attempt and raises `NotSent` at a no."""
        guarded = copy.copy(self)
        guarded._allow = allow
        return guarded

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        timeout: float | None = None,
    ) -> Response:
        """One request, repeated only where that is safe. Raises `ApiError`, `NoAnswer` or, if guarded, `NotSent`."""
        return await self._wire.request(
            method,
            path,
            params=params,
            body=body,
            content_type=content_type,
            accept=accept,
            timeout=timeout,
            allow=self._allow,
        )

    # --- typed -------------------------------------------------------------------------------------------------------

    async def get(self, kind: Kind[O], key: ObjectKey) -> O:
        return _read((await self.request("GET", kind.path(key))).body, kind.type)

    async def list_objects(
        self,
        kind: Kind[O],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = LIST_CHUNK,
    ) -> tuple[list[O], str]:
        """All objects, in chunks of `limit`, and the resourceVersion that a watch goes on from."""
        raw, version = await self.list_raw(
            kind, namespace=namespace, label_selector=label_selector, field_selector=field_selector, limit=limit
        )
        return [_read(item, kind.type) for item in raw], version

    async def list_raw(
        self,
        kind: Kind[O],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = LIST_CHUNK,
    ) -> tuple[list[msgspec.Raw], str]:
        """Like `list_objects`, each still in JSON: one that cannot be decoded does not take the others along."""
        params = _params(labelSelector=label_selector, fieldSelector=field_selector, limit=str(limit))
        pages = await self._pages(kind.collection_path(namespace), params, _List, accept=_JSON)
        return [item for page in pages for item in page.items or ()], pages[-1].metadata.resource_version

    async def list_metadata(
        self,
        kind: Kind[Any],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = LIST_CHUNK,
    ) -> tuple[list[ObjectMeta], str]:
        """Only the metadata of all objects (`PartialObjectMetadataList`)."""
        params = _params(labelSelector=label_selector, fieldSelector=field_selector, limit=str(limit))
        pages = await self._pages(kind.collection_path(namespace), params, _PartialList, accept=_METADATA_ONLY)
        items = [item.metadata for page in pages for item in page.items or ()]
        return items, pages[-1].metadata.resource_version

    async def any_exists(self, kind: Kind[Any]) -> bool:
        """Whether there is an object of the kind anywhere."""
        answer = await self.request("GET", kind.collection_path(), params={"limit": "1"}, accept=_METADATA_ONLY)
        return bool(_read(answer.body, _PartialList).items)

    async def _pages(self, path: str, params: dict[str, str], type_: type[P], *, accept: str) -> list[P]:
        pages: list[P] = []
        token = ""  # of the list # nosec B105
        while True:
            try:
                answer = await self.request("GET", path, params=params | _params(**{"continue": token}), accept=accept)
            except ApiError as error:
                if error.status != _GONE or not token:
                    raise
                pages, token = [], ""  # the rest of an old list is gone: take a new one, in one piece
                params = {name: value for name, value in params.items() if name != "limit"}
                continue
            page = _read(answer.body, type_)
            pages.append(page)
            token = page.metadata.continue_
            if not token:
                return pages

    async def create(
        self, kind: Kind[O], object_: O | Mapping[str, Any], *, namespace: str = "", dry_run: bool = False
    ) -> O:
        """POST; the namespace is the object's own unless given."""
        if isinstance(object_, Object):
            where = namespace or object_.metadata.namespace
            body: Any = msgspec.structs.replace(object_, api_version=kind.api_version, kind=kind.kind)
        else:
            where = namespace or object_.get("metadata", {}).get("namespace", "")
            body = {"apiVersion": kind.api_version, "kind": kind.kind, **object_}
        params = _params(fieldManager=self._field_manager, dryRun="All" if dry_run else "")
        path = kind.collection_path(where if kind.namespaced else "")
        return _read((await self.request("POST", path, params=params, body=encode(body))).body, kind.type)

    async def update(self, kind: Kind[O], object_: O, *, subresource: str = "") -> O:
        """PUT of the whole object, conditional on its resourceVersion."""
        path = kind.path(object_.key, subresource)
        params = _params(fieldManager=self._field_manager)
        body = msgspec.structs.replace(object_, api_version=kind.api_version, kind=kind.kind)
        answer = await self.request("PUT", path, params=params, body=encode(body))
        return _read(answer.body, kind.type)

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
            fieldManager=field_manager or self._field_manager,
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
        return _read(answer.body, kind.type)

    async def delete(
        self,
        kind: Kind[O],
        key: ObjectKey,
        *,
        uid: Uid | None = None,
        resource_version: str = "",
        grace_seconds: int | None = None,
    ) -> O | None:
        """DELETE with preconditions. Returns the object if it stays for now (finalizers, grace), None if it is gone.

        Raises `ApiError` 404 if there was none, 409 if a precondition does not hold.
        """
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if preconditions := _params(uid=uid or "", resourceVersion=resource_version):
            options["preconditions"] = preconditions
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        answer = await self.request("DELETE", kind.path(key), body=encode(options))
        left = _read(answer.body, _PartialObject).metadata
        stays = left.deletion_timestamp and (left.finalizers or left.deletion_grace_period_seconds)
        return _read(answer.body, kind.type) if stays else None

    def watch(
        self,
        kind: Kind[Any],
        *,
        resource_version: str,
        timeout: float,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        idle_seconds: float = WATCH_IDLE_SECONDS,
    ) -> AsyncGenerator[bytes, None]:
        """The lines of one watch, until the server ends it. Raises `ApiError`, `NoAnswer` or `GarbledWatch`.

        `timeout`: seconds the server is asked to keep it open. It is given up after `idle_seconds` of silence.
        """
        params = _params(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            timeoutSeconds=str(max(1, int(timeout))),
            labelSelector=label_selector,
            fieldSelector=field_selector,
        )
        return self._wire.lines(
            kind.collection_path(namespace), params=params, seconds=timeout, idle_seconds=idle_seconds
        )


def _read(data: bytes | msgspec.Raw, type_: type[T]) -> T:
    """The answer, decoded. Raises `NoAnswer`: it may come from a proxy, and says nothing that we understand."""
    try:
        return decode(data, type_)
    except (msgspec.DecodeError, UnicodeDecodeError, QuantityError) as error:
        name = getattr(type_, "__name__", "")
        raise NoAnswer(f"the answer is no {name.removeprefix('_')}: {error}") from error


def _params(**given: str) -> dict[str, str]:
    return {name: value for name, value in given.items() if value}
