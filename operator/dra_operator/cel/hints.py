"""Why a selector was refused or failed, where, and what to write instead.

Two questions. `cures(error)`: it does not compile; the checker said where, and in which words. `explain_failure(
expression, device)`: it fails on a device; then the innermost operation that fails there is looked for, by evaluating
the parts, and what it was given decides the hint. The answer is an `Explanation`: the message in the API server's
words, the place with a caret, and a hint for the usual slips, or none.

Not here: whether it is an error at all, which the evaluator has decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from dra_operator.api.quantity import Quantity, QuantityError
from dra_operator.api.semver import Version, VersionError
from dra_operator.cel import operators as op
from dra_operator.cel.ast import Call, Comprehension, Ident, Literal, Node, Select, children
from dra_operator.cel.budget import Budget
from dra_operator.cel.device import DeviceView
from dra_operator.cel.environment import STORED, environment
from dra_operator.cel.errors import CELCompileError, CELCostError, CELRuntimeError, Issue, snippet
from dra_operator.cel.evaluate import Program
from dra_operator.cel.selector import compile_selector, program_of
from dra_operator.cel.values import DomainMap, NameMap, Value, type_name

_DEVICE_FIELDS: Final = "driver, attributes, capacity and allowMultipleAllocations"
_COMPARISONS: Final = {
    op.EQUALS: "==",
    op.NOT_EQUALS: "!=",
    op.LESS: "<",
    op.LESS_EQUALS: "<=",
    op.GREATER: ">",
    op.GREATER_EQUALS: ">=",
}
_NO_OVERLOAD: Final = re.compile(r"found no matching overload for '(.+)' applied to '\(?(.*?)\)?'$")
_NO_KEY: Final = re.compile(r"no such key: (\w+)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '(\w+)'")
_NO_FIELD: Final = re.compile(r"undefined field '(\w+)'")
_WORDS: Final = {"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!"}
_SHORT_VERSION: Final = re.compile(r"\d+(\.\d+)?")
_STEM: Final = 3
"""Characters of a beginning that tells what is meant."""
_MOST_NAMES: Final = 8
_WIDTH: Final = 160
"""Of a longer line, what is around the place."""
_NAME: Final = 64
"""Characters of a name that could be meant for another."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is wrong with a selector."""

    message: str
    place: str = ""  # the line and a caret below it; empty where no place is to blame
    hint: str = ""

    @property
    def sentence(self) -> str:
        """On one line."""
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __str__(self) -> str:
        return "\n".join(part for part in (self.message, self.place, self.hint and f"hint: {self.hint}") if part)


# -- refused


def cures(error: CELCompileError) -> Iterator[str]:
    """What to write instead in a selector that does not compile, where that is known: for one issue after the other."""
    return filter(None, (_cure_issue(error.expression, issue) for issue in error.issues))


def _cure_issue(expression: str, issue: Issue) -> str:
    message = issue.message
    if (match := _NO_OVERLOAD.search(message)) is not None:
        return _cure_overload(match[1], match[2])
    if (match := _NO_FIELD.search(message)) is not None:
        of_message = expression[issue.offset : issue.offset + 1] == ":"  # `Type{field: value}`
        return "" if of_message else _cure_field(match[1])
    if (match := _UNDECLARED.search(message)) is not None:
        return _cure_name(match[1])
    if message.startswith("must evaluate to bool"):
        return "a selector is a condition: compare the value with something"
    return _cure_syntax(expression, issue) if message.startswith("Syntax error") else ""


def _cure_overload(function: str, operands: str) -> str:
    sign = _COMPARISONS.get(function)
    if (
        sign is not None
        and "kubernetes.Quantity" in operands
        and operands != "kubernetes.Quantity, kubernetes.Quantity"
    ):
        return f'compare a quantity with a quantity: `….compareTo(quantity("40Gi")) {sign} 0`'
    if sign is not None and operands == "kubernetes.Quantity, kubernetes.Quantity":
        return f"quantities are ordered by `….compareTo(…) {sign} 0`"
    if "kubernetes.Semver" in operands:
        return f'compare a version with a version: `….compareTo(semver("1.2.3")) {sign or ">="} 0`'
    if sign is not None and operands.startswith("map(string, "):
        return 'a domain comes before the name: `device.attributes["gpu.example.com"].name`'
    if function in ("compareTo", "isGreaterThan", "isLessThan") and operands.startswith("kubernetes.Quantity."):
        return 'the argument is a quantity: `….compareTo(quantity("40Gi"))`'
    return ""


