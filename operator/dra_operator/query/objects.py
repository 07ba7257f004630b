"""What documents mean: typed objects of the kinds that allocation depends on; everything else is named and skipped.

Lists are taken apart, v1beta1 and v1beta2 of resource.k8s.io become v1, objects without a namespace get the caller's.
An object that cannot be read is refused with file, line, its name and the field, or as the API server would refuse it,
which goes beside the others; one that comes twice is refused.

Not here: whether an object is valid beyond its types (`validation`), files (`documents.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from msgspec import structs

from dra_operator.api.codec import convert
from dra_operator.api.core import Namespace, Node, Pod
from dra_operator.api.meta import Object, ObjectKey
from dra_operator.api.quantity import QuantityError
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import (
    DeviceClass,
    DeviceTaintRule,
    ResourceClaim,
    ResourceClaimTemplate,
    ResourceSlice,
)
from dra_operator.query.conversion import to_v1
from dra_operator.query.documents import Document, InputError
from dra_operator.query.suggest import did_you_mean
from dra_operator.world.workloads import CronJob, DaemonSet, Deployment, Job, ReplicaSet, StatefulSet

O = TypeVar("O", bound=Object)  # noqa: E741

RESOURCE_GROUP: Final = "resource.k8s.io"
DEFAULT_NAMESPACE: Final = "default"
_CLUSTER_SCOPED: Final = (Namespace, Node, DeviceClass, DeviceTaintRule, ResourceSlice)


class PriorityClass(Object, frozen=True):
    value: int = 0
    global_default: bool = False


@dataclass(frozen=True, slots=True)
class _Kind:
    type: type[Object]
    versions: tuple[str, ...]


_DRA: Final = ("v1", "v1beta2", "v1beta1")
_KINDS: Final[Mapping[tuple[str, str], _Kind]] = {
    ("", "Pod"): _Kind(Pod, ("v1",)),
    ("", "Node"): _Kind(Node, ("v1",)),
    ("", "Namespace"): _Kind(Namespace, ("v1",)),
    ("apps", "Deployment"): _Kind(Deployment, ("v1",)),
    ("apps", "ReplicaSet"): _Kind(ReplicaSet, ("v1",)),
    ("apps", "StatefulSet"): _Kind(StatefulSet, ("v1",)),
    ("apps", "DaemonSet"): _Kind(DaemonSet, ("v1",)),
    ("batch", "Job"): _Kind(Job, ("v1",)),
    ("batch", "CronJob"): _Kind(CronJob, ("v1",)),
    ("scheduling.k8s.io", "PriorityClass"): _Kind(PriorityClass, ("v1",)),
    (RESOURCE_GROUP, "DeviceClass"): _Kind(DeviceClass, _DRA),
    (RESOURCE_GROUP, "DeviceTaintRule"): _Kind(DeviceTaintRule, ("v1", "v1beta2")),
    (RESOURCE_GROUP, "ResourceSlice"): _Kind(ResourceSlice, _DRA),
    (RESOURCE_GROUP, "ResourceClaim"): _Kind(ResourceClaim, _DRA),
    (RESOURCE_GROUP, "ResourceClaimTemplate"): _Kind(ResourceClaimTemplate, _DRA),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """One object and where it stands."""

    object: Object
    place: str
    plain: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """As v1 says it, before fields that are not read were dropped."""


@dataclass(frozen=True, slots=True)
class Refused:
    """One object that the API server would not take."""

    type: type
    key: ObjectKey
    place: str
    reason: Reason
    message: str


@dataclass(slots=True)
class Manifests:
    """What was loaded, in order."""

    objects: list[Loaded] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """Kinds that play no part in allocation, and how many of each there were."""
    refused: list[Refused] = field(default_factory=list)
    """Objects that are not whole enough to be among the others."""

    def all(self, type_: type[O]) -> Iterator[O]:
        for loaded in self.objects:
            if isinstance(loaded.object, type_):
                yield loaded.object

    def topped_by(self, others: Manifests) -> Manifests:
        """These, with the others' objects added, or in the place of those with the same name."""
        replaced = {(type(loaded.object), loaded.object.key) for loaded in others.objects}
        kept = [one for one in self.objects if (type(one.object), one.object.key) not in replaced]
        return Manifests([*kept, *others.objects], self.skipped + others.skipped, self.refused + others.refused)


def load_objects(documents: Iterable[Document], namespace: str = DEFAULT_NAMESPACE) -> Manifests:
    """The objects of all documents; those that name no namespace are in `namespace`. Raises `InputError`."""
    manifests = Manifests()
    seen: dict[tuple[type[Object], ObjectKey], str] = {}
    for place, plain in _items(documents):
        loaded = _load(place, plain, namespace, manifests.skipped)
        if loaded is None:
            continue
        if isinstance(loaded, Refused):
            manifests.refused.append(loaded)
            continue
        object_ = loaded.object
        if object_.metadata.name:
            id_ = type(object_), object_.key
            if id_ in seen:
                raise InputError(
                    f"{place}: {_name_of(plain)} is given a second time (first at {seen[id_]}); remove one of them"
                )
            seen[id_] = place
        manifests.objects.append(loaded)
    return manifests


