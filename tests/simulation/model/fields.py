"""Who owns which field of an object, and what patches make of it.

A field is named by its path: keys of maps, and for lists with a merge key the element's key (`("conditions",
"Ready")`). Lists without one are single values. An update makes its manager the owner of what it changed; an apply owns
all that it states, conflicts with whoever owns another value there, and takes away what it stated before and does no
more.

Upstream: sigs.k8s.io/structured-merge-diff, k8s.io/apimachinery/pkg/util/strategicpatch; RFC 7396.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

Json: TypeAlias = Any
Path: TypeAlias = tuple[str, ...]
Flat: TypeAlias = dict[Path, Json]

MERGE_KEYS: Final = {
    "conditions": "type",
    "resourceClaimStatuses": "name",
    "reservedFor": "uid",
    "ownerReferences": "uid",
    "schedulingGates": "name",
    "resourceClaims": "name",
    "containers": "name",
}
_SETS: Final = frozenset({"finalizers"})
_UNOWNED: Final = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    }
)
_MISSING: Final = object()


class Manager(NamedTuple):
    """An entry of `metadata.managedFields`."""

    name: str
    operation: str
    subresource: str


Owners: TypeAlias = dict[Manager, frozenset[Path]]


def flatten(object_: Json) -> Flat:
    """Every field with its value."""
    flat: Flat = {}
    for name, value in object_.items():
        if name == "metadata":
            for key, inner in value.items():
                if key not in _UNOWNED:
                    _flatten(inner, key, ("metadata", key), flat)
        elif name not in ("apiVersion", "kind"):
            _flatten(value, name, (name,), flat)
    return flat


def _flatten(value: Json, name: str, path: Path, flat: Flat) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(inner, key, (*path, key), flat)
    elif isinstance(value, list) and value and name in MERGE_KEYS and isinstance(value[0], dict):
        merge_key = MERGE_KEYS[name]
        for element in value:
            _flatten(element, "", (*path, str(element.get(merge_key))), flat)
    elif isinstance(value, list) and name in _SETS:
        for element in value:
            flat[(*path, str(element))] = element
    else:
        flat[path] = value


def note_update(owners: Owners, manager: Manager, before: Flat, after: Flat) -> Owners:
    """Who owns what after an update by `manager`."""
    changed = frozenset(path for path, value in after.items() if before.get(path, _MISSING) != value)
    gone = before.keys() - after.keys()
    lost = frozenset(path for path in changed | gone if len(path) > 1)
    kept = {who: paths - lost for who, paths in owners.items()}
    kept[manager] = kept.get(manager, frozenset()) | changed
    return {who: paths for who, paths in kept.items() if paths}


def find_conflicts(owners: Owners, manager: Manager, live: Flat, stated: Flat) -> set[Path]:
    """What is stated otherwise than its owners have it."""
    return {
        path
        for who, paths in owners.items()
        if who != manager
        for path in paths
        if len(path) > 1 and path in stated and live.get(path, _MISSING) != stated[path]
    }


def note_apply(owners: Owners, manager: Manager, conflicts: set[Path], stated: Flat) -> tuple[Owners, set[Path]]:
    """Who owns what after an apply, and which fields go: stated before, not any more, and nobody else's."""
    before = owners.get(manager, frozenset())
    others = {who: paths - conflicts for who, paths in owners.items() if who != manager}
    owned = {path for paths in (stated, *others.values()) for path in paths}
    gone = _gone_lists(before, owned)
    gone |= {path for path in before if len(path) > 1 and path not in owned and not _names_element(path, owned)}
    kept = {who: frozenset(path for path in paths if not _is_within(path, gone)) for who, paths in others.items()}
    kept = {who: paths for who, paths in kept.items() if paths}
    if stated:
        kept[manager] = frozenset(stated)
    return kept, gone


def _is_within(path: Path, gone: set[Path]) -> bool:
    return any(path[:length] in gone for length in range(1, len(path) + 1))


def _gone_lists(before: Iterable[Path], owned: set[Path]) -> set[Path]:
    """Elements that nobody states any more, and lists of which no element is: they go with all that is in them.

    Who changes a field of an element does not own the element; its key field stands for that.
    """
    keys = {path for path in owned if _is_key(path)}
    gone = set()
    for path in before:
        if _is_key(path) and path not in keys:
            list_ = path[:-2]
            gone.add(path[:-1] if any(key[:-2] == list_ for key in keys) else list_)
    return gone


