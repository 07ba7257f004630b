"""Calls in generated code: operators, the library's functions, optionals.

Where the types of the operands are known, or can be asked for with `type(x) is …`, the operation is written out or the
library's function called directly; everything else goes through the evaluator's own function for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeGuard

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version
from dra_operator.cel import arithmetic, budget
from dra_operator.cel import operators as op
from dra_operator.cel.ast import Call, Literal, MapLiteral, Node, children
from dra_operator.cel.compiled.generate import RULES, SPECIAL, Generator, chained
from dra_operator.cel.compiled.runtime import Dispatch
from dra_operator.cel.compiled.source import Term
from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import BRIEF, Overload
from dra_operator.cel.values import DomainMap, NameMap, Optional

# Functions that are computed when the selector is compiled, if all arguments are constant. Their results are small.
_FOLDED: Final = frozenset(("quantity", "semver", "ip", "cidr", "url"))

# Functions that cannot fail once their arguments have the right types.
_SAFE: Final = frozenset(
    (
        "compareTo",
        "contains",
        "endsWith",
        "isGreaterThan",
        "isInteger",
        "isLessThan",
        "isQuantity",
        "isSemver",
        "lowerAscii",
        "major",
        "minor",
        "patch",
        "sign",
        "startsWith",
        "upperAscii",
    )
)
_EXACT: Final[dict[str, type]] = {
    "bool": bool,
    "int": int,
    "double": float,
    "string": str,
    "kubernetes.Quantity": Quantity,
    "kubernetes.Semver": Version,
}
_COMPARISONS: Final = {op.LESS: "<", op.LESS_EQUALS: "<=", op.GREATER: ">", op.GREATER_EQUALS: ">="}
_EQUALITY: Final = {op.EQUALS: "==", op.NOT_EQUALS: "!="}
_PLAIN: Final = frozenset((str, int, bool))
_HARD_FAILURES: Final = frozenset((op.IN, op.ADD, op.MAP_INSERT, "replace", "join", "flatten"))


def call(g: Generator, node: Call) -> Term:
    special = SPECIAL.get(node.function)
    return _plain_call(g, node) if special is None else special(g, node)


def _plain_call(g: Generator, node: Call) -> Term:
    resolution = g.calls[node.id]
    nodes = (node.target, *node.args) if resolution.is_method and node.target is not None else node.args
    certain = len(resolution.overloads) == 1
    name = resolution.overloads[0].function
    if name in _FOLDED and certain and all(map(g.is_constant, nodes)):
        folded = _fold(g, resolution.overloads[0], nodes)
        if folded is not None:
            return folded
    args = _arguments(g, nodes)
    if node.id in g.program.constants.patterns and args[0].kind is not str:
        args[0] = Term(f"text_within({args[0].code})", can_fail=args[0].can_fail)
    if name in arithmetic.OPERATORS:
        _spend_call(g, name, args, certain=certain)
        return _operator(g, name, args)
    return _function(g, name, resolution.overloads, args)


def _fold(g: Generator, overload: Overload, nodes: Sequence[Node]) -> Term | None:
    values = tuple(g.term(node).constant for node in nodes)
    if overload.call is None or not overload.accepts(values):
        return None
    try:
        result = overload.call(*values)
    except CELEvaluationError:
        return None  # fails when it is evaluated, if it is
    g.spend(budget.call_cost(overload.function, values) + budget.result_cost(overload.function, result))
    return g.source.constant(result)


def _arguments(g: Generator, nodes: Sequence[Node]) -> list[Term]:
    """The values of a call's arguments. Of two, the second is evaluated even if the first fails."""
    if len(nodes) > 2 or not _failure_shows(g, nodes):
        return g.terms(nodes)
    uncertain = [node for node in nodes if not g.is_constant(node)]
    if len(uncertain) == 1:
        return [_or_pay(g, node) if node is uncertain[0] else g.term(node) for node in nodes]
    failure = g.source.name("f")
    g.flush()
    g.source.line(f"{failure} = None")
    terms: list[Term] = []
    for node in nodes:
        with g.source.block("try:"):
            found = g.term(node)
            name = g.source.name()
            g.flush()
            g.source.line(f"{name} = {found.code}")
            terms.append(Term(name, found.kind, is_atom=True, values=found.values))
        with g.source.block("except CELEvaluationError as error:"):
            g.source.line(f"if {failure} is None: {failure} = error")
    with g.source.block(f"if {failure} is not None:"):
        if g.counting:
            g.source.line("cost += 1")
        g.source.line(f"raise {failure}")
    return terms


