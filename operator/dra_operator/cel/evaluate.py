"""The reference evaluator: walks the checked tree.

It is the definition of what a selector means here; a faster path has to agree with it. Errors are exceptions:
`&&`, `||` and folds built on them catch `CELEvaluationError` and go on where CEL absorbs errors; `CELCostError` passes.

A fold keeps an accumulator that may itself be an error (`Failed`), which is raised when it is read: so `all` and
`exists` survive failing elements, `map` does not. The accumulator is set when it is first read, as upstream, so
`cel.bind` never evaluates what its body does not use.

Upstream: `interpreter/interpretable.go`, `planner.go` and `attributes.go` in cel-go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dra_operator.cel import arithmetic, budget, containers, messages
from dra_operator.cel import operators as op
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
)
from dra_operator.cel.budget import Budget
from dra_operator.cel.chains import free_names, is_member_operator
from dra_operator.cel.check import Checked
from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import BRIEF, Overload, choose
from dra_operator.cel.literals import Constants
from dra_operator.cel.nesting import room_to_recurse
from dra_operator.cel.values import (
    NONE,
    Optional,
    Value,
    check_index,
    map_key,
    no_such_overload,
    shown,
    text_within,
)

_UNSET: Final = object()


@dataclass(frozen=True, slots=True)
class Failed:
    """An accumulator that holds an error."""

    error: CELEvaluationError


class _Frame:
    """The variables of one fold."""

    __slots__ = ("accumulator", "fold", "item", "outer", "result_only", "second_item")

    def __init__(self, fold: Comprehension, outer: _Frame | None) -> None:
        self.fold = fold
        self.outer = outer
        self.accumulator: Any = _UNSET
        self.item: Value = None
        self.second_item: Value = None
        self.result_only = False


@dataclass(frozen=True, slots=True)
class Program:
    """A checked expression with its constants, ready to be evaluated."""

    checked: Checked
    constants: Constants
    overloads: Mapping[str, tuple[Overload, ...]]
    is_deep: bool = False
    free_names: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "free_names", free_names(self.checked.root, self.constants.values.keys()))

    def evaluate(self, variables: Mapping[str, Value], budget_: Budget | None = None) -> Value:
        """The value of the expression. Raises CELRuntimeError."""
        return self.part(self.checked.root, variables, budget_ or Budget())

    def part(self, node: Node, variables: Mapping[str, Value], budget_: Budget) -> Value:
        """The value of a part of the expression that is in no fold. Raises CELRuntimeError."""
        evaluation = _Evaluation(self, variables, budget_)
        if self.is_deep:
            with room_to_recurse():
                return evaluation.value(node, None)
        return evaluation.value(node, None)


class _Evaluation:
    __slots__ = (
        "_budget",
        "_calls",
        "_constants",
        "_free_names",
        "_names",
        "_overloads",
        "_patterns",
        "_sets",
        "_variables",
    )

    def __init__(self, program: Program, variables: Mapping[str, Value], budget_: Budget) -> None:
        self._variables = variables
        self._budget = budget_
        self._constants = program.constants.values
        self._sets = program.constants.memberships
        self._patterns = program.constants.patterns
        self._calls = program.checked.calls
        self._names = program.checked.names
        self._overloads = program.overloads
        self._free_names = program.free_names

    def value(self, node: Node, frame: _Frame | None) -> Value:
        constant = self._constants.get(node.id, _UNSET)
        if constant is not _UNSET:
            return constant
        return _RULES[type(node)](self, node, frame)

    # -- names and members

    def _ident(self, node: Ident, frame: _Frame | None) -> Value:
        if node.id not in self._free_names:
            self._budget.spend(budget.NAME)
        name = node.name
        if name.startswith("."):
            return self._variables[name[1:]]
        while frame is not None:
            fold = frame.fold
            if name == fold.accumulator:
                return self._accumulator(frame)
            if not frame.result_only:
                if name == fold.variable:
                    return frame.item
                if name == fold.second_variable:
                    return frame.second_item
            frame = frame.outer
        return self._variables[name]

    def _accumulator(self, frame: _Frame) -> Value:
        if frame.accumulator is _UNSET:
            frame.accumulator = self._initial(frame)
        held = frame.accumulator
        if type(held) is Failed:
            raise held.error
        return held

    def _initial(self, frame: _Frame) -> Value:
        try:
            return containers.accumulator(self.value(frame.fold.init, frame.outer))
        except CELEvaluationError as error:
            return Failed(error)

    def _select(self, node: Select, frame: _Frame | None) -> Value:
        if node.test_only:
            container, _ = self._chained(node.operand, frame)
            return container is not _UNSET and arithmetic.lookup(container, node.field).present
        return self._member(node, frame)

    def _member(self, node: Select | Call, frame: _Frame | None) -> Value:
        found, optional = self._link(node, frame)
        if not optional:
            return found
        return NONE if found is _UNSET else Optional(found)

    def _link(self, node: Select | Call, frame: _Frame | None) -> tuple[Value, bool]:
        """A member, and whether it may be missing; `_UNSET` if it is.

        What follows an optional that the chain starts with, or `.?`, may; an optional in a list or map has no members.
        """
        container, optional = self._chained(node.operand if isinstance(node, Select) else node.args[0], frame)
        if container is _UNSET:
            return _UNSET, True  # and the key is not evaluated
        if isinstance(node, Select):
            return self._member_of(container, node.field, optional=optional), optional
        optional = optional or node.function != op.INDEX
        key = self.value(node.args[1], frame)
        check_index(key)
        return self._member_of(container, key, optional=optional), optional

    def _chained(self, operand: Node, frame: _Frame | None) -> tuple[Value, bool]:
        """What a member is taken of. A chain of members that starts at something else than a name costs one."""
        found = self._chain(operand, frame)
        if not isinstance(operand, Ident | Select) and not is_member_operator(operand):
            self._budget.spend(budget.NAME)
        return found

    def _chain(self, node: Node, frame: _Frame | None) -> tuple[Value, bool]:
        if node.id not in self._constants:
            if is_member_operator(node) or (isinstance(node, Select) and not node.test_only):
                return self._link(node, frame)
            if isinstance(node, Call) and node.function == op.CONDITIONAL:
                return self._chain(self._branch(node, frame), frame)
        value = self.value(node, frame)
        if not isinstance(value, Optional):
            return value, False
        return value.get() if value.present else _UNSET, True

    def _member_of(self, container: Value, key: Value, *, optional: bool) -> Value:
        if not optional:
            self._budget.spend(budget.SELECTION)
            if isinstance(container, Optional):
                raise CELEvaluationError(f"no such key: {shown(key)}")
            return arithmetic.index(container, key)
        found = arithmetic.lookup(container, key)
        if not found.present:
            return _UNSET
        self._budget.spend(budget.SELECTION)
        return found.get()

    # -- operators that do not evaluate all operands, or absorb errors

    def _and(self, node: Call, frame: _Frame | None) -> Value:
        return self._logic(node, frame, decisive=False)

    def _or(self, node: Call, frame: _Frame | None) -> Value:
        return self._logic(node, frame, decisive=True)

    def _logic(self, node: Call, frame: _Frame | None, *, decisive: bool) -> bool:
        failure: CELEvaluationError | None = None
        for term in node.args:
            try:
                value = self.value(term, frame)
            except CELEvaluationError as error:
                failure = failure or error
                continue
            if not isinstance(value, bool):
                failure = failure or no_such_overload()
            elif value is decisive:
                return decisive
        if failure is not None:
            raise failure
        return not decisive

    def _conditional(self, node: Call, frame: _Frame | None) -> Value:
        return self.value(self._branch(node, frame), frame)

    def _branch(self, node: Call, frame: _Frame | None) -> Node:
        condition, then, otherwise = node.args
        chosen = self.value(condition, frame)
        if chosen is True or chosen is False:
            return then if chosen else otherwise
        raise no_such_overload()

    def _not_strictly_false(self, node: Call, frame: _Frame | None) -> bool:
        try:
            value = self.value(node.args[0], frame)
        except CELEvaluationError:
            value = True
        self._budget.spend(1)
        return value is not False

    def _optional_or(self, node: Call, frame: _Frame | None) -> Value:
        assert node.target is not None
        optional = self.value(node.target, frame)
        if not isinstance(optional, Optional):
            raise no_such_overload()
        if not optional.present:
            return self.value(node.args[0], frame)
        return optional if node.function == "or" else optional.get()

    def _in(self, node: Call, frame: _Frame | None) -> bool:
        item = self.value(node.args[0], frame)
        container = self.value(node.args[1], frame)
        if node.id in self._sets:
            return containers.contains_constant(item, container)
        certain = len(self._calls[node.id].overloads) == 1
        self._budget.spend(budget.call_cost(op.IN, (item, container), certain=certain))
        return containers.contains(item, container)

    # -- calls

    def _call(self, node: Call, frame: _Frame | None) -> Value:
        special = _SPECIAL.get(node.function)
        if special is not None:
            return special(self, node, frame)
        resolution = self._calls[node.id]
        nodes = (node.target, *node.args) if resolution.is_method and node.target is not None else node.args
        args = self._arguments(nodes, frame)
        if node.id in self._patterns:
            args = (text_within(args[0]), *args[1:])
        operator = arithmetic.OPERATORS.get(node.function)
        certain = len(resolution.overloads) == 1
        name = resolution.overloads[0].function
        if operator is not None:
            self._budget.spend(budget.call_cost(name, args, certain=certain))
            return operator(*args)
        call = choose(resolution.overloads if certain else self._overloads[name], args)
        if call is None:
            self._budget.spend(1)
            raise no_such_overload() if name in BRIEF else no_such_overload(name, *args)
        self._budget.spend(budget.call_cost(name, args, certain=certain))
        result = call(*args)
        self._budget.spend(budget.result_cost(name, result))
        return result

    def _arguments(self, nodes: tuple[Node, ...], frame: _Frame | None) -> tuple[Value, ...]:
        """The values of a call's arguments. Of two, upstream evaluates the second even if the first fails."""
        if len(nodes) > 2:
            return tuple([self.value(node, frame) for node in nodes])
        values: list[Value] = []
        failure: CELEvaluationError | None = None
        for node in nodes:
            try:
                values.append(self.value(node, frame))
            except CELEvaluationError as error:
                failure = failure or error
        if failure is not None:
            self._budget.spend(1)
            raise failure
        return tuple(values)

    # -- aggregates

    def _list(self, node: ListLiteral, frame: _Frame | None) -> list[Value]:
        items: list[Value] = []
        for position, element in enumerate(node.elements):
            value = self.value(element, frame)
            items += containers.list_item(value) if position in node.optional else (value,)
        self._budget.spend(budget.LIST)
        return items

    def _map(self, node: MapLiteral, frame: _Frame | None) -> dict[Value, Value]:
        entries: dict[Value, Value] = {}
        for entry in node.entries:
            key = map_key(self.value(entry.key, frame))
            put = containers.put_optional if entry.optional else containers.put
            put(entries, key, self.value(entry.value, frame))
        self._budget.spend(budget.MAP)
        return entries

    def _message(self, node: MessageLiteral, frame: _Frame | None) -> Value:
        try:
            return messages.make(node.type_name.removeprefix("."), self._fields(node, frame))
        finally:
            self._budget.spend(budget.MESSAGE)  # upstream charges for the attempt

    def _fields(self, node: MessageLiteral, frame: _Frame | None) -> messages.Fields:
        fields: messages.Fields = {}
        for part in node.fields:
            value = self.value(part.value, frame)
            if part.optional:
                if not isinstance(value, Optional):
                    raise CELEvaluationError(
                        f"cannot initialize optional entry '{part.name}' from non-optional value {shown(value)}"
                    )
                if not value.present:
                    fields.pop(part.name, None)
                    continue
                value = value.get()
            fields[part.name] = value
        return fields

    def _comprehension(self, node: Comprehension, frame: _Frame | None) -> Value:
        inner = _Frame(node, frame)
        for inner.item, inner.second_item in containers.items_of(
            self.value(node.range, frame), pairs=node.second_variable is not None
        ):
            if self.value(node.condition, inner) is False:
                break
            try:
                inner.accumulator = self.value(node.step, inner)
            except CELEvaluationError as error:
                inner.accumulator = Failed(error)
        inner.result_only = True
        return containers.frozen(self.value(node.result, inner))


_Rule = Callable[[_Evaluation, Any, _Frame | None], Value]

_RULES: Final[dict[type[Node], _Rule]] = {
    Literal: lambda _, node, __: node.value,
    Ident: _Evaluation._ident,
    Select: _Evaluation._select,
    Call: _Evaluation._call,
    ListLiteral: _Evaluation._list,
    MapLiteral: _Evaluation._map,
    MessageLiteral: _Evaluation._message,
    Comprehension: _Evaluation._comprehension,
}
_SPECIAL: Final[dict[str, _Rule]] = {
    op.LOGICAL_AND: _Evaluation._and,
    op.LOGICAL_OR: _Evaluation._or,
    op.CONDITIONAL: _Evaluation._conditional,
    op.NOT_STRICTLY_FALSE: _Evaluation._not_strictly_false,
    op.IN: _Evaluation._in,
    op.INDEX: _Evaluation._member,
    op.OPT_INDEX: _Evaluation._member,
    op.OPT_SELECT: _Evaluation._member,
    "or": _Evaluation._optional_or,
    "orValue": _Evaluation._optional_or,
}
