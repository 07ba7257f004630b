"""What a decision may spend on asking selectors before others get their turn.

A selector may go over lists, and cost a million steps, a third of a second, for each device: whoever may write a claim
may write such a one. The operator decides in the event loop in which it also renews its lease. So where an allowance is
given, a question that does not fit into what is left of it ends the decision (`TakesLong`). It is answered elsewhere
(`Question.answer`, in a thread), the device remembers what was answered, and the decision, made anew, gets further.

Invariant: without an allowance every question is answered at once, and what is decided never depends on one.

Upstream: kube-scheduler gives a pod ten seconds and then takes it for unschedulable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from dra_operator.api.text import cut
from dra_operator.cel.errors import CELCompileError, CELCostError, CELRuntimeError
from dra_operator.cel.hints import explain_failure
from dra_operator.cel.selector import Selector, compile_selector, is_compiled
from dra_operator.inventory.devices import Device, UnsupportedAttribute

_CHARACTER: Final = 100
"""What compiling costs for each character, in the unit of evaluation: a third of a microsecond."""
_SHORT: Final = 300
"""Characters that may be compiled at once."""
_EXPLAINED: Final = 20_000
"""A selector that costs more at most is not searched for what failed in it: that evaluates its parts, one by one."""

_WHY: Final = 1_000
"""Bytes of why a selector fails. An expression can build a text of a megabyte, and each device remembers its answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """Whether the device is one that the selector asks for."""

    expression: str
    device: Device

    def answer(self) -> None:
        """The device remembers it. Takes up to a second. Devices never change, so any thread will do."""
        try:
            outcome = _answer(compile_selector(self.expression), self.device)
        except CELCompileError:
            return  # that is remembered with the expression
        self.device.remember_match(self.expression, outcome)


class TakesLong(Exception):
    """The allowance does not do for this question."""

    def __init__(self, question: Question) -> None:
        super().__init__(f"a selector of {len(question.expression)} characters on device {question.device.id}")
        self.question: Final = question


@dataclass(slots=True)
class Allowance:
    """What is left, in the unit of `cel/budget.py`; what the last answer cost too much counts as well."""

    left: int


_ALLOWANCE: Final[ContextVar[Allowance | None]] = ContextVar("allowance", default=None)


@contextmanager
def spending(steps: int) -> Iterator[Allowance]:
    """In the block, selectors may cost so much, and `TakesLong` is raised where that is not enough."""
    allowance = Allowance(steps)
    token = _ALLOWANCE.set(allowance)
    try:
        yield allowance
    finally:
        _ALLOWANCE.reset(token)


def ask(expression: str, device: Device) -> bool | str:
    """Yes, no, or why the selector fails on the device. Raises CELCompileError, `TakesLong`."""
    known = device.match(expression)
    if known is None:
        allowance = _ALLOWANCE.get()
        if allowance is None:
            known = _answer(compile_selector(expression), device)
        else:
            known = _answer_within(allowance, expression, device)
        device.remember_match(expression, known)
    return known


def _answer(selector: Selector, device: Device) -> bool | str:
    try:
        return selector.matches(device.view)
    except CELRuntimeError as error:
        explained = explain_failure(selector.expression, device.view)
        return cut(str(error) if explained is None else explained.sentence, _WHY)
    except UnsupportedAttribute as error:
        return cut(str(error), _WHY)


def _answer_within(allowance: Allowance, expression: str, device: Device) -> bool | str:
    if not is_compiled(expression):
        if len(expression) > _SHORT:
            raise TakesLong(Question(expression, device))
        allowance.left -= _CHARACTER * len(expression)
    selector = compile_selector(expression)
    if allowance.left <= 0:
        raise TakesLong(Question(expression, device))
    try:
        answer, cost = selector.ask(device.view, cost_limit=allowance.left)
    except CELCostError:
        allowance.left = 0
        raise TakesLong(Question(expression, device)) from None
    except CELRuntimeError as error:
        allowance.left -= selector.most
        return _answer(selector, device) if selector.most <= _EXPLAINED else cut(str(error), _WHY)
    except UnsupportedAttribute as error:
        return cut(str(error), _WHY)
    allowance.left -= cost
    return answer
