"""A mirror of one resource: list once, then watch, in the exact order of the API server.

ResourceClaims and ResourceSlices need that order: who got a device first is read from it. Everything seen through a
LIST is handed over as a whole (`Sink.replace`), everything from the watch one by one (`Sink.apply`).

What can happen to a watch, and what is done (tests/unit/cluster/test_reflector.py has a test for each row):

| what happens                                          | next                                                      |
|-------------------------------------------------------|-----------------------------------------------------------|
| the server ends it (its timeout)                      | watch again from the last resourceVersion, at once        |
| the server ends it within a second, without a word    | the same, after a pause that grows                        |
| connection reset or refused, truncated, long silence  | the same                                                  |
| HTTP 429 or 5xx                                       | the same; no sooner than Retry-After                      |
| the fourth such failure in a row                      | list anew: a resourceVersion of the future never ends     |
| HTTP 410, or an ERROR event with code 410             | list anew, at once; if that does not help, after a pause  |
| any other HTTP error, any other ERROR event           | list anew after a pause that grows                        |
| a line that is no watch event, or far too long        | the same: something may be missing                        |
| the LIST fails                                        | list again after a pause that grows                       |
| the LIST is older than what the mirror shows          | the same: what came since must not be forgotten           |
| the eighth such LIST in a row                         | taken in: the cluster was restored from a backup          |
| an object that does not fit the type                  | named in the log; its last readable version stays         |
| a BOOKMARK                                            | only the resourceVersion moves on                         |

Caught up (`catch_up`) is more than synced: the mirror shows what there was at a moment, which a list of metadata tells,
and nothing that was gone by then. What it lacks the watch brings; if not within a second, a list does. What the watch
has yet to tell of objects that came and went before that moment is not handed over.

An object that can't be read any more stays as it was last read until it is deleted: a claim that was forgotten would
free its devices. One that never could be read is left out; `unreadable` names all of them.

Upstream: `Reflector` of client-go/tools/cache, which does not go back in time either (`relistResourceVersion`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec
import structlog

from dra_operator.api.codec import decode
from dra_operator.api.kinds import Kind
from dra_operator.api.meta import Object, ObjectKey, ObjectMeta, Struct, Uid, as_number
from dra_operator.api.quantity import QuantityError
from dra_operator.cluster.http import ApiClient, ApiError, GarbledWatch, NoAnswer
from dra_operator.cluster.said import Said

log = structlog.get_logger()

O = TypeVar("O", bound=Object)  # noqa: E741
O_contra = TypeVar("O_contra", bound=Object, contravariant=True)

WATCH_SECONDS: Final = 300.0
_PAUSE_MIN: Final = 0.2
_PAUSE_MAX: Final = 30.0
_FAILURES_MAX: Final = 16
_LIST_AFTER_FAILURES: Final = 4
_OLDER_LISTS_MAX: Final = 7
"""A cache that lags behind catches up within that many attempts, most of a minute."""
_SHORT_SECONDS: Final = 1.0
_GONE: Final = 410
_NOT_FOR_US: Final = (403, 404)
TURN_BYTES: Final = 4 * 1024 * 1024
"""Decoded before other tasks of the event loop get their turn: some 20 ms, also of the largest slices there can be."""
_OBJECT_BYTES: Final = 2048
"""What an object costs beside its text."""
CATCH_UP_SECONDS: Final = 1.0
"""What a watch is behind for longer is had sooner by a list. A second is half of what changing leaders may cost."""
_CATCH_UP_POLL: Final = 0.02


class Sink(Protocol[O_contra]):
    """Where the mirror's content goes. Called in order, never concurrently."""

    async def replace(self, objects: Sequence[O_contra], resource_version: str) -> None:
        """This is all there is at that version: what is not in it is gone. Others may have their turn meanwhile."""

    def apply(self, type_: str, object_: O_contra) -> None:
        """A watch event, live: `ADDED`, `MODIFIED` or `DELETED`."""


