"""The fast path: a selector as one generated Python function.

`decision(program, counting=…)` gives that function, or None for the few expressions that are too large or too deep for
Python's own limits, write messages, or keep optionals in lists or maps. Its answers and errors are those of
`evaluate.py`, which stays the definition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dra_operator.cel.ast import Comprehension, ListLiteral, MapLiteral, Node, all_nodes, is_binding
from dra_operator.cel.check import Checked
from dra_operator.cel.compiled import calls, folds, logic  # noqa: F401 - they register their rules
from dra_operator.cel.compiled.generate import FIELDS, Generator
from dra_operator.cel.compiled.runtime import HELPERS
from dra_operator.cel.compiled.source import CannotCompile
from dra_operator.cel.device import DeviceView
from dra_operator.cel.evaluate import Program
from dra_operator.cel.types import K, Type, unwrap_optional

# Without counting: the value. With it: value and cost.
Decision = Callable[[DeviceView, int], Any]

_READS: Final = {
    "driver": "driver",
    "allowMultipleAllocations": "allow_multiple_allocations",
    "attributes": "attributes_by_domain",
    "capacity": "capacity_by_domain",
}


def decision(program: Program, *, counting: bool) -> Decision | None:
    """The compiled selector."""
    try:
        text, constants = python_of(program, counting=counting)
    except CannotCompile:
        return None
    scope: dict[str, Any] = {"__builtins__": {}} | HELPERS | constants
    exec(compile(text, "<selector>", "exec", dont_inherit=True), scope)  # noqa: S102 - made of names and small numbers only
    made: Decision = scope["decide"]
    return made


def loops(program: Program) -> bool:
    """Whether evaluation may go over a list."""
    nodes = all_nodes(program.checked.root)
    return any(isinstance(node, Comprehension) and not is_binding(node) for node in nodes)


def keeps_optionals(checked: Checked) -> bool:
    """Whether a list or map may hold an optional, which as a member of one is not looked into by the chain it is in."""
    types = [(node, checked.types[node.id]) for node in all_nodes(checked.root) if node.id in checked.types]
    if not any(unwrap_optional(of)[1] for _, of in types):
        return False
    return any(_is_made_of_values(node) and _may_hold_optionals(of) for node, of in types)


def _is_made_of_values(node: Node) -> bool:
    match node:
        case ListLiteral():
            return bool(node.elements)
        case MapLiteral():
            return bool(node.entries)
        case Comprehension():
            return not is_binding(node)
        case _:
            return False


def _may_hold_optionals(of: Type) -> bool:
    return any(part.kind is K.DYN or unwrap_optional(part)[1] or _may_hold_optionals(part) for part in of.params)


def python_of(program: Program, *, counting: bool) -> tuple[str, dict[str, Any]]:
    """The Python text of a selector, and the constants that it names. Raises CannotCompile."""
    if program.is_deep or keeps_optionals(program.checked):
        raise CannotCompile
    generator = Generator(program, counting=counting)
    source = generator.source
    with source.block("def decide(view, limit):"):
        start = source.position
        if counting:
            source.line("cost = 0")
            with source.block("try:"):
                generator.assign("result", program.checked.root)
            with source.block("except CELRuntimeError:"):
                source.line("if cost > limit: raise too_expensive() from None")
                source.line("raise")
            source.line("if cost > limit: raise too_expensive()")
            source.line("return result, cost")
        else:
            source.line(f"return {generator.term(program.checked.root).code}")
        for field in sorted(generator.fields):
            source.insert(start, f"{FIELDS[field].code} = view.{_READS[field]}")
    return source.text(), source.constants
