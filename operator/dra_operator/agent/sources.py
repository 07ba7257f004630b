"""Where a node's devices come from.

A source answers one question, which devices this node has now, as a slice lists them. The agent asks it and publishes
the answer; it does not know whether real GPUs or a file stand behind it.
"""

from __future__ import annotations

from typing import Protocol

from dra_operator.api.resource import BasicDevice


class SourceError(Exception):
    """The source cannot say what there is. What it said last stands."""


class Source(Protocol):
    """The devices of one node."""

    def devices(self) -> list[BasicDevice]:
        """All devices, in a stable order. Reads anew on each call, and may block. Raises SourceError."""
        ...