class _Event(Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Head(Struct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    code: int = 0
    message: str = ""


class _Listed(NamedTuple):
    """All that there was at a version."""

    version: int
    uids: frozenset[Uid]

    def was_gone(self, meta: ObjectMeta) -> bool:
        """Whether an event tells of an object that did not exist any more."""
        return as_number(meta.resource_version) <= self.version and meta.uid not in self.uids


class _ErrorEvent(Exception):
    """The watch has sent an ERROR."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


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
        prepare: Callable[[O], None] = lambda object_: None,
    ) -> None:
        """`prepare` is called with each object before it is kept and handed over: a list's with turns for others."""
        self._client = client
        self._kind = kind
        self._sink = sink
        self._rng = rng
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._watch_seconds = watch_seconds
        self._prepare = prepare
        self._version = ""
        self._shown = 0
        """The version up to which the mirror was ever shown what there is."""
        self._older_lists = 0
        """In a row, that were older than that."""
        self._failures = 0
        """In a row, without a line in between."""
        self._said = Said()
        self._objects: dict[ObjectKey, O] = {}
        self.unreadable: dict[ObjectKey, str] = {}
        """Objects that do not fit the type, and why."""
        self.synced = asyncio.Event()
        self.settled = asyncio.Event()
        """Synced, or told that there is no such resource or not for us. It is asked for again."""
        self.lists = 0
        """How often it was listed; more than once says that watches were lost."""
        self._attempt: asyncio.Timeout | None = None
        """What `run` is at, to be cut short."""
        self._listed: _Listed | None = None
        """Of the last `catch_up`, until the watch has come that far."""
        self._handing_over = asyncio.Lock()
        """Held while the sink takes in a list."""

    async def run(self) -> None:
        while True:
            attempt = asyncio.timeout(None)
            try:
                async with attempt:
                    self._attempt = attempt
                    await self._follow()
            except TimeoutError:
                if not attempt.expired():
                    raise
                self._version = ""
            finally:
                self._attempt = None

    async def _follow(self) -> None:
        """One watch, after a list if there has to be one, and before a pause if it fails."""
        try:
            if not self._version:
                await self._list()
            await self._watch()
        except (ApiError, NoAnswer, GarbledWatch, _ErrorEvent) as error:
            if isinstance(error, ApiError) and error.status in _NOT_FOR_US:
                self.settled.set()
            pause = self._recover(error)
            if self._said.is_news(why := str(error) or type(error).__name__):
                log.info(
                    "watch ended",
                    resource=self._kind.plural,
                    why=why,
                    next="list" if not self._version else "watch",
                    pause=round(pause, 3),
                )
            await asyncio.sleep(pause)

    async def catch_up(self) -> None:
        """Returns when the mirror shows all that there was when this was called, and from then on nothing that was not.

        Raises `ApiError` or `NoAnswer` where that can't be learnt: of a LIST of metadata that fails. What the mirror
        then lists itself it tries until it succeeds.
        """
        await self.synced.wait()
        metas, version = await self._client.list_metadata(
            self._kind,
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        listed = {meta.key: meta for meta in metas}
        async with self._handing_over:  # what is being handed over was listed without regard to what follows
            self._listed = _Listed(as_number(version), frozenset(meta.uid for meta in metas))
            behind = listed.keys() | self._objects.keys()
        loop = asyncio.get_running_loop()
        lists, list_at = self.lists, loop.time() + CATCH_UP_SECONDS
        while behind := {key for key in behind if self._is_behind(key, listed.get(key), as_number(version))}:
            if self.lists != lists:
                lists, list_at = self.lists, loop.time() + CATCH_UP_SECONDS
            if loop.time() >= list_at:
                log.info("the watch is behind", resource=self._kind.plural, objects=len(behind), next="list")
                list_at = loop.time() + CATCH_UP_SECONDS
                self._list_anew()
            await asyncio.sleep(_CATCH_UP_POLL)

    def _is_behind(self, key: ObjectKey, listed: ObjectMeta | None, version: int) -> bool:
        """Whether the mirror lacks what was there, or went, at the list of that version."""
        if as_number(self._version) >= version or key in self.unreadable:
            return False
        known = self._objects.get(key)
        if listed is None:
            return known is not None and as_number(known.metadata.resource_version) <= version
        return known is None or as_number(known.metadata.resource_version) < as_number(listed.resource_version)

    def _list_anew(self) -> None:
        """Give up the watch, or the pause before the next. A list that is under way or due is as good.

        The pause before a list stays: a server that does not answer one would be asked for all there is each second.
        """
        if self._version and self._attempt is not None and not self._attempt.expired():
            self._attempt.reschedule(asyncio.get_running_loop().time())

    def _recover(self, error: ApiError | NoAnswer | GarbledWatch | _ErrorEvent) -> float:
        """Decide whether to list anew. Returns the seconds until then."""
        most = min(_PAUSE_MAX, _PAUSE_MIN * 2.0**self._failures)
        pause = self._rng.uniform(most / 2, most)
        self._failures = min(self._failures + 1, _FAILURES_MAX)
        match error:
            case ApiError(status=code) | _ErrorEvent(code=code) if code == _GONE:
                self._version = ""
                return 0.0 if self._failures == 1 else pause
            case ApiError(status=status, retry_after=after) if status == 429 or status >= 500:
                pause = max(pause, after or 0.0)
            case NoAnswer():
                pass
            case _:
                self._version = ""
        if self._failures >= _LIST_AFTER_FAILURES:
            self._version = ""
        return pause

    async def _list(self) -> None:
        raw, version = await self._client.list_raw(
            self._kind,
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        if not version:
            raise GarbledWatch("a list without a resourceVersion")
        self._refuse_older(as_number(version))
        objects: dict[ObjectKey, O] = {}
        unreadable, self.unreadable = self.unreadable, {}
        turn = 0
        for item in raw:
            object_ = self._read(item, known=unreadable)
            if object_ is not None:
                objects[object_.key] = object_
            turn += _OBJECT_BYTES + memoryview(item).nbytes
            if turn >= TURN_BYTES:
                turn = 0
                await asyncio.sleep(0)
        async with self._handing_over:
            if (later := self._listed) is not None and as_number(version) < later.version:
                # Asked for before `catch_up`, answered after it.
                objects = {key: object_ for key, object_ in objects.items() if not later.was_gone(object_.metadata)}
            await self._sink.replace(list(objects.values()), version)
            self._objects = objects
            self._move_on(version)
        self.lists += 1
        self.synced.set()
        self.settled.set()

    def _refuse_older(self, version: int) -> None:
        """Raises `GarbledWatch` for a list from before what the mirror shows, unless the API server insists on it."""
        if version >= self._shown:
            self._older_lists = 0
            return
        self._older_lists += 1
        told = f"a list at version {version}, which is older than what was shown at {self._shown}"
        if self._older_lists <= _OLDER_LISTS_MAX:
            raise GarbledWatch(told)
        log.error(
            f"{told}, {self._older_lists} times in a row: was the cluster restored from a backup? "
            "Then restart everything that watches it, this operator too",
            resource=self._kind.plural,
        )
        self._older_lists, self._shown, self._listed = 0, version, None

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        started, silent = loop.time(), True
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
                self._failures, silent = 0, False
                self._said.forget()
        if silent and loop.time() - started < _SHORT_SECONDS:
            raise NoAnswer("the watch ended at once without a word")
        self._failures = 0

    def _take(self, line: bytes) -> None:
        """One line of the watch."""
        try:
            event = decode(line, _Event)
            match event.type:
                case "ADDED" | "MODIFIED" | "DELETED":
                    self._move_on(self._change(event))
                case "BOOKMARK":
                    self._move_on(decode(event.object, _Head).metadata.resource_version)
                case "ERROR":
                    said = decode(event.object, _Head)
                    raise _ErrorEvent(said.code, said.message)
                case _:
                    raise GarbledWatch(f"an event of the unknown type {event.type!r}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise GarbledWatch(f"a line that is no watch event: {error}") from error

    def _move_on(self, version: str) -> None:
        """The mirror shows what there was at this version. An object without one says nothing."""
        if version:
            self._version = version
            self._shown = max(self._shown, as_number(version))

    def _change(self, event: _Event) -> str:
        """Hand an event to the sink. Returns its resourceVersion."""
        if self._listed is not None:
            if as_number(self._version) >= self._listed.version:
                self._listed = None
            elif (version := self._find_bygone(event, self._listed)) is not None:
                return version
        object_ = self._read(event.object, known=self.unreadable)
        if object_ is None or object_.key in self.unreadable:
            head = decode(event.object, _Head).metadata
            if event.type == "DELETED":
                self.unreadable.pop(head.key, None)
                last = self._objects.pop(head.key, None)
                if last is not None:
                    self._sink.apply(event.type, last)
            return head.resource_version
        if event.type == "DELETED":
            self._objects.pop(object_.key, None)
        else:
            self._objects[object_.key] = object_
        self._sink.apply(event.type, object_)
        return object_.metadata.resource_version

    def _find_bygone(self, event: _Event, listed: _Listed) -> str | None:
        """The resourceVersion of an event of an object that came and went before the mirror was caught up with."""
        head = decode(event.object, _Head).metadata
        known = self._objects.get(head.key)
        shown = head.key in self.unreadable or (known is not None and known.uid == head.uid)
        return None if shown or not listed.was_gone(head) else head.resource_version

    def _read(self, raw: msgspec.Raw, *, known: Mapping[ObjectKey, str]) -> O | None:
        """The object; its last readable version (and a note) if it does not fit the type; None if there is none.

        `known`: those that were unreadable before, which the log need not name again.
        """
        try:
            object_ = decode(raw, self._kind.type)
        except (msgspec.DecodeError, UnicodeDecodeError, QuantityError) as error:
            meta = decode(raw, _Head).metadata
            self.unreadable[meta.key] = str(error)
            if meta.key not in known:
                log.error("object does not fit the API", kind=self._kind.kind, name=str(meta.key), error=str(error))
            last = self._objects.get(meta.key)
            return last if last is not None and last.uid == meta.uid else None
        self.unreadable.pop(object_.key, None)
        self._prepare(object_)
        return object_
