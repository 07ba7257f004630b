"""The nodes of a cluster by name, with a version, so that who has seen them before need not compare them.

`version` grows with every node that is put in, replaced or taken out.
"""

from __future__ import annotations

from collections import UserDict

from dra_operator.api.core import Node


class Nodes(UserDict[str, Node]):
    """See the module."""

    def __init__(self) -> None:
        self.version = 0
        super().__init__()

    def __setitem__(self, name: str, node: Node) -> None:
        self.version += 1
        super().__setitem__(name, node)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self.version += 1
