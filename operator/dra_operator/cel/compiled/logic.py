"""Logic in generated code: operators that do not evaluate all of their operands, or go on where one fails.

The order of what is evaluated, and which failure is told, are the evaluator's.
"""

from __future__ import annotations

from dra_operator.cel import operators as op
from dra_operator.cel.ast import Call, Node
from dra_operator.cel.compiled.generate import SPECIAL, Generator, askable
from dra_operator.cel.compiled.source import Term


def _and(g: Generator, node: Call) -> Term:
    return _logic(g, node, decisive=False)


def _or(g: Generator, node: Call) -> Term:
    return _logic(g, node, decisive=True)


def _logic(g: Generator, node: Call, *, decisive: bool) -> Term:
    """Terms one after the other until one decides; a term that fails only counts if none does."""
    result, failure = g.source.name("r"), g.source.name("f")
    undecided = f"if {result} is {not decisive}:"
    g.flush()
    g.source.line(f"{result} = {not decisive}")
    declared = g.source.position
    may_have_failed = False
    for index, part in enumerate(node.args):
        is_last = index == len(node.args) - 1
        if index == 0:
            fails = _logic_part(g, part, result, failure, decisive=decisive, guarded=False, catch=not is_last)
        else:
            g.flush()
            with g.source.block(undecided):
                catch = may_have_failed or not is_last
                fails = _logic_part(g, part, result, failure, decisive=decisive, guarded=True, catch=catch)
        may_have_failed = may_have_failed or fails
    if may_have_failed:
        g.source.insert(declared, f"{failure} = None")
        g.source.line(f"if {result} is {not decisive} and {failure} is not None: raise {failure}")
    return Term(result, bool, is_atom=True)


def _logic_part(
    g: Generator, part: Node, result: str, failure: str, *, decisive: bool, guarded: bool, catch: bool
) -> bool:
    """Write one term. Returns whether it may leave a failure behind."""
    before = g.source.position
    found = g.term(part)
    wrote = g.source.position > before
    is_bool = found.kind is bool
    if not (catch and (found.can_fail or wrote)) and is_bool:
        g.flush()
        g.source.line(f"{result} = {found.code}")
        return False
    if catch and (found.can_fail or wrote):
        g.source.indent_since(before, "try:")
        with g.source.deeper():
            g.flush()
            name = g.source.name()
            g.source.line(f"{name} = {found.code}")
            _take_bool(g, name, result, failure, decisive=decisive, is_bool=is_bool, catch=True)
        with g.source.block("except CELEvaluationError as error:"):
            g.source.line(f"if {failure} is None: {failure} = error")
        return True
    name = askable(g, g.stored(found)).code
    g.flush()
    _take_bool(g, name, result, failure, decisive=decisive, is_bool=is_bool, catch=catch)
    return catch


def _take_bool(
    g: Generator, name: str, result: str, failure: str, *, decisive: bool, is_bool: bool, catch: bool
) -> None:
    if is_bool:
        g.source.line(f"{result} = {name}")
        return
    g.source.line(f"if {name} is {decisive}: {result} = {decisive}")
    refuse = f"if {failure} is None: {failure} = not_a_bool()" if catch else "raise not_a_bool()"
    with g.source.block(f"elif {name} is not {not decisive}:"):
        g.source.line(refuse)


def _conditional(g: Generator, node: Call) -> Term:
    condition, then, otherwise = node.args
    chosen = askable(g, g.stored(g.term(condition)))
    result = g.source.name("r")
    g.within(f"if {chosen.code} is True:", lambda: g.assign(result, then))
    g.within(f"elif {chosen.code} is False:", lambda: g.assign(result, otherwise))
    if chosen.kind is not bool:
        with g.source.block("else:"):
            g.source.line("raise not_a_bool()")
    return Term(result, is_atom=True)


def _not_strictly_false(g: Generator, node: Call) -> Term:
    result = g.source.name("r")
    g.within("try:", lambda: g.assign(result, node.args[0]))
    with g.source.block("except CELEvaluationError:"):
        g.source.line(f"{result} = True")
    g.spend(1)
    return Term(f"({result} is not False)", bool)


SPECIAL.update(
    {
        op.LOGICAL_AND: _and,
        op.LOGICAL_OR: _or,
        op.CONDITIONAL: _conditional,
        op.NOT_STRICTLY_FALSE: _not_strictly_false,
    }
)
