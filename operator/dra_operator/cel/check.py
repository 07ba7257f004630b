"""The type checker: every name declared, every call with a fitting overload, and a result that can be a decision.

It finds what the API server refuses, and for evaluation it notes which overloads a call can mean. Attribute values are
`dyn`, so most of a selector is decided at run time; literals, quantities and everything built from them are not.

Upstream: `checker/checker.go` in cel-go, `validateOutputType` in k8s.io/dynamic-resource-allocation/cel. Checks of what
literals contain come after it, in `literals.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from dra_operator.cel import operators as op
from dra_operator.cel import types as t
from dra_operator.cel.ast import (
    Call,
    Comprehension,
    Ident,
    ListLiteral,
    Literal,
    MapLiteral,
    MessageLiteral,
    Node,
    Select,
    qualified_name,
)
from dra_operator.cel.environment import Environment
from dra_operator.cel.errors import CELCompileError, Issue, Issues
from dra_operator.cel.functions import Overload
from dra_operator.cel.types import K, Substitution, Type
from dra_operator.cel.values import UInt


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a call means: its overloads, and whether its target is an argument (not a namespace)."""

    overloads: tuple[Overload, ...]
    is_method: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """A tree with what the checker found out about its nodes, by node id."""

    root: Node
    types: dict[int, Type]
    calls: dict[int, Resolution]
    names: dict[int, str]  # selects and identifiers that mean a declared (qualified) name


def check(source: str, root: Node, environment: Environment, *, derives: bool = False) -> Checked:
    """Type-check a selector, or an expression that derives an attribute. Raises CELCompileError."""
    try:
        return _check(source, root, environment, derives=derives)
    except t.TypesTooLarge:
        issue = Issue(-1, "its types are too large together: nest maps and lists less deep")
        raise CELCompileError(source, (issue,)) from None


def _check(source: str, root: Node, environment: Environment, *, derives: bool) -> Checked:
    checker = _Checker(environment)
    result = checker.check(root)
    checker.issues.raise_if_any(source)
    final = checker.substitution.apply(result, free_to_dyn=True)
    wanted = _attribute_of(final, environment) if derives else _decision_of(final, environment)
    if wanted:
        name = "null_type" if final == t.NULL else str(final)
        raise CELCompileError(source, (Issue(-1, f"must evaluate to {wanted}, not {name}"),), prefix="")
    apply = checker.substitution.apply
    types = {node: apply(of, free_to_dyn=True) for node, of in checker.types.items()}
    return Checked(root, types, checker.calls, checker.names)


def _decision_of(final: Type, environment: Environment) -> str:
    """Empty if a result of this type can be a decision; else what would be one."""
    return "" if final in (t.BOOL, environment.attribute_type) else "bool or the unknown type"


def _attribute_of(final: Type, environment: Environment) -> str:
    """Empty if a result of this type can be an attribute; else what would be one."""
    lists = environment.attribute_type == t.DYN  # the feature of attributes with several values
    inner = final.params[0] if lists and final.kind is K.LIST else final
    if inner in (t.BOOL, t.INT, t.STRING, t.ANY, t.DYN, t.SEMVER):
        return ""
    scalar = "a primitive scalar (string, integer, boolean, semver)"
    return f"{scalar} or a list of these scalars" if lists else scalar


