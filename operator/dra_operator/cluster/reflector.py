"""A mirror of one resource: list once, then watch, in the exact order of the API server.

ResourceClaims and ResourceSlices need that order: who got a device first is read from it. Everything seen through a
LIST is handed over as a whole (`Sink.replace`), everything from the watch one by one (`Sink.apply`).

How a watch ends, and what is done:

| what happens                                     | next                                              |
|--------------------------------------------------|---------------------------------------------------|
| the server ends it (its timeout)                 | watch again from the last resourceVersion         |
| connection reset, truncated, no data in time     | the same, after a pause                           |
| HTTP 410, or an ERROR event with code 410        | list anew (at once)                               |
| any other HTTP error                             | watch again after a pause that grows              |
| any other ERROR event                            | list anew after a pause that grows                |
| a line that is no JSON or no watch event         | list anew after a pause: something may be missing |
| an object that does not fit the type             | named in the log, left out; the watch goes on     |
| BOOKMARK                                         | only the resourceVersion moves on                 |

Upstream: `Reflector` of client-go/tools/cache.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final, Generic, Protocol, TypeVar

import msgspec
import structlog

from dra_operator.api.codec import decode
from dra_operator.api.kinds import Kind
from dra_operator.api.meta import Object, ObjectMeta, Struct
from dra_operator.api.quantity import QuantityError
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer

log = structlog.get_logger()

O = TypeVar("O", bound=Object)  # noqa: E741
O_contra = TypeVar("O_contra", bound=Object, contravariant=True)

WATCH_SECONDS: Final = 300.0
_PAUSE_MIN: Final = 0.2
_PAUSE_MAX: Final = 30.0


class Sink(Protocol[O_contra]):
    """Where the mirror's content goes. Called in order, never concurrently."""

    def replace(self, objects: Sequence[O_contra], resource_version: str) -> None:
        """This is all there is at that version: what is not in it is gone."""

    def apply(self, type_: str, object_: O_contra) -> None:
        """A watch event, live: `ADDED`, `MODIFIED` or `DELETED`."""


class _Event(Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Head(Struct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    code: int = 0
    message: str = ""


class _Relist(Exception):
    """The watch cannot go on from where it is."""

    def __init__(self, why: str, *, pause: bool) -> None:
        super().__init__(why)
        self.pause = pause


class Reflector(Generic[O]):
    """See the module. `run` never returns; `synced` is set after the first LIST has been handed over."""

    def __init__(
        self,
        client: ApiClient,
        kind: Kind[O],
        sink: Sink[O],
        *,
        rng: random.Random,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._client = client
        self._kind = kind
        self._sink = sink
        self._rng = rng
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._watch_seconds = watch_seconds
        self._version = ""
        self._failures = 0
        self.synced = asyncio.Event()
        self.lists = 0
        """How often it was listed; more than once says that watches were lost."""

    async def run(self) -> None:
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except _Relist as reason:
                log.info("listing anew", resource=self._kind.plural, why=str(reason))
                self._version = ""
                if reason.pause:
                    await self._pause()
            except (ApiError, NoAnswer) as error:
                log.warning("watch broken", resource=self._kind.plural, error=str(error))
                if isinstance(error, ApiError) and error.status == 410:
                    self._version = ""
                else:
                    await self._pause()

    async def _list(self) -> None:
        raw, version = await self._client.list_raw(
            self._kind,
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        objects = [object_ for item in raw if (object_ := self._decode(item)) is not None]
        self._sink.replace(objects, version)
        self._version = version
        self.lists += 1
        self.synced.set()

    async def _watch(self) -> None:
        lines = self._client.watch(
            self._kind,
            resource_version=self._version,
            timeout=self._watch_seconds * self._rng.uniform(0.8, 1.2),
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        async with aclosing(lines):
            async for line in lines:
                self._take(line)
                self._failures = 0

    def _take(self, line: bytes) -> None:
        try:
            event = decode(line, _Event)
            head = decode(event.object, _Head)
        except msgspec.DecodeError as error:
            raise _Relist(f"a line that is no watch event: {error}", pause=True) from error
        if event.type == "ERROR":
            raise _Relist(f"the server says {head.code}: {head.message}", pause=head.code != 410)
        if event.type in ("ADDED", "MODIFIED", "DELETED"):
            object_ = self._decode(event.object)
            if object_ is not None:
                self._sink.apply(event.type, object_)
        self._version = head.metadata.resource_version or self._version

    def _decode(self, raw: msgspec.Raw) -> O | None:
        try:
            return decode(raw, self._kind.type)
        except (msgspec.DecodeError, QuantityError) as error:
            try:
                key = str(decode(raw, _Head).metadata.key)
            except msgspec.DecodeError:
                key = "?"
            log.error("object left out, it does not fit the API", kind=self._kind.kind, name=key, error=str(error))
            return None

    async def _pause(self) -> None:
        pause = min(_PAUSE_MAX, _PAUSE_MIN * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        await asyncio.sleep(pause * self._rng.uniform(0.5, 1.0))
