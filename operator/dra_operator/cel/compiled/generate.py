"""From a checked tree to Python that decides the same.

One function per selector, without calls for the usual things: `device.attributes["d"].x == "y"` becomes two subscripts
and a comparison, guarded by the type of the attribute; whatever the guard refuses goes to the function that the
evaluator uses too. Errors are exceptions, as there, raised in the same order.

Counting is decided beforehand. Where nothing can become expensive there is none; else the cost is a local variable that
grows exactly as the evaluator's budget, checked in every round of a fold and before calls whose work depends on values.

Members and literals are here, logic in `logic.py`, calls in `calls.py`, folds in `folds.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dra_operator.api.quantity import Quantity
from dra_operator.cel import budget
from dra_operator.cel import operators as op
from dra_operator.cel.ast import Call, Comprehension, Ident, ListLiteral, MapLiteral, MessageLiteral, Node, Select
from dra_operator.cel.chains import is_member_operator
from dra_operator.cel.compiled.source import CannotCompile, Source, Term
from dra_operator.cel.evaluate import Program
from dra_operator.cel.values import DomainMap, NameMap, Optional

_MAX_NODES: Final = 2_000
_UNSET: Final = object()


@dataclass(slots=True)
class Frame:
    """The variables of a fold while its parts are written."""

    fold: Comprehension
    accumulator: Term
    item: Term | None = None
    second_item: Term | None = None
    result_only: bool = False
    start: str = ""  # the function that computes a binding when it is first read


class Generator:
    """Writes one selector."""

    def __init__(self, program: Program, *, counting: bool) -> None:
        self.program = program
        self.counting = counting
        self.source = Source()
        self.frames: list[Frame] = []
        self.fields: set[str] = set()  # of the device, that are asked for
        self.calls = program.checked.calls
        self._constants = program.constants.values
        self._pending = 0
        self._nodes = 0

    # -- what a node gives

    def term(self, node: Node) -> Term:
        """Write what has to happen before, and return what gives the node's value."""
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise CannotCompile
        constant = self._constants.get(node.id, _UNSET)
        if constant is not _UNSET:
            return self.source.constant(constant)
        found = RULES[type(node)](self, node)
        return self.stored(found) if self.counting and found.can_fail else found

    def terms(self, nodes: Sequence[Node]) -> list[Term]:
        """The values of several nodes, one after the other."""
        terms: list[Term] = []
        for node in nodes:
            before = self.source.position
            found = self.term(node)
            self.store_earlier(terms, before)
            terms.append(found)
        return terms

    def store_earlier(self, terms: list[Term], position: int) -> None:
        """What was not evaluated yet, but could fail, has to be before the lines written since `position`."""
        if self.source.position == position:
            return
        for index, earlier in enumerate(terms):
            if earlier.can_fail and not earlier.is_atom:
                name = self.source.name()
                self.source.insert(position, f"{name} = {earlier.code}")
                position += 1
                terms[index] = Term(name, earlier.kind, is_atom=True, values=earlier.values)

    def stored(self, term: Term) -> Term:
        """The term as a name that can be repeated."""
        if term.is_atom:
            return term
        self.flush()
        name = self.source.name()
        self.source.line(f"{name} = {term.code}")
        return Term(name, term.kind, is_atom=True, values=term.values)

    def is_constant(self, node: Node) -> bool:
        return node.id in self._constants

    def is_plain_name(self, node: Node) -> bool:
        """Whether the node is a variable whose value is at hand: reading it cannot fail."""
        if not isinstance(node, Ident):
            return False
        return not any(node.name == frame.fold.accumulator for frame in self.frames)

    # -- cost

    def spend(self, cost: int) -> None:
        if self.counting:
            self._pending += cost

    def flush(self) -> None:
        """Write what was spent since the last time."""
        if self._pending:
            self.source.line(f"cost += {self._pending}")
            self._pending = 0

    def check_cost(self) -> None:
        self.flush()
        if self.counting:
            self.source.line("if cost > limit: raise too_expensive()")

    # -- blocks: what is spent inside is written inside

    def within(self, header: str, write: Callable[[], None]) -> None:
        self.flush()
        with self.source.block(header):
            write()
            self.flush()

    def assign(self, name: str, node: Node) -> None:
        """Write `name = value of node`."""
        found = self.term(node)
        self.flush()
        self.source.line(f"{name} = {found.code}")


# -- names


def _ident(g: Generator, node: Ident) -> Term:
    if node.id not in g.program.free_names:
        g.spend(budget.NAME)
    name = node.name
    if not name.startswith("."):
        for depth in range(len(g.frames) - 1, -1, -1):
            frame = g.frames[depth]
            if name == frame.fold.accumulator:
                return _accumulator(g, frame)
            if not frame.result_only:
                if name == frame.fold.variable and frame.item is not None:
                    return frame.item
                if name == frame.fold.second_variable and frame.second_item is not None:
                    return frame.second_item
    return DEVICE


def _accumulator(g: Generator, frame: Frame) -> Term:
    term = frame.accumulator
    if not term.can_fail:
        return term
    g.flush()
    if frame.start:
        g.source.line(f"if {term.code} is UNSET: {frame.start}()")
    g.source.line(f"if type({term.code}) is Failed: raise {term.code}.error")
    return Term(term.code, term.kind, is_atom=True, values=term.values)


# -- members


