"""The feature gates of the API server that decide what it keeps and what it refuses.

A field whose feature is disabled is dropped before anything is checked, unless the old object uses that feature
already. Which field belongs to which gate stands at the field (`types.py`).

Upstream: `dropDisabledFields` of the strategies in pkg/registry/resource, pkg/features/kube_features.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from dra_operator.validation.shapes import Gate, Wire, shape_of

W = TypeVar("W", bound=Wire)

_SINCE: Final = {
    "DRAAdminAccess": 34,
    "DRAPrioritizedList": 34,
    "DRAResourceClaimDeviceStatus": 33,
    "DRAConsumableCapacity": 36,
    "DRADeviceBindingConditions": 36,
    "DRADeviceTaints": 36,
    "DRAExtendedResource": 36,
    "DRAPartitionableDevices": 36,
}
"""Feature gates by the minor version of Kubernetes 1 that enables them by default.

DRAFractionalCapacityRange is on in 1.37 only where the API server is told that it need not go back to 1.36."""
_LATEST: Final = 37


@dataclass(frozen=True, slots=True)
class Gates:
    """The feature gates that are enabled."""

    names: frozenset[str]

    @classmethod
    def of(cls, minor: int = _LATEST, *, also: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Gates:
        """The defaults of Kubernetes 1.`minor`, and what an administrator changed of them."""
        defaults = {name for name, since in _SINCE.items() if since <= minor}
        return cls(frozenset(defaults.union(also).difference(without)))

    def enabled(self, name: str) -> bool:
        return name in self.names

    def all_enabled(self, gate: Gate) -> bool:
        return self.names.issuperset(gate.names)


DEFAULT_GATES: Final = Gates.of()


def drop_disabled(new: W, old: Wire | None, gates: Gates) -> W:
    """The object as the API server looks at it: without the fields of disabled features, unless they are in use."""
    kept = _gates_in_use(old) if old is not None else set()
    return _drop(new, gates, kept)


def _drop(value: W, gates: Gates, kept: set[Gate]) -> W:
    changes: dict[str, object] = {}
    for field in shape_of(type(value)).fields:
        content = getattr(value, field.attribute)
        if content is None:
            continue
        if field.gate is not None and not gates.all_enabled(field.gate) and field.gate not in kept:
            changes[field.attribute] = None
            continue
        inner = _drop_inside(content, gates, kept)
        if inner is not content:
            changes[field.attribute] = inner
    return msgspec.structs.replace(value, **changes) if changes else value


def _drop_inside(content: object, gates: Gates, kept: set[Gate]) -> object:
    if isinstance(content, Wire):
        return _drop(content, gates, kept)
    if isinstance(content, tuple) and content and isinstance(content[0], Wire):
        elements = tuple(_drop(each, gates, kept) for each in content)
        return elements if any(a is not b for a, b in zip(elements, content, strict=True)) else content
    if isinstance(content, dict) and any(isinstance(each, Wire) for each in content.values()):
        return {name: _drop(each, gates, kept) for name, each in content.items()}
    return content


def _gates_in_use(value: Wire) -> set[Gate]:
    return set(_used(value))


def _used(value: Wire) -> Iterator[Gate]:
    for field in shape_of(type(value)).fields:
        content = getattr(value, field.attribute)
        if content is None or content == ():
            continue
        if field.gate is not None:
            yield field.gate
        if isinstance(content, Wire):
            yield from _used(content)
        elif isinstance(content, tuple | dict):
            for each in content.values() if isinstance(content, dict) else content:
                if isinstance(each, Wire):
                    yield from _used(each)
