"""Lists and maps: how many entries, each of them, none twice.

A list that is too long is not looked into.

Upstream: `validateSlice`, `validateSet`, `validateMap` in pkg/apis/resource/validation.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from dra_operator.validation.errors import FieldError, duplicate, index, key, too_many
from dra_operator.validation.names import shortened

T = TypeVar("T")
Check = Callable[[str, T], list[FieldError]]


def check_items(
    path: str, items: Sequence[T] | None, check: Check[T], *, limit: int | None = None, declared: bool = True
) -> list[FieldError]:
    """`declared`: a declared rule limits the number as well."""
    known = items or ()
    if limit is not None and len(known) > limit:
        return [too_many(path, len(known), limit, origin="maxItems", covered=declared)]
    return [error for i, item in enumerate(known) for error in check(index(path, i), item)]


def check_set(
    path: str,
    items: Sequence[T] | None,
    check: Check[T],
    identify: Callable[[T], Hashable],
    *,
    limit: int | None = None,
    declared: bool = True,
) -> list[FieldError]:
    """Like `check_items`, and no two of them with the same identity."""
    known = items or ()
    found = check_items(path, known, check, limit=limit, declared=declared)
    if limit is not None and len(known) > limit:
        return found
    seen: set[Hashable] = set()
    for i, item in enumerate(known):
        identity = identify(item)
        if identity in seen:
            found.append(duplicate(index(path, i), str(identity), covered=declared))
        seen.add(identity)
    return found


def check_map(
    path: str,
    entries: Mapping[str, T] | None,
    check_key: Check[str],
    check: Check[T],
    *,
    shorten: int,
    limit: int | None = None,
) -> list[FieldError]:
    """A bad key is reported at the map, a bad value at its entry; names longer than `shorten` are cut in paths."""
    known = entries or {}
    if limit is not None and len(known) > limit:
        return [too_many(path, len(known), limit)]
    found: list[FieldError] = []
    for name, each in known.items():
        found += check_key(path, name)
        found += check(key(path, shortened(name, shorten)), each)
    return found