def _select(g: Generator, node: Select) -> Term:
    operand = chained(g, node.operand)
    field = g.source.constant(node.field)
    if operand is DEVICE:
        if node.test_only:
            return g.source.constant(True)
        g.spend(budget.SELECTION)
        g.fields.add(node.field)
        return FIELDS[node.field]
    if node.test_only:
        if operand.kind is DomainMap:
            return g.source.constant(True)
        if operand.kind is NameMap:
            return Term(f"({field.code} in {operand.code})", bool, can_fail=operand.can_fail)
        return Term(f"is_present({operand.code}, {field.code})", bool, can_fail=True)
    return _member_of(g, operand, field, "select")


def chained(g: Generator, operand: Node) -> Term:
    """What a member is taken of. A chain that starts at something else than a name costs one."""
    found = g.term(operand)
    if not isinstance(operand, Ident | Select) and not is_member_operator(operand):
        g.spend(budget.NAME)
    return found


def _member_of(g: Generator, container: Term, key: Term, helper: str) -> Term:
    fails = container.can_fail or key.can_fail
    if key.kind is str:
        if container.kind is DomainMap:
            g.spend(budget.SELECTION)
            return Term(f"{container.code}[{key.code}]", NameMap, can_fail=fails, values=container.values)
        if container.kind is NameMap:
            g.spend(budget.SELECTION)
            return Term(f"{container.code}[{key.code}]", container.values, can_fail=True)
    if not g.counting:
        return Term(f"{helper}({container.code}, {key.code})", can_fail=True)
    container, key = g.stored(container), g.stored(key)
    result = g.source.name()
    g.flush()
    with g.source.block(f"if type({container.code}) is Optional:"):
        g.source.line(f"{result} = {helper}({container.code}, {key.code})")
        g.source.line(f"if {result}.present: cost += {budget.SELECTION}")
    with g.source.block("else:"):
        if not key.is_constant:
            g.source.line(f"check_index({key.code})")
        g.source.line(f"cost += {budget.SELECTION}")
        g.source.line(f"{result} = {helper}({container.code}, {key.code})")
    return Term(result, is_atom=True)


def _index(g: Generator, node: Call) -> Term:
    return _keyed(g, node, lambda container, key: _member_of(g, container, key, "member"))


def _optional_member(g: Generator, node: Call) -> Term:
    return _keyed(g, node, lambda container, key: _optional_member_of(g, container, key))


def _keyed(g: Generator, node: Call, look_up: Callable[[Term, Term], Term]) -> Term:
    """A member by its key, which is not evaluated where the container is an optional without value."""
    container = chained(g, node.args[0])
    if g.is_constant(node.args[1]) or container.kind in (DomainMap, NameMap):
        terms = [container]
        before = g.source.position
        key = g.term(node.args[1])
        g.store_earlier(terms, before)
        return look_up(terms[0], key)
    container = askable(g, g.stored(container))
    result = g.source.name()

    def write() -> None:
        found = look_up(container, g.term(node.args[1]))
        g.flush()
        g.source.line(f"{result} = {found.code}")

    g.flush()
    with g.source.block(f"if type({container.code}) is Optional and not {container.code}.present:"):
        g.source.line(f"{result} = NONE")
    g.within("else:", write)
    return Term(result, is_atom=True)


def _optional_member_of(g: Generator, container: Term, key: Term) -> Term:
    found = Term(f"optional_member({container.code}, {key.code})", Optional, can_fail=True)
    if not g.counting:
        return found
    found = g.stored(found)
    g.source.line(f"if {found.code}.present: cost += {budget.SELECTION}")
    return found


def askable(g: Generator, term: Term) -> Term:
    """The term as something that `is` and attributes may follow: not a number."""
    return Term(g.source.bind(term.constant), is_atom=True) if term.is_constant and term.kind is not bool else term


# -- aggregates


def _list(g: Generator, node: ListLiteral) -> Term:
    terms = g.terms(node.elements)
    parts = [
        f"*list_item({term.code})" if position in node.optional else term.code for position, term in enumerate(terms)
    ]
    fails = bool(node.optional) or any(term.can_fail for term in terms)
    found = Term(f"[{', '.join(parts)}]", list, can_fail=fails)
    if fails and g.counting:
        found = g.stored(found)
    g.spend(budget.LIST)
    return found


def _map(g: Generator, node: MapLiteral) -> Term:
    g.flush()
    result = g.source.name()
    g.source.line(f"{result} = {g.source.bind(dict)}()")
    for entry in node.entries:
        key = g.stored(Term(f"map_key({g.term(entry.key).code})", can_fail=True))
        value = g.term(entry.value)
        g.flush()
        g.source.line(f"{'put_optional' if entry.optional else 'put'}({result}, {key.code}, {value.code})")
    g.spend(budget.MAP)
    return Term(result, dict, is_atom=True)


def _message(_: Generator, __: MessageLiteral) -> Term:
    raise CannotCompile  # hardly any selector has one: the evaluator's pace will do


DEVICE: Final = Term("view.device", dict, is_atom=True)
FIELDS: Final[dict[str, Term]] = {
    "driver": Term("driver", str, is_atom=True),
    "allowMultipleAllocations": Term("multiple", bool, is_atom=True),
    "attributes": Term("attributes", DomainMap, is_atom=True),
    "capacity": Term("capacity", DomainMap, is_atom=True, values=Quantity),
}

Rule = Callable[[Generator, Any], Term]

SPECIAL: Final[dict[str, Rule]] = {
    op.INDEX: _index,
    op.OPT_INDEX: _optional_member,
    op.OPT_SELECT: _optional_member,
}
RULES: Final[dict[type[Node], Rule]] = {
    Ident: _ident,
    Select: _select,
    ListLiteral: _list,
    MapLiteral: _map,
    MessageLiteral: _message,
}
