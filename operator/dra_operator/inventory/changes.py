"""What changed since a version: the log that lets a cache catch up instead of starting anew.

Of each key only its last change is kept: that is what any question about it comes to. The log is bounded. Who asks
about a time before it begins learns that everything may have changed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_LENGTH = 10_000


class Changes(Generic[K]):
    """Keys by the version that changed them. Versions grow."""

    __slots__ = ("_entries", "_forgotten", "_length")

    def __init__(self, length: int = _LENGTH) -> None:
        self._entries: OrderedDict[K, int] = OrderedDict()
        """The version that changed a key last, the oldest first."""
        self._forgotten = 0
        """The last version whose changes may have left the log."""
        self._length = length

    def note(self, version: int, key: K) -> None:
        """The change that led to `version` was about `key`."""
        self._entries[key] = version
        self._entries.move_to_end(key)
        if len(self._entries) > self._length:
            self._forgotten = self._entries.popitem(last=False)[1]

    def since(self, version: int) -> set[K] | None:
        """The keys that changed after `version`, or None if that is not known any more."""
        if version < self._forgotten:
            return None
        changed: set[K] = set()
        for key, when in reversed(self._entries.items()):
            if when <= version:
                break
            changed.add(key)
        return changed
