"""Where observations enter: Kopf's events and the reflectors' lists and watches, turned into verbs of the View.

Each of them marks what has to be looked at. ResourceClaims, ResourceSlices and the DeviceTaintRules that change these
come through reflectors, because their exact order matters, and a list of them is taken in with turns for others
(`lists.py`); everything else comes from Kopf, event by event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from dra_operator.api.codec import convert
from dra_operator.api.core import Namespace, Node, Pod
from dra_operator.api.kinds import CLASSES, NAMESPACES, NODES, PODS, TEMPLATES, Kind
from dra_operator.api.meta import Object, ObjectKey, Uid
from dra_operator.api.quantity import QuantityError
from dra_operator.api.resource import DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice
from dra_operator.controller.lists import Lists
from dra_operator.lifecycle.actions import Notice
from dra_operator.lifecycle.keys import Ref
from dra_operator.lifecycle.lean import Lean
from dra_operator.lifecycle.versions import version_of
from dra_operator.lifecycle.view import View
from dra_operator.lifecycle.withdrawn import find_withdrawn

log = structlog.get_logger()

K = TypeVar("K")

Mark = Callable[[Iterable[Ref]], None]

KOPF_KINDS: tuple[Kind[Any], ...] = (PODS, TEMPLATES, NAMESPACES, CLASSES, NODES)


class ClaimMirror:
    """Sink of the reflector of ResourceClaims."""

    def __init__(self, view: View, mark: Mark, lists: Lists) -> None:
        self._view = view
        self._mark = mark
        self._lists = lists

    async def replace(self, objects: Sequence[ResourceClaim], resource_version: str) -> None:
        await self._lists.take_in(self._view.replace_claims(objects, resource_version), self._mark)

    def apply(self, type_: str, object_: ResourceClaim) -> None:
        if type_ == "DELETED":
            self._mark(self._view.forget_claim(object_.key))
        else:
            self._mark(self._view.observe_claim(object_, live=True))


class SliceMirror:
    """Sink of the reflector of ResourceSlices."""

    def __init__(self, view: View, mark: Mark, lists: Lists) -> None:
        self._view = view
        self._mark = mark
        self._lists = lists

    async def replace(self, objects: Sequence[ResourceSlice], resource_version: str) -> None:
        await self._lists.take_in(self._pieces(objects), self._mark)

    def _pieces(self, objects: Sequence[ResourceSlice]) -> Iterator[set[Ref]]:
        listed = {slice_.metadata.name for slice_ in objects}
        for slice_ in list(self._view.inventory.slices()):
            if slice_.metadata.name not in listed:
                yield self._view.forget_slice(slice_.metadata.name)
        for slice_ in objects:
            yield self._view.observe_slice(slice_)

    def apply(self, type_: str, object_: ResourceSlice) -> None:
        if type_ == "DELETED":
            self._mark(self._view.forget_slice(object_.metadata.name))
        else:
            self._mark(self._view.observe_slice(object_))


class TaintRuleMirror:
    """Sink of the reflector of DeviceTaintRules."""

    def __init__(self, view: View, mark: Mark, lists: Lists) -> None:
        self._view = view
        self._mark = mark
        self._lists = lists

    async def replace(self, objects: Sequence[DeviceTaintRule], resource_version: str) -> None:
        await self._lists.take_in(self._pieces(objects), self._mark)

    def _pieces(self, objects: Sequence[DeviceTaintRule]) -> Iterator[set[Ref]]:
        for rule in objects:
            yield from self._view.observe_taint_rule(rule)
        listed = {rule.metadata.name for rule in objects}
        for name in self._view.inventory.rules():
            if name not in listed:
                yield from self._view.forget_taint_rule(name)

    def apply(self, type_: str, object_: DeviceTaintRule) -> None:
        if type_ == "DELETED":
            self._lists.begin(self._view.forget_taint_rule(object_.metadata.name), self._mark)
        else:
            self._lists.begin(self._view.observe_taint_rule(object_), self._mark)


class _Uids(Mapping[ObjectKey, Uid], Generic[K]):
    """UIDs by key, read off the objects: how many there are is asked every few seconds, and must not cost a copy."""

    def __init__(self, objects: Mapping[K, Object], name: Callable[[ObjectKey], K]) -> None:
        """`name`: what an object is called in `objects`."""
        self._objects = objects
        self._name = name

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[ObjectKey]:
        return (object_.key for object_ in self._objects.values())

    def __getitem__(self, key: ObjectKey) -> Uid:
        return self._objects[self._name(key)].uid


class KopfMirror:
    """Takes what Kopf's handlers get. Knows nothing of Kopf but its event types: None is "listed"."""

    def __init__(
        self, view: View, mark: Mark, relisted: Callable[[Kind[Any]], None], record: Callable[[Notice], None]
    ) -> None:
        """`relisted` is called when Kopf lists a kind: what was deleted before the list it swallows.

        `record` is told what an event means to others than those who are marked.
        """
        self._view = view
        self._mark = mark
        self._relisted = relisted
        self._record = record
        self._lean = Lean()
        self._shown: set[Uid] | None = set()

    def known(self, kind: Kind[Any]) -> Mapping[ObjectKey, Uid]:
        """The UIDs of what the View holds of a kind, as they are at any time."""
        view = self._view
        if kind is PODS:
            return view.pod_uids
        if kind is TEMPLATES:
            return _Uids(view.templates, lambda key: key)
        every: dict[str, Mapping[str, Object]] = {
            NAMESPACES.plural: view.namespaces,
            CLASSES.plural: view.classes,
            NODES.plural: view.nodes,
        }
        return _Uids(every[kind.plural], lambda key: key.name)

    def take(self, kind: Kind[Any], type_: str | None, body: Mapping[str, Any]) -> None:
        """One event. An object that does not fit the API's types is named in the log and left out."""
        if self._shown is not None:
            self._shown.add(body.get("metadata", {}).get("uid", ""))
        if type_ is None:
            self._relisted(kind)
        try:
            object_ = convert(body, kind.type)
        except (msgspec.ValidationError, QuantityError) as error:
            meta = body.get("metadata", {})
            name = f"{meta.get('namespace', '')}/{meta.get('name', '')}".strip("/")
            log.error("object left out, it does not fit the API", kind=kind.kind, name=name, error=str(error))
            return
        if kind is not PODS and self._was_replaced(kind, object_, deleted=type_ == "DELETED"):
            return
        if type_ == "DELETED":
            self._forget(object_, certain=True)
        else:
            self._observe(object_)

    def was_shown(self, uid: Uid) -> bool:
        """Whether an event told of the object, be it that it was left out or deleted. Asked while syncing only."""
        return self._shown is None or uid in self._shown

    def note_synced(self) -> None:
        """Nobody asks any more what was shown."""
        self._shown = None

    def _was_replaced(self, kind: Kind[Any], object_: Object, *, deleted: bool) -> bool:
        """Whether another of that name came after it. Kopf keeps the order of events only for each UID."""
        known = self._get(kind, object_.key)
        if known is None or known.uid == object_.uid:
            return False
        return deleted or version_of(known) > version_of(object_)

    def vanished(self, kind: Kind[Any], key: ObjectKey, uid: Uid) -> None:
        """A census did not find the object any more."""
        if self.known_uid(kind, key) != uid:
            return
        log.info("deletion found by census", kind=kind.kind, name=str(key))
        object_ = self._get(kind, key)
        if object_ is not None:
            self._forget(object_, certain=False)

    def known_uid(self, kind: Kind[Any], key: ObjectKey) -> Uid | None:
        object_ = self._get(kind, key)
        return None if object_ is None else object_.uid

    def _get(self, kind: Kind[Any], key: ObjectKey) -> Object | None:
        view = self._view
        if kind is PODS:
            return view.pod_named(key)
        if kind is TEMPLATES:
            return view.templates.get(key)
        if kind is NAMESPACES:
            return view.namespaces.get(key.name)
        return view.classes.get(key.name) if kind is CLASSES else view.nodes.get(key.name)

    def _observe(self, object_: Object) -> None:
        view = self._view
        match object_:
            case Pod():
                self._mark(view.observe_pod(self._lean.pod(object_)))
            case ResourceClaimTemplate():
                self._mark(view.observe_template(object_))
            case Namespace():
                for notice in find_withdrawn(view, object_):
                    self._record(notice)
                self._mark(view.observe_namespace(object_))
            case DeviceClass():
                self._mark(view.observe_class(object_))
            case Node():
                self._mark(view.observe_node(self._lean.node(object_)))
            case _:
                raise TypeError(f"{object_.kind} is not watched through Kopf")

    def _forget(self, object_: Object, *, certain: bool) -> None:
        view = self._view
        match object_:
            case Pod():
                self._mark(view.forget_pod(object_.uid, certain=certain, ended=object_.terminal))
            case ResourceClaimTemplate():
                self._mark(view.forget_template(object_.key))
            case Namespace():
                self._mark(view.forget_namespace(object_.metadata.name))
            case DeviceClass():
                self._mark(view.forget_class(object_.metadata.name))
            case Node():
                self._mark(view.forget_node(object_.metadata.name))
            case _:
                raise TypeError(f"{object_.kind} is not watched through Kopf")
