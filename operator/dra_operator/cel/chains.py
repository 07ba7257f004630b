"""Chains of members, `a.b["c"].?d`: what they are made of, and which names in them cost nothing.

A name costs one, but not where it starts a branch of `? :` or a key: upstream reads those as attributes, of which only
the members are counted.

Upstream: `interpreter/attributes.go` and `runtimecost.go` in cel-go.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, TypeGuard

from dra_operator.cel import operators as op
from dra_operator.cel.ast import Call, Ident, Node, Select, all_nodes

_MEMBER_OPERATORS: Final = frozenset((op.INDEX, op.OPT_INDEX, op.OPT_SELECT))
_HAVE_FREE_PARTS: Final = _MEMBER_OPERATORS | {op.CONDITIONAL}


def is_member_operator(node: Node) -> TypeGuard[Call]:
    return isinstance(node, Call) and node.function in _MEMBER_OPERATORS


def free_names(root: Node, constants: Collection[int]) -> frozenset[int]:
    """Variables, by node id, at the start of a branch or of a key: they cost nothing there, only their members do."""
    free: set[int] = set()
    for node in all_nodes(root):
        if isinstance(node, Call) and node.function in _HAVE_FREE_PARTS:
            for part in node.args[1:]:
                start = _start_of_chain(part)
                if part.id not in constants and isinstance(start, Ident):
                    free.add(start.id)
    return frozenset(free)


def _start_of_chain(node: Node) -> Node:
    """The `a` of `a.b["c"].?d`."""
    while True:
        if isinstance(node, Select) and not node.test_only:
            node = node.operand
        elif is_member_operator(node):
            node = node.args[0]
        else:
            return node