def _cure_field(name: str) -> str:
    return (
        f"a device has {_DEVICE_FIELDS}; "
        f'an attribute is `device.attributes["gpu.example.com"].{name}`, with the domain of its driver'
    )


def _cure_name(name: str) -> str:
    if name in ("driver", "attributes", "capacity", "allowMultipleAllocations"):
        return f"it belongs to the device: `device.{name}`"
    known = [*environment(STORED).functions, "device"]
    close = get_close_matches(name, known, n=1, cutoff=0.7) if len(name) <= _NAME else []
    return f"did you mean `{close[0]}`?" if close else f"the only variable is `device`, with {_DEVICE_FIELDS}"


def _cure_syntax(expression: str, issue: Issue) -> str:
    rest = expression[max(issue.offset, 0) :]
    word = re.match(r"\w+", rest)
    if word is not None and word[0] in _WORDS:
        return f"`{word[0]}` is written `{_WORDS[word[0]]}`"
    if rest.startswith("=") and not rest.startswith("=="):
        return "equality is `==`"
    if rest.startswith(("&", "|")):
        return f"write `{rest[0] * 2}`"
    return ""


# -- failed on a device


def explain_failure(expression: str, device: DeviceView) -> Explanation | None:
    """Why a selector that compiles fails on the device, or None if it does not fail."""
    selector = compile_selector(expression)
    try:
        selector.matches(device)
    except CELCostError as error:
        return Explanation(
            str(error), "", "it goes over too much: go over shorter lists, or look up instead of searching"
        )
    except CELRuntimeError as error:
        search = _Search(program_of(expression), device)
        node = search.innermost()
        try:
            hint = search.cure(node)
        except CELRuntimeError:  # the search was too expensive
            hint = ""
        if not hint and (match := _NO_KEY.fullmatch(str(error))) is not None:
            hint = f'not every device has it; guard it: `….?{match[1]}.orValue(…)`, or `"{match[1]}" in … && …`'
        return Explanation(str(error), "" if node is None else snippet(expression, node.offset, _WIDTH), hint)
    return None