def _or_pay(g: Generator, node: Node) -> Term:
    """The only argument that can fail: then the call is paid for."""
    g.flush()
    with g.source.block("try:"):
        found = g.stored(g.term(node))
        g.flush()
    with g.source.block("except CELEvaluationError:"):
        if g.counting:
            g.source.line("cost += 1")
        g.source.line("raise")
    return found


def _failure_shows(g: Generator, nodes: Sequence[Node]) -> bool:
    """Whether it makes a difference that the second argument is evaluated, or that a failed call is paid for."""
    if g.counting:
        return not all(g.is_constant(node) or g.is_plain_name(node) for node in nodes)
    return len(nodes) == 2 and _can_fail_hard(nodes[1]) and not g.is_constant(nodes[0])


def _can_fail_hard(node: Node) -> bool:
    """Whether evaluation may end with an error that no operator absorbs."""
    if isinstance(node, MapLiteral) or (isinstance(node, Call) and node.function in _HARD_FAILURES):
        return True
    return any(map(_can_fail_hard, children(node)))


# -- cost


def _spend_call(g: Generator, name: str, args: list[Term], *, certain: bool) -> None:
    if not g.counting:
        return
    rule = budget.rule_for(name, certain=certain)
    if rule is None:
        g.spend(1)
        return
    if all(arg.is_constant for arg in args) and name in arithmetic.OPERATORS:
        g.spend(rule(tuple(arg.constant for arg in args)))
        return
    args[:] = [g.stored(arg) for arg in args]
    g.flush()
    g.source.line(f"cost += {g.source.bind(rule)}(({', '.join(arg.code for arg in args)},))")
    g.check_cost()


# -- operators


def _operator(g: Generator, name: str, args: Sequence[Term]) -> Term:
    if name in _EQUALITY:
        return _equality(g, name, *args)
    if name in _COMPARISONS:
        return _comparison(g, name, *args)
    if name == op.LOGICAL_NOT and args[0].kind is bool:
        return Term(f"(not {args[0].code})", bool, can_fail=args[0].can_fail)
    kind = bool if name == op.LOGICAL_NOT else None
    return _apply(g, arithmetic.OPERATORS[name], args, kind)


def _apply(g: Generator, function: Callable[..., object], args: Sequence[Term], kind: type | None) -> Term:
    return Term(f"{g.source.bind(function)}({', '.join(arg.code for arg in args)})", kind, can_fail=True)


def _equality(g: Generator, name: str, left: Term, right: Term) -> Term:
    operator = arithmetic.OPERATORS[name]
    fails = left.can_fail or right.can_fail
    sign = _EQUALITY[name]
    if left.kind is right.kind and left.kind in _PLAIN:
        return Term(f"({left.code} {sign} {right.code})", bool, can_fail=fails)
    # A Kubernetes value on the left refuses to be compared with anything else; `!=` takes that for "differs".
    refuses = name == op.EQUALS and left.kind not in _PLAIN
    if right.kind in _PLAIN and left.kind is None:
        left, right = _stored_in_order(g, left, right)
        return _guarded(g, left, right, left, f"{left.code} {sign} {right.code}", operator, refuses=refuses)
    if left.kind in _PLAIN and right.kind is None:
        left, right = _stored_in_order(g, left, right)
        return _guarded(g, left, right, right, f"{left.code} {sign} {right.code}", operator, refuses=refuses)
    found = _apply(g, operator, (left, right), bool)
    return found if refuses or fails else Term(found.code, bool)


