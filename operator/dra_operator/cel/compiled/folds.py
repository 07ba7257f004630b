"""Folds in generated code: loops for `all`, `exists` and the others, and bindings that are computed when first read.

A binding (`cel.bind`, `optMap`) is a variable at once where its value cannot fail and nobody counts, else a function
inside the function, called where the variable is first read.
"""

from __future__ import annotations

from dra_operator.cel import operators as op
from dra_operator.cel.ast import Call, Comprehension, Ident, Literal, is_binding
from dra_operator.cel.compiled.generate import DEVICE, RULES, Frame, Generator
from dra_operator.cel.compiled.source import Term
from dra_operator.cel.values import DomainMap, NameMap


def fold(g: Generator, node: Comprehension) -> Term:
    if is_binding(node):
        return _binding(g, node)
    decisive = _decisive(node)
    return _loop(g, node) if decisive is None else _decision(g, node, decisive=decisive)


def _items(g: Generator, node: Comprehension) -> tuple[str, Frame]:
    """What the loop goes over, and a frame with its variables."""
    over = g.term(node.range)
    item = Term(g.source.name("v"), is_atom=True)
    frame = Frame(node, Term(g.source.name("a"), is_atom=True, can_fail=True), item)
    if node.second_variable is None:
        return f"for {item.code} in elements_of({over.code}):", frame
    frame.second_item = Term(g.source.name("v"), is_atom=True)
    return f"for {item.code}, {frame.second_item.code} in pairs_of({over.code}):", frame


# -- all, exists


def _decisive(node: Comprehension) -> bool | None:
    """The answer that ends an `exists` (True) or an `all` (False); None for other folds."""
    step, condition = node.step, node.condition
    if not (isinstance(step, Call) and step.function in (op.LOGICAL_AND, op.LOGICAL_OR) and len(step.args) == 2):
        return None
    if not (isinstance(condition, Call) and condition.function == op.NOT_STRICTLY_FALSE):
        return None
    first = step.args[0]
    is_fold = isinstance(first, Ident) and first.name == node.accumulator and isinstance(node.result, Ident)
    return step.function == op.LOGICAL_OR if is_fold else None


def _decision(g: Generator, node: Comprehension, *, decisive: bool) -> Term:
    """The loop of `all` or `exists`: it ends when an element decides; failures only count if none does."""
    assert isinstance(node.step, Call)
    header, frame = _items(g, node)
    result, failure = g.source.name("r"), g.source.name("f")
    g.flush()
    g.source.line(f"{result} = {not decisive}")
    g.source.line(f"{failure} = None")
    with g.source.block(header):
        g.spend(3 if decisive else 2)  # the condition: its name, the negation in `exists`, the test
        g.check_cost()
        g.source.line(f"if {result} is {decisive}: break")
        g.spend(1)  # the accumulator's name
        g.frames.append(frame)
        name = g.source.name()
        g.within("try:", lambda: g.assign(name, node.step.args[1]))  # type: ignore[attr-defined]
        with g.source.block("except CELEvaluationError as error:"):
            g.source.line(f"if {failure} is None: {failure} = error")
            g.source.line("continue")
        g.frames.pop()
        g.source.line(f"if {name} is {decisive}: {result} = {decisive}; {failure} = None")
        g.source.line(f"elif {name} is not {not decisive} and {failure} is None: {failure} = not_a_bool()")
    g.spend(1)
    g.flush()
    g.source.line(f"if {failure} is not None: raise {failure}")
    return Term(result, bool, is_atom=True)


# -- map, filter, exists_one, transform…


def _loop(g: Generator, node: Comprehension) -> Term:
    header, frame = _items(g, node)
    held = frame.accumulator.code
    g.flush()
    g.source.line(f"{held} = accumulator({g.term(node.init).code})")
    with g.source.block(header):
        g.frames.append(frame)
        g.check_cost()
        if not (isinstance(node.condition, Literal) and node.condition.value is True):
            condition = g.term(node.condition)
            g.flush()
            g.source.line(f"if {condition.code} is False: break")
        g.within("try:", lambda: g.assign(held, node.step))
        with g.source.block("except CELEvaluationError as error:"):
            g.source.line(f"{held} = Failed(error)")
        frame.result_only = True
    result = g.stored(g.term(node.result))
    g.frames.pop()
    return result if result.kind is bool else Term(f"frozen({result.code})")


# -- bindings


def _binding(g: Generator, node: Comprehension) -> Term:
    held = g.source.name("b")
    if g.is_constant(node.init):
        first = g.term(node.init)
        if isinstance(first.constant, list | tuple | dict):
            g.flush()
            g.source.line(f"{held} = accumulator({first.code})")
            first = Term(held, is_atom=True)
        return _body(g, Frame(node, first, result_only=True))
    if not g.counting:
        before = g.source.position
        first = g.term(node.init)
        if first is DEVICE or (not first.can_fail and first.kind is not DomainMap and _is_simple(g, before)):
            if first.kind is None or (issubclass(first.kind, list | dict) and first.kind is not NameMap):
                first = first if first is DEVICE else Term(f"accumulator({first.code})")
            return _body(g, Frame(node, first if first is DEVICE else g.stored(first), result_only=True))
        g.source.forget_since(before)
    return _lazy_binding(g, node, held)


def _is_simple(g: Generator, before: int) -> bool:
    return g.source.position == before


def _lazy_binding(g: Generator, node: Comprehension, held: str) -> Term:
    start = g.source.name("start")
    g.flush()
    g.source.line(f"{held} = UNSET")
    with g.source.block(f"def {start}():"):
        g.source.line(f"nonlocal {held}{', cost' if g.counting else ''}")
        with g.source.block("try:"):
            first = g.term(node.init)
            g.flush()
            g.source.line(f"{held} = accumulator({first.code})")
        with g.source.block("except CELEvaluationError as error:"):
            g.source.line(f"{held} = Failed(error)")
    return _body(g, Frame(node, Term(held, is_atom=True, can_fail=True), result_only=True, start=start))


def _body(g: Generator, frame: Frame) -> Term:
    g.frames.append(frame)
    result = g.stored(g.term(frame.fold.result))
    g.frames.pop()
    return Term(f"frozen({result.code})", is_atom=False) if result.kind is None else result


RULES[Comprehension] = fold
