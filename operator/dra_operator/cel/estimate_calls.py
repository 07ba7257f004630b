"""What a call can cost at most, and how large its result can be.

Upstream: `functionCost` in `checker/cost.go` and `ext/{lists,sets}.go` of cel-go; `pkg/cel/library/cost.go` in
k8s.io/apiserver, whose rules go by the name of the function alone and come first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dra_operator.cel import budget
from dra_operator.cel import operators as op
from dra_operator.cel import types as t
from dra_operator.cel.ast import Call, Literal, Node
from dra_operator.cel.functions import Overload
from dra_operator.cel.sizes import ONE, UNLIMITED, Size, plus, scaled, times, wrapped
from dra_operator.cel.types import K, Type

if TYPE_CHECKING:
    from dra_operator.cel.estimate import Estimator

_CHARACTER: Final = 0.1
_PATTERN: Final = 0.25
_FORMAT_PATTERN: Final = 128
_MAX_FORMAT: Final = 64
_AUTHORIZATION: Final = 350_000
_REQUIREMENT: Final = 50.0  # a structure with a list
_ADDRESS: Final = 16  # bytes of the longest IP address

_CONSTANT_COST: Final = (
    *(t.IP, t.CIDR, t.QUANTITY, t.SEMVER),
    *(t.AUTHORIZER, t.PATH_CHECK, t.GROUP_CHECK, t.RESOURCE_CHECK, t.DECISION),
)

Estimate = tuple[int, Size | None]
Rule = Callable[["Estimator", Call, Overload, Node | None], Estimate]


def call_estimate(of: Estimator, node: Call, overload: Overload, target: Node | None) -> Estimate:
    """Cost of one overload of a call, without its arguments, and the size of the result if that is known."""
    rule = _RULES.get(overload.function)
    return (1, None) if rule is None else rule(of, node, overload, target)


def _traversed(of: Estimator, node: Node | None) -> int:
    return 1 if node is None else scaled(of.size_or_unknown(node).most, _CHARACTER)


def _first_argument(of: Estimator, node: Call, _: Overload, __: Node | None) -> Estimate:
    return _traversed(of, node.args[0]), None


def _keeps_first(of: Estimator, node: Call, _: Overload, __: Node | None) -> Estimate:
    return _traversed(of, node.args[0]), of.size_or_unknown(node.args[0])


def _keeps_target(of: Estimator, _: Call, __: Overload, target: Node | None) -> Estimate:
    assert target is not None
    return _traversed(of, target), of.size_or_unknown(target)


def _twice(of: Estimator, node: Call, _: Overload, __: Node | None) -> Estimate:
    return scaled(of.size_or_unknown(node.args[0]).most, 2 * _CHARACTER), None


# -- operators


def _equality(of: Estimator, node: Call, overload: Overload, _: Node | None) -> Estimate:
    left, right = node.args
    kind = of.type_of(left)
    if overload.function == op.EQUALS and kind == of.type_of(right):
        if kind in _CONSTANT_COST:
            return 1, None
        if kind == t.FORMAT:
            return scaled(_MAX_FORMAT, _CHARACTER), None
        if kind == t.URL:
            return scaled((of.size(right) or ONE).most, _CHARACTER), None
    return scaled(min(of.size_or_unknown(left).most, of.size_or_unknown(right).most), _CHARACTER), None


def _order(of: Estimator, node: Call, overload: Overload, target: Node | None) -> Estimate:
    return _equality(of, node, overload, target) if overload.args[0] in (t.STRING, t.BYTES) else (1, None)


def _add(of: Estimator, node: Call, overload: Overload, _: Node | None) -> Estimate:
    kind = overload.args[0]
    if kind not in (t.STRING, t.BYTES) and kind.kind is not K.LIST:
        return 1, None
    left, right = node.args
    size = of.size_or_unknown(left) + of.size_or_unknown(right)
    one, other = of.entry(left), of.entry(right)
    of.set_entry(node, None if one is None or other is None else one | other)
    return (1 if kind.kind is K.LIST else scaled(size.most, _CHARACTER)), size


def _in(of: Estimator, node: Call, overload: Overload, _: Node | None) -> Estimate:
    return (of.size_or_unknown(node.args[1]).most if overload.args[1].kind is K.LIST else 1), None


# -- strings


def _encode(of: Estimator, node: Call, overload: Overload, _: Node | None) -> Estimate:
    if overload.args[0] != t.STRING:
        return 1, None
    size = of.size_or_unknown(node.args[0])
    return scaled(size.most, _CHARACTER), Size(size.least, wrapped(size.most * 4))


def _decode(of: Estimator, node: Call, overload: Overload, _: Node | None) -> Estimate:
    if overload.args[0] != t.BYTES:
        return 1, None
    size = of.size_or_unknown(node.args[0])
    return scaled(size.most, _CHARACTER), Size(size.least // 4, size.most)


def _quote(of: Estimator, node: Call, _: Overload, __: Node | None) -> Estimate:
    size = of.size_or_unknown(node.args[0])
    return scaled(size.most, _CHARACTER), Size(wrapped(size.least + 2), wrapped(size.most * 2 + 2))


def _format(of: Estimator, _: Call, __: Overload, target: Node | None) -> Estimate:
    return _traversed(of, target), None


def _contains(of: Estimator, node: Call, _: Overload, target: Node | None) -> Estimate:
    return times(_traversed(of, target), _traversed(of, node.args[0])), None


def _pattern_cost(of: Estimator, text: Node, pattern: Node) -> int:
    characters = scaled((of.size_or_unknown(text) + ONE).most, _CHARACTER)
    return times(characters, scaled(of.size_or_unknown(pattern).most, _PATTERN))


def _matches(of: Estimator, node: Call, _: Overload, target: Node | None) -> Estimate:
    text, pattern = node.args if target is None else (target, node.args[0])
    return _pattern_cost(of, text, pattern), None


def _find(of: Estimator, node: Call, _: Overload, target: Node | None) -> Estimate:
    assert target is not None
    return _pattern_cost(of, target, node.args[0]), Size(0, of.size_or_unknown(target).most)


def _replace(of: Estimator, node: Call, _: Overload, target: Node | None) -> Estimate:
    assert target is not None
    text, old, new = of.size_or_unknown(target), *map(of.size_or_unknown, node.args[:2])
    count, kept = [0, 0], [0, 0]
    if old.least == 0:
        count[1], kept[1] = plus(text.most, 1), text.most
    elif new.most <= old.least:
        kept[1] = text.most
    else:
        count[1] = math.ceil(float(text.most) / float(old.least))
    if old.most == 0:
        count[0], kept[0] = plus(text.least, 1), text.least
    elif old.most <= new.least:
        kept[0] = text.least
    else:
        count[0] = math.ceil(float(text.least) / float(old.most))
    size = Size(*count) * new + Size(*kept)
    return scaled(text.most, 2 * _CHARACTER), size


def _split(of: Estimator, node: Call, _: Overload, target: Node | None) -> Estimate:
    assert target is not None
    size = of.size_or_unknown(target)
    most = size.most
    if len(node.args) > 1 and isinstance(limit := node.args[1], Literal) and type(limit.value) is int:
        most = wrapped(limit.value)
    return scaled(size.most, 2 * _CHARACTER), Size(0, most)


def _join(of: Estimator, node: Call, _: Overload, target: Node | None) -> Estimate:
    assert target is not None
    parts = of.size_or_unknown(target)
    element = of.element_size(target)
    size = Size(0, 0) if element is None else parts * element[1]
    if node.args:
        size += of.size_or_unknown(node.args[0]) * Size(max(parts.least - 1, 0), max(parts.most - 1, 0))
    return scaled(size.most, _CHARACTER), size


# -- lists


def _search(of: Estimator, node: Call, _: Overload, target: Node | None) -> Estimate:
    if target is None:
        return 1, None
    size = of.size_or_unknown(target)
    element = of.element_size(target)
    if element is None:
        return (size.most if node.function == "includes" else scaled(size.most, _CHARACTER)), None
    kind, members = element
    each = plus(1, scaled(members.most, _CHARACTER)) if kind in (t.STRING, t.BYTES) else 1
    return times(size.most, each), None


def _new_list(size: Size, factor: float = 1.0) -> Estimate:
    return plus(scaled(size.most, factor), 1, budget.LIST), size


def _constant(node: Node, otherwise: int) -> int:
    if isinstance(node, Literal) and type(node.value) is int:
        return max(node.value, 0)
    return otherwise


def _slice(of: Estimator, node: Call, _: Overload, target: Node | None) -> Estimate:
    assert target is not None
    length = wrapped(_constant(node.args[1], of.size_or_unknown(target).most) - _constant(node.args[0], 0))
    return _new_list(Size(length, length))


def _range(_: Estimator, node: Call, __: Overload, ___: Node | None) -> Estimate:
    length = _constant(node.args[0], UNLIMITED)
    return _new_list(Size(length, length))


def _reverse(of: Estimator, _: Call, __: Overload, target: Node | None) -> Estimate:
    assert target is not None
    return _new_list(of.size_or_unknown(target))


def _flatten(of: Estimator, node: Call, _: Overload, target: Node | None) -> Estimate:
    assert target is not None
    depth = _constant(node.args[0], UNLIMITED) if node.args else 1
    return _new_list(of.size_or_unknown(target), float(depth))


def _distinct(of: Estimator, _: Call, __: Overload, target: Node | None) -> Estimate:
    assert target is not None
    size = of.size_or_unknown(target)
    return _new_list(size * size, 2.0)


def _sort(of: Estimator, _: Call, overload: Overload, target: Node | None) -> Estimate:
    assert target is not None
    return _sorted(of.size_or_unknown(target), overload.args[0])


def _sort_by_keys(of: Estimator, node: Call, overload: Overload, _: Node | None) -> Estimate:
    return _sorted(of.size_or_unknown(node.args[0]), overload.args[1])


def _sorted(size: Size, items: Type) -> Estimate:
    return _new_list(size * size, 2.0 + _CHARACTER if items.params[0] in (t.STRING, t.BYTES) else 2.0)


def _sets(factor: float) -> Rule:
    def rule(of: Estimator, node: Call, _: Overload, __: Node | None) -> Estimate:
        pairs = of.size_or_unknown(node.args[0]) * of.size_or_unknown(node.args[1])
        return plus(scaled(pairs.most, factor), 1), None

    return rule


# -- Kubernetes types


def _ip(of: Estimator, node: Call, _: Overload, target: Node | None) -> Estimate:
    return (1, None) if target is not None else (_traversed(of, node.args[0]), None)


def _contains_address(extra: int) -> Rule:
    def rule(of: Estimator, node: Call, overload: Overload, _: Node | None) -> Estimate:
        cost = scaled(2 * _ADDRESS, _CHARACTER) + extra
        return plus(cost, _traversed(of, node.args[0]) if overload.args[1] == t.STRING else 0), None

    return rule


def _validate(of: Estimator, node: Call, _: Overload, __: Node | None) -> Estimate:
    return scaled(_traversed(of, node.args[0]), _FORMAT_PATTERN * _PATTERN), None


def _check(_: Estimator, __: Call, ___: Overload, ____: Node | None) -> Estimate:
    return _AUTHORIZATION, None


def _label_selector(of: Estimator, node: Call, _: Overload, __: Node | None) -> Estimate:
    length = of.size_or_unknown(node.args[0]).most
    requirements = scaled(length, 0.5)  # each takes two characters at least
    return plus(budget.LIST, scaled(length, _CHARACTER), scaled(requirements, _REQUIREMENT)), None


_RULES: Final[dict[str, Rule]] = {
    "check": _check,
    "fieldSelector": _label_selector,
    "labelSelector": _label_selector,
    op.EQUALS: _equality,
    op.NOT_EQUALS: _equality,
    op.LESS: _order,
    op.LESS_EQUALS: _order,
    op.GREATER: _order,
    op.GREATER_EQUALS: _order,
    op.ADD: _add,
    op.IN: _in,
    "bytes": _encode,
    "string": _decode,
    "strings.quote": _quote,
    "format": _format,
    "startsWith": _first_argument,
    "endsWith": _first_argument,
    "contains": _contains,
    "matches": _matches,
    "find": _find,
    "findAll": _find,
    "lowerAscii": _keeps_target,
    "upperAscii": _keeps_target,
    "substring": _keeps_target,
    "trim": _keeps_target,
    "replace": _replace,
    "split": _split,
    "join": _join,
    "isSorted": _search,
    "sum": _search,
    "max": _search,
    "min": _search,
    "indexOf": _search,
    "lastIndexOf": _search,
    "includes": _search,
    "slice": _slice,
    "lists.range": _range,
    "reverse": _reverse,
    "flatten": _flatten,
    "distinct": _distinct,
    "sort": _sort,
    op.SORT_BY_KEYS: _sort_by_keys,
    "sets.contains": _sets(1.0),
    "sets.intersects": _sets(1.0),
    "sets.equivalent": _sets(2.0),
    "url": _keeps_first,
    "cidr": _first_argument,
    "isIP": _first_argument,
    "isCIDR": _first_argument,
    "ip": _ip,
    "ip.isCanonical": _twice,
    "containsIP": _contains_address(0),
    "containsCIDR": _contains_address(scaled(_ADDRESS, _CHARACTER) + 1),
    "quantity": _first_argument,
    "isQuantity": _first_argument,
    "semver": _first_argument,
    "isSemver": _first_argument,
    "validate": _validate,
}