def _is_key(path: Path) -> bool:
    return len(path) > 2 and MERGE_KEYS.get(path[-3]) == path[-1]


def _names_element(path: Path, owned: set[Path]) -> bool:
    """Whether it is the key of an element of which something stays."""
    return _is_key(path) and any(kept[: len(path) - 1] == path[:-1] for kept in owned)


def merge_applied(live: Json, stated: Json, name: str = "") -> Json:
    """What an apply makes of a value."""
    if isinstance(live, dict) and isinstance(stated, dict):
        merged = dict(live)
        for key, value in stated.items():
            merged[key] = merge_applied(live[key], value, key) if key in live else value
        return merged
    if isinstance(live, list) and isinstance(stated, list) and name in MERGE_KEYS:
        return _merge_lists(live, stated, MERGE_KEYS[name])
    return stated


def _merge_lists(live: list[Json], stated: list[Json], key: str) -> list[Json]:
    """Elements of both, in the order of upstream: what is stated keeps its order, the others stay before them."""
    known = {element[key]: element for element in live}
    wanted = {element[key]: element for element in stated}
    merged = []
    remaining = list(wanted)
    for element in live:
        name = element[key]
        if name not in wanted:
            merged.append(element)
            continue
        while remaining:
            first = remaining.pop(0)
            merged.append(merge_applied(known[first], wanted[first]) if first in known else wanted[first])
            if first == name:
                break
    merged += [merge_applied(known.get(name, {}), wanted[name]) for name in remaining]
    unique: dict[str, Json] = {}
    for element in merged:
        unique.setdefault(element[key], element)
    return list(unique.values())


def remove_paths(object_: Json, paths: Iterable[Path]) -> None:
    """Take fields out, and what is empty after that."""
    for path in paths:
        _remove(object_, path)


def _remove(value: Json, path: Path, name: str = "") -> None:
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        key = MERGE_KEYS.get(name)
        for element in list(value):
            if key is None and str(element) == first:
                value.remove(element)
            elif key is not None and str(element.get(key, first)) == first:
                if rest:
                    _remove(element, rest)
                if not rest or not element:
                    value.remove(element)
                return
        return
    if first not in value:
        return
    if rest:
        _remove(value[first], rest, first)
        if value[first] in ({}, []):
            del value[first]
    else:
        del value[first]


# --- patches ---------------------------------------------------------------------------------------------------------


def merge_patch(value: Json, patch: Json) -> Json:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), change)
    return merged


def strategic_patch(value: Json, patch: Json, name: str = "") -> Json:
    """A strategic merge patch: lists merge by the key of their type; of directives only `$patch: delete`."""
    if isinstance(patch, dict):
        merged = dict(value) if isinstance(value, dict) else {}
        for key, change in patch.items():
            if change is None:
                merged.pop(key, None)
            else:
                merged[key] = strategic_patch(merged.get(key), change, key)
                if merged[key] == [] and change != []:
                    del merged[key]
        return merged
    if isinstance(patch, list) and name in MERGE_KEYS:
        return _strategic_list(value or [], patch, MERGE_KEYS[name])
    if isinstance(patch, list) and name in _SETS:
        return [*(value or []), *(element for element in patch if element not in (value or []))]
    return patch


def _strategic_list(value: list[Json], patch: list[Json], key: str) -> list[Json]:
    gone = {change[key] for change in patch if change.get("$patch") == "delete"}
    changes = {change[key]: change for change in patch if change[key] not in gone}
    kept = [element for element in value if element[key] not in gone]
    merged = [
        strategic_patch(element, changes.pop(element[key])) if element[key] in changes else element for element in kept
    ]
    return [*merged, *changes.values()]


def rendered(owners: Owners, api_version: str, now: str, known: Mapping[Manager, str]) -> list[Json]:
    """`metadata.managedFields`, without the fields. `known`: when managers that changed nothing last wrote."""
    return [
        {
            "manager": who.name,
            "operation": who.operation,
            "apiVersion": api_version,
            "time": known.get(who, now),
            "fieldsType": "FieldsV1",
            **({"subresource": who.subresource} if who.subresource else {}),
        }
        for who in owners
    ]