@dataclass(slots=True)
class _Checker:
    environment: Environment
    issues: Issues = field(default_factory=Issues)
    types: dict[int, Type] = field(default_factory=dict)
    calls: dict[int, Resolution] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    substitution: Substitution = field(default_factory=Substitution)
    _scopes: list[dict[str, Type]] = field(default_factory=list)
    _fresh: count[int] = field(default_factory=count)

    def check(self, node: Node) -> Type:
        found = self.types.get(node.id)  # macros use some nodes twice, always in the same scope
        if found is None:
            found = self.types[node.id] = self.substitution.admit(self._infer(node))
        return found

    def _infer(self, node: Node) -> Type:
        match node:
            case Literal():
                return _LITERAL_TYPES[type(node.value)]
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                return self._map(node)
            case Comprehension():
                return self._comprehension(node)
            case MessageLiteral():
                return self._message(node)
            case _:
                raise TypeError(f"no rule for {type(node).__name__}")

    # -- names

    def _ident(self, node: Ident) -> Type:
        found = self._declared(node.name)
        if found is None:
            return self._undeclared(node, node.name)
        self.names[node.id] = node.name
        return found

    def _declared(self, name: str) -> Type | None:
        if name.startswith("."):
            return self.environment.variables.get(name[1:])
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return self.environment.variables.get(name)

    def _undeclared(self, node: Node, name: str) -> Type:
        return self._issue(node, f"undeclared reference to '{name}' (in container '')")

    def _issue(self, node: Node, message: str) -> Type:
        self.issues.add(node.offset, message)
        return t.ERROR

    # -- selection

    def _select(self, node: Select) -> Type:
        if not node.test_only and (name := qualified_name(node)) is not None and not self._is_local(name):
            declared = self.environment.variables.get(name.removeprefix("."))
            if declared is not None:
                self.names[node.id] = name
                return declared
        result = self._field(node, node.operand, node.field, optional=False)
        return t.BOOL if node.test_only else self.substitution.apply(result)

    def _is_local(self, name: str) -> bool:
        first = name.partition(".")[0]
        return any(first in scope for scope in self._scopes)

    def _field(self, node: Node, operand: Node, name: str, *, optional: bool) -> Type:
        target, was_optional = t.unwrap_optional(self.substitution.apply(self.check(operand)))
        if target.kind is K.MAP:
            result = target.params[1]
        elif target.kind is K.STRUCT:
            message = self.environment.messages.get(target.name)
            fields = {} if message is None else message.fields
            result = fields.get(name) or self._issue(node, f"undefined field '{name}'")
        elif target.kind is K.PARAMETER:
            self.substitution.assign((t.DYN,), (target,))
            result = t.DYN
        else:
            if not t.is_dyn(target) and target.kind is not K.ERROR:
                self._issue(node, f"type '{target}' does not support field selection")
            result = t.DYN
        return t.optional_of(result) if was_optional or optional else result

    # -- calls

    def _call(self, node: Call) -> Type:
        if node.function == op.OPT_SELECT:
            operand, field_name = node.args
            assert isinstance(field_name, Literal)
            return self.substitution.apply(self._field(node, operand, str(field_name.value), optional=True))
        args = tuple(self.check(arg) for arg in node.args)
        target: Type | None = None
        overloads: tuple[Overload, ...] | None = None
        name = node.function
        if node.target is not None:
            prefix = qualified_name(node.target)
            if prefix is not None:
                overloads = self.environment.functions.get(f"{prefix.removeprefix('.')}.{name}")
            if overloads is not None:
                name = f"{prefix}.{name}"
            else:
                target = self.check(node.target)
                args = (target, *args)
        if overloads is None:
            overloads = self.environment.functions.get(name.removeprefix("."))
        if overloads is None:
            return self._undeclared(node, name)
        return self._resolve(node, name, overloads, args, is_method=target is not None)

    def _resolve(
        self, node: Call, name: str, overloads: tuple[Overload, ...], args: tuple[Type, ...], *, is_method: bool
    ) -> Type:
        if name in (op.LOGICAL_AND, op.LOGICAL_OR):
            return self._logic(node, overloads, args)
        result: Type | None = None
        fitting: list[Overload] = []
        for overload in overloads:
            if overload.is_method is not is_method:
                continue
            wanted, gives = self._instantiate(overload)
            if not self.substitution.assign(wanted, args):
                continue
            fitting.append(overload)
            gives = self.substitution.apply(gives)
            if result is None:
                result = gives
            elif not t.is_dyn(result) and gives != result:
                result = t.DYN
        if result is None:
            return self._no_overload(node, name, args, is_method=is_method)
        self.calls[node.id] = Resolution(tuple(fitting), is_method)
        return result

    def _instantiate(self, overload: Overload) -> tuple[tuple[Type, ...], Type]:
        if not overload.parameters:
            return overload.args, overload.result
        names = {name: self._fresh_parameter() for name in overload.parameters}
        return tuple(t.rename(arg, names) for arg in overload.args), t.rename(overload.result, names)

    def _fresh_parameter(self) -> Type:
        return t.parameter(f"_var{next(self._fresh)}")

    def _logic(self, node: Call, overloads: tuple[Overload, ...], args: tuple[Type, ...]) -> Type:
        self.calls[node.id] = Resolution(overloads, is_method=False)
        result = t.BOOL
        for arg, found in zip(node.args, args, strict=True):
            if not self.substitution.assign((found,), (t.BOOL,)):
                result = self._mismatch(arg, t.BOOL, found)
        return result

    def _no_overload(self, node: Call, name: str, args: tuple[Type, ...], *, is_method: bool) -> Type:
        texts = [str(self.substitution.apply(arg, free_to_dyn=True)) for arg in args]
        shown = f"{texts[0]}.({', '.join(texts[1:])})" if is_method else f"({', '.join(texts)})"
        return self._issue(node, f"found no matching overload for '{name}' applied to '{shown}'")

    def _mismatch(self, node: Node, expected: Type, found: Type) -> Type:
        return self._issue(node, f"expected type '{expected}' but found '{self.substitution.apply(found)}'")

    # -- aggregates

    def _list(self, node: ListLiteral) -> Type:
        element: Type | None = None
        for position, part in enumerate(node.elements):
            found = self.check(part)
            if position in node.optional:
                found = self._unwrapped(part, found)
            element = self._join(element, found)
        return t.list_of(element or self._fresh_parameter())

    def _map(self, node: MapLiteral) -> Type:
        key: Type | None = None
        value: Type | None = None
        for entry in node.entries:
            key = self._join(key, self.check(entry.key))
            found = self.check(entry.value)
            if entry.optional:
                found = self._unwrapped(entry.value, found)
            value = self._join(value, found)
        return t.map_of(key or self._fresh_parameter(), value or self._fresh_parameter())

    def _message(self, node: MessageLiteral) -> Type:
        name = node.type_name.removeprefix(".")
        message = self.environment.messages.get(name)
        if message is None:
            if name in self.environment.constants:
                return self._issue(node, f"'{name}' is not a message type")
            return self._undeclared(node, node.type_name)
        for part in node.fields:
            found = self.check(part.value)
            if part.optional:
                found = self._unwrapped(part.value, found)
            wanted = message.fields.get(part.name) or self._issue(part, f"undefined field '{part.name}'")
            if not self.substitution.assign((wanted,), (found,)):
                given = self.substitution.apply(found)
                self._issue(part, f"expected type of field '{part.name}' is '{wanted}' but provided type is '{given}'")
        return message.value

    def _unwrapped(self, node: Node, found: Type) -> Type:
        inner, was_optional = t.unwrap_optional(self.substitution.apply(found))
        if not was_optional and not t.is_dyn(inner):
            self._mismatch(node, t.optional_of(inner), inner)
        return inner

    def _join(self, before: Type | None, found: Type) -> Type:
        if before is None:
            return found
        if self.substitution.assign((before,), (found,)):
            return t.most_general(before, found)
        return t.DYN  # a mixed literal is for `literals.py` to judge

    # -- comprehensions

    def _comprehension(self, node: Comprehension) -> Type:
        over = self.substitution.apply(self.check(node.range))
        accumulator = self.check(node.init)
        self._scopes.append({node.accumulator: accumulator})
        self._scopes.append(self._variables(node, over))
        self._assert(node.condition, t.BOOL)
        self._assert(node.step, accumulator)
        self._scopes.pop()
        result = self.check(node.result)
        self._scopes.pop()
        return self.substitution.apply(result)

    def _variables(self, node: Comprehension, over: Type) -> dict[str, Type]:
        if over.kind is K.LIST:
            first, second = (t.INT, over.params[0]) if node.second_variable else (over.params[0], t.DYN)
        elif over.kind is K.MAP:
            first, second = over.params
        elif over.kind in (K.DYN, K.ERROR, K.PARAMETER):
            self.substitution.assign((t.DYN,), (over,))
            first = second = t.DYN
        else:
            first = second = self._issue(
                node.range,
                f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)",
            )
        return {node.variable: first} | ({node.second_variable: second} if node.second_variable else {})

    def _assert(self, node: Node, expected: Type) -> None:
        found = self.check(node)
        if not self.substitution.assign((expected,), (found,)):
            self._mismatch(node, expected, found)


_LITERAL_TYPES: dict[type, Type] = {
    type(None): t.NULL,
    bool: t.BOOL,
    int: t.INT,
    UInt: t.UINT,
    float: t.DOUBLE,
    str: t.STRING,
    bytes: t.BYTES,
}