def _comparison(g: Generator, name: str, left: Term, right: Term) -> Term:
    operator = arithmetic.OPERATORS[name]
    plain = f"{left.code} {_COMPARISONS[name]} {right.code}"
    if left.kind is right.kind and left.kind in (int, str):
        return Term(f"({plain})", bool, can_fail=left.can_fail or right.can_fail)
    for asked, known in ((left, right), (right, left)):
        if known.kind in (int, str) and asked.kind is None:
            left, right = _stored_in_order(g, left, right)
            unknown = left if known.kind is right.kind and left.kind is None else right
            plain = f"{left.code} {_COMPARISONS[name]} {right.code}"
            return _guarded(g, left, right, unknown, plain, operator, refuses=True)
    return _apply(g, operator, (left, right), bool)


def _stored_in_order(g: Generator, left: Term, right: Term) -> tuple[Term, Term]:
    return g.stored(left), g.stored(right)


def _guarded(
    g: Generator,
    left: Term,
    right: Term,
    asked: Term,
    plain: str,
    operator: Callable[..., object],
    *,
    refuses: bool,
) -> Term:
    """`plain` if the term of unknown type has the type of the other one, else the operator for any types."""
    known = right if asked is left else left
    assert known.kind is not None
    general = f"{g.source.bind(operator)}({left.code}, {right.code})"
    return Term(f"({plain} if type({asked.code}) is {known.kind.__name__} else {general})", bool, can_fail=refuses)


# -- functions


def _function(g: Generator, name: str, overloads: tuple[Overload, ...], args: list[Term]) -> Term:
    certain = len(overloads) == 1
    chosen = overloads[0] if certain else None
    dispatch = Dispatch(name, overloads if certain else g.program.overloads[name], brief=name in BRIEF)
    result = _exact_result(chosen) if chosen is not None else None
    if g.counting:
        return _counted_function(g, name, dispatch, args, result, certain=certain)
    code = ", ".join(arg.code for arg in args)
    if chosen is not None and chosen.call is not None:
        unknown = _to_ask(chosen, args)
        if unknown is not None:
            if unknown:
                args = [g.stored(arg) for arg in args]
                code = ", ".join(arg.code for arg in args)
            direct = f"{g.source.bind(chosen.call)}({code})"
            if not unknown:
                fails = chosen.function not in _SAFE or any(arg.can_fail for arg in args)
                return Term(direct, result, can_fail=fails)
            guards = " and ".join(f"type({args[i].code}) is {g.source.bind(kind)}" for i, kind in unknown)
            return Term(f"({direct} if {guards} else {g.source.bind(dispatch)}({code}))", result, can_fail=True)
    return Term(f"{g.source.bind(dispatch)}({code})", result, can_fail=True)


def _exact_result(overload: Overload) -> type | None:
    """The type of the result, where simple arguments leave no doubt about it."""
    simple = overload.call is not None and all(wanted in _EXACT for wanted in overload.runtime)
    return _EXACT.get(overload.result.name) if simple else None


def _to_ask(overload: Overload, args: Sequence[Term]) -> list[tuple[int, type]] | None:
    """Which arguments have to be asked for their type, or None if that does not decide."""
    if len(overload.runtime) != len(args):
        return None
    unknown: list[tuple[int, type]] = []
    for position, (wanted, arg) in enumerate(zip(overload.runtime, args, strict=True)):
        if wanted is None:
            continue
        exact = _EXACT.get(wanted)
        if exact is None or (arg.kind is not None and arg.kind is not exact):
            return None
        if arg.kind is None:
            unknown.append((position, exact))
    return unknown


def _counted_function(
    g: Generator, name: str, dispatch: Dispatch, args: list[Term], result: type | None, *, certain: bool
) -> Term:
    args = [g.stored(arg) for arg in args]
    code = ", ".join(arg.code for arg in args)
    function = g.source.name("c")
    g.flush()
    with g.source.block("try:"):
        g.source.line(f"{function} = {g.source.bind(dispatch.find)}({code})")
    with g.source.block("except CELEvaluationError:"):
        g.source.line("cost += 1")
        g.source.line("raise")
    _spend_call(g, name, args, certain=certain)
    found = g.stored(Term(f"{function}({code})", result, can_fail=True))
    if budget.has_result_cost(name):
        g.source.line(f"cost += {g.source.bind(budget.result_cost)}({g.source.bind(name)}, {found.code})")
    return found