class _Search:
    """Evaluates the parts of an expression to find the one that fails."""

    def __init__(self, program: Program, device: DeviceView) -> None:
        self._program = program
        self._device = device
        self._budget = Budget()  # for the whole search

    def innermost(self) -> Node | None:
        """The smallest part that fails on its own. Inside a fold there is none: it has no value on its own."""
        node = self._program.checked.root
        if not self._fails(node):
            return None  # the value is no bool
        while True:
            inner = next((part for part in self._parts(node) if self._fails(part)), None)
            if inner is None:
                return node
            node = inner

    def _parts(self, node: Node) -> tuple[Node, ...]:
        if isinstance(node, Comprehension):
            return (node.range, node.init)
        if isinstance(node, Call) and node.function == op.CONDITIONAL and not self._fails(node.args[0]):
            return (node.args[1] if self._value(node.args[0]) else node.args[2],)
        if isinstance(node, Call) and not self._is_method(node):
            return node.args  # a target is a namespace
        return children(node)

    def _is_method(self, node: Call) -> bool:
        resolution = self._program.checked.calls.get(node.id)
        return resolution is not None and resolution.is_method

    def _value(self, node: Node) -> Value:
        return self._program.part(node, self._device.variables, self._budget)

    def _fails(self, node: Node) -> bool:
        try:
            self._value(node)
        except CELCostError:
            return False
        except CELRuntimeError:
            return True
        return False

    def cure(self, node: Node | None) -> str:
        match node:
            case Select(operand=operand, field=name):
                return self._cure_missing(operand, name)
            case Call(function=op.INDEX, args=(operand, Literal(value=str() as name))):
                return self._cure_missing(operand, name)
            case Call(function=function, args=(left, right)) if function in _COMPARISONS:
                return self._cure_comparison(_COMPARISONS[function], left, right)
            case Call(function="semver", args=(Literal(value=str() as text), *_)) if _SHORT_VERSION.fullmatch(text):
                full = ".".join([*text.split("."), "0", "0"][:3])
                return f'a version has three numbers: `semver("{full}")`'
            case Call(function="quantity", args=(Literal(value=str() as text),)) if _is_quantity(text[:-1]):
                return f'`quantity("{text[:-1]}")`? Suffixes are k, M, G, T, or Ki, Mi, Gi, Ti'
            case Call() if not self._is_method(node):
                return ""
            case Call(function="compareTo" | "isGreaterThan" | "isLessThan", target=Node() as target, args=(other,)):
                return self._cure_method(target, other)
            case Call(function="startsWith" | "endsWith" | "contains" | "matches", target=Node() as target):
                return f"that attribute is a {_noun(self._value(target))} on this device, not a string"
            case None:
                return "a selector is a condition: compare the value with something"
            case _:
                return ""

    # -- a name that the device lacks

    def _cure_missing(self, operand: Node, name: str) -> str:
        container = self._value(operand)
        if type(container) is not NameMap:
            return ""
        path = self._text(operand)
        guard = f'guard it: `{path}.?{name}.orValue(…)`, or `"{name}" in {path} && …`'
        domain = _domain(operand)
        of = (
            self._device.capacity_by_domain if path.startswith("device.capacity") else self._device.attributes_by_domain
        )
        if domain is not None and domain not in of:
            elsewhere = [known for known, names in of.items() if name in names]
            if elsewhere:
                return f'the device has it in the domain "{elsewhere[0]}", not "{domain}"'
            return f'the device has nothing in the domain "{domain}", only in {_listed(of)}; {guard}'
        if domain is not None and name in self._other_map(path)[domain]:
            return _cure_map(path, name)
        close = [
            *(known for known in container if _begins(known, name)),
            *get_close_matches(name, container, n=1, cutoff=0.8),
        ]
        return f"the device has `{close[0]}`, not `{name}`" if close else f"not every device has it; {guard}"

    def _other_map(self, path: str) -> DomainMap:
        """The capacities where the path asks for an attribute, and the other way round."""
        if path.startswith("device.capacity"):
            return self._device.attributes_by_domain
        return self._device.capacity_by_domain

    def _text(self, node: Node) -> str:
        match node:
            case Ident(name=name):
                return name
            case Select(operand=operand, field=name):
                return f"{self._text(operand)}.{name}"
            case Call(function=op.INDEX, args=(operand, Literal(value=str() as key))):
                return f'{self._text(operand)}["{key}"]'
            case Call(function=op.INDEX, args=(operand, key)):
                return f"{self._text(operand)}[{self._text(key)}]"
            case _:
                return "…"

    # -- values of types that do not go together

    def _cure_comparison(self, sign: str, left: Node, right: Node) -> str:
        values = (self._value(left), self._value(right))
        if any(isinstance(value, Version) for value in values):
            text = next((value for value in values if isinstance(value, str) and _is_version(value)), "1.2.3")
            return f'a version is compared with a version: `….compareTo(semver("{text}")) {sign} 0`'
        if any(isinstance(value, Quantity) for value in values):
            text = next((value for value in values if isinstance(value, str) and _is_quantity(value)), "40Gi")
            return f'a quantity is compared with a quantity: `….compareTo(quantity("{text}")) {sign} 0`'
        if any(isinstance(value, list | tuple) for value in values):
            return "a list is searched with `….includes(…)` or `….exists(x, …)`"
        return f"on this device that is a {_noun(values[0])} against a {_noun(values[1])}"

    def _cure_method(self, target: Node, other: Node) -> str:
        value, argument = self._value(target), self._value(other)
        if isinstance(argument, Version) and isinstance(value, str):
            return "that attribute is a string on this device: `semver(….name).compareTo(…)`"
        if isinstance(argument, Quantity) and isinstance(value, str):
            return "that attribute is a string on this device: `quantity(….name).compareTo(…)`"
        return f"on this device that is a {_noun(value)} against a {_noun(argument)}"


def _cure_map(path: str, name: str) -> str:
    attributes, capacity = "device.attributes", "device.capacity"
    if path.startswith(capacity):
        return f"it is an attribute: `{path.replace(capacity, attributes, 1)}.{name}`"
    return f"it is a capacity: `{path.replace(attributes, capacity, 1)}.{name}`"


def _begins(known: Value, name: str) -> bool:
    """Whether one name is the other's beginning."""
    return (
        isinstance(known, str)
        and min(len(known), len(name)) >= _STEM
        and (known.startswith(name) or name.startswith(known))
    )


def _domain(node: Node) -> str | None:
    match node:
        case Call(function=op.INDEX, args=(_, Literal(value=str() as domain))) | Select(field=domain):
            return domain
        case _:
            return None


def _listed(domains: DomainMap) -> str:
    names = [f'"{domain}"' for domain in sorted(domains)]
    return ", ".join(names[:_MOST_NAMES]) or "none"


def _noun(value: Value) -> str:
    return {"kubernetes.Semver": "version", "kubernetes.Quantity": "quantity"}.get(type_name(value), type_name(value))


def _is_version(text: str) -> bool:
    try:
        Version.parse(text)
    except VersionError:
        return False
    return True


def _is_quantity(text: str) -> bool:
    try:
        Quantity.parse(text)
    except QuantityError:
        return False
    return True