def _items(documents: Iterable[Document]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of the documents, the items of lists one by one."""
    for document in documents:
        yield from _of(document.place, document.content, 0)


def _of(place: str, content: Any, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(content, list) and depth == 0:
        for index, item in enumerate(content):
            yield from _of(f"{place} [{index}]", item, depth + 1)
        return
    if not isinstance(content, dict):
        raise InputError(f"{place}: is no Kubernetes object but {_kind_of_value(content)}")
    kind = content.get("kind")
    if not isinstance(kind, str) or not kind:
        raise InputError(f"{place}: the object names no kind; is it a Kubernetes manifest?")
    if not isinstance(content.get("apiVersion"), str):
        raise InputError(f"{place}: {kind} names no apiVersion")
    items = content.get("items")
    if kind.endswith("List") and isinstance(items, list) and depth < 2:
        inner = {"apiVersion": content["apiVersion"], "kind": kind.removesuffix("List")} if kind != "List" else {}
        for index, item in enumerate(items):
            whole = {**inner, **item} if isinstance(item, dict) else item
            yield from _of(f"{place} items[{index}]", whole, depth + 1)
        return
    yield place, content


def _load(place: str, plain: Mapping[str, Any], namespace: str, skipped: Counter[str]) -> Loaded | Refused | None:
    api_version, kind = str(plain["apiVersion"]), str(plain["kind"])
    group, _, version = api_version.rpartition("/")
    known = _KINDS.get((group, kind))
    if known is None:
        _refuse_typing_errors(place, group, kind, api_version)
        skipped[f"{kind} ({api_version})"] += 1
        return None
    name = _name_of(plain)
    if version not in known.versions:
        wanted = ", ".join(f"{group}/{one}" if group else one for one in known.versions)
        raise InputError(f"{place}: {name} is of the version {api_version}, which is not known; there are {wanted}")
    v1: dict[str, Any] = dict(plain)
    if version == "v1beta1" and group == RESOURCE_GROUP:
        v1 = to_v1(kind, v1)
    if group == RESOURCE_GROUP:
        v1["apiVersion"] = f"{RESOURCE_GROUP}/v1"
    object_ = _typed(place, name, known.type, v1, namespace)
    if isinstance(object_, Refused):
        return object_
    if not object_.metadata.name and not object_.metadata.generate_name:
        raise InputError(f"{place}: {kind} has no metadata.name")
    meta = object_.metadata
    where = "" if isinstance(object_, (*_CLUSTER_SCOPED, PriorityClass)) else meta.namespace or namespace
    if where != meta.namespace:
        object_ = structs.replace(object_, metadata=structs.replace(meta, namespace=where))
    return Loaded(object_, place, v1)


def _typed(place: str, name: str, type_: type[Object], v1: Mapping[str, Any], namespace: str) -> Object | Refused:
    try:
        return convert(_pruned(v1), type_)
    except msgspec.ValidationError as error:
        if (refused := _refused(type_, place, v1, namespace)) is not None:
            return refused
        raise InputError(f"{place}: {name}: {_field_error(error)}") from None
    except QuantityError as error:
        raise InputError(f"{place}: {name}: {error}") from None
    except (OverflowError, RecursionError, TypeError) as error:
        raise InputError(f"{place}: {name} cannot be read: {error}") from None


def _refused(type_: type[Object], place: str, v1: Mapping[str, Any], namespace: str) -> Refused | None:
    """An object that cannot be read, if the API server has words for it. Without its slices an inventory is another."""
    from dra_operator.query.verdict import find_verdict  # late: objects that can be read do without

    verdict = None if type_ is ResourceSlice else find_verdict(v1)
    if verdict is None:
        return None
    meta = v1.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    where = "" if issubclass(type_, (*_CLUSTER_SCOPED, PriorityClass)) else str(meta.get("namespace") or namespace)
    return Refused(type_, ObjectKey(where, str(meta.get("name") or "")), place, verdict.reason, verdict.message)


_DEFAULTED: Final = ("count", "allocationMode")
"""Fields of requests in which the API server takes the zero value for nothing (`validation/defaults.py`)."""


def _pruned(value: Any) -> Any:
    """Without what is to the API as if it were not there: nulls, and zeros that it sets a default for."""
    if isinstance(value, dict):
        asks = "deviceClassName" in value
        return {
            key: _pruned(one)
            for key, one in value.items()
            if one is not None and not (asks and key in _DEFAULTED and type(one) in (int, str) and not one)
        }
    if isinstance(value, list):
        return [_pruned(one) for one in value]
    return value


def _refuse_typing_errors(place: str, group: str, kind: str, api_version: str) -> None:
    """A kind of ours that is misspelled, or of another group, is a mistake and not an unknown kind."""
    if group == RESOURCE_GROUP and kind not in ("ResourcePoolStatusRequest", "PodSchedulingContext"):
        known = [name for of, name in _KINDS if of == RESOURCE_GROUP]
        raise InputError(f"{place}: {api_version} has no kind {kind}{did_you_mean(kind, known)}")
    for of, name in _KINDS:
        if name == kind and of in ("", "apps", "batch") and group in ("", "apps", "batch", "extensions"):
            right = f"{of}/v1" if of else "v1"
            raise InputError(f"{place}: {kind} belongs to apiVersion {right}, not {api_version}")


def _name_of(plain: Mapping[str, Any]) -> str:
    meta = plain.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name = meta.get("name") or meta.get("generateName") or "without a name"
    namespace = meta.get("namespace")
    return f"{plain.get('kind')} {namespace}/{name}" if namespace else f"{plain.get('kind')} {name}"


def _field_error(error: msgspec.ValidationError) -> str:
    """msgspec says "Expected `int`, got `str` - at `$.spec.count`"."""
    text, _, path = str(error).partition(" - at `")
    field_ = path.removesuffix("`").removeprefix("$").removeprefix(".")
    text = text[:1].lower() + text[1:]
    return f"{field_}: {text}" if field_ else text


def _kind_of_value(value: Any) -> str:
    names = {str: "a text", list: "a list", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)