# -- operators that look into containers and optionals


def _in(g: Generator, node: Call) -> Term:
    item, container = g.terms(node.args)
    fails = item.can_fail or container.can_fail
    if node.id in g.program.constants.memberships:
        members = container.constant
        general = f"contains_constant({{}}, {container.code})"
        if all(type(member) is str for member in members):
            known = g.source.bind(frozenset(members))
            if item.kind is str:
                return Term(f"({item.code} in {known})", bool, can_fail=fails)
            item = g.stored(item)
            code = f"({item.code} in {known} if type({item.code}) is str else {general.format(item.code)})"
            return Term(code, bool, can_fail=True)
        return Term(general.format(item.code), bool, can_fail=True)
    if g.counting:
        item, container = g.stored(item), g.stored(container)
        _spend_call(g, op.IN, [item, container], certain=len(g.calls[node.id].overloads) == 1)
    if container.kind in (DomainMap, NameMap) and item.kind is str:
        return Term(f"({item.code} in {container.code})", bool, can_fail=fails)
    return Term(f"contains({item.code}, {container.code})", bool, can_fail=True)


def _or_value(g: Generator, node: Call) -> Term:
    assert node.target is not None
    optional, looked_up = _optional(g, node.target)
    held = g.source.name()
    if looked_up is not None:
        container, key = looked_up
        if g.is_constant(node.args[0]):
            other = g.term(node.args[0])
            kind = container.values if container.values is other.kind else None
            return Term(f"{container.code}.get({key.code}, {other.code})", kind, can_fail=container.can_fail)
        g.flush()
        g.source.line(f"{held} = {container.code}.get({key.code}, UNSET)")
    else:
        g.flush()
        g.source.line(f"{held} = the_value({optional.code})")
    g.within(f"if {held} is UNSET:", lambda: g.assign(held, node.args[0]))
    return Term(held, is_atom=True)


def _has_value(g: Generator, node: Call) -> Term:
    assert node.target is not None
    if g.counting or not _is_lookup(node.target):
        return _plain_call(g, node)
    optional, looked_up = _optional(g, node.target)
    if looked_up is None:
        return Term(f"(the_value({optional.code}) is not UNSET)", bool, can_fail=True)
    container, key = looked_up
    return Term(f"({key.code} in {container.code})", bool, can_fail=container.can_fail)


def _is_lookup(node: Node) -> TypeGuard[Call]:
    """Whether the node is `map.?name`, or `map[?"name"]`."""
    if not isinstance(node, Call) or node.function not in (op.OPT_SELECT, op.OPT_INDEX):
        return False
    return isinstance(node.args[1], Literal) and isinstance(node.args[1].value, str)


def _optional(g: Generator, node: Node) -> tuple[Term, tuple[Term, Term] | None]:
    """An optional; or, where it is a name looked up in the map of a domain, that map and the name instead."""
    if g.counting or not _is_lookup(node):
        return g.term(node), None
    container = chained(g, node.args[0])
    key = g.term(node.args[1])
    if container.kind is NameMap:
        return container, (container, key)
    return Term(f"optional_member({container.code}, {key.code})", Optional, can_fail=True), None


def _or(g: Generator, node: Call) -> Term:
    assert node.target is not None
    optional = g.stored(g.term(node.target))
    result = g.source.name()
    g.flush()
    g.source.line(f"{result} = {optional.code}")
    g.within(f"if the_value({optional.code}) is UNSET:", lambda: g.assign(result, node.args[0]))
    return Term(result, is_atom=True)


SPECIAL.update({op.IN: _in, "orValue": _or_value, "or": _or, "hasValue": _has_value})
RULES[Call] = call
