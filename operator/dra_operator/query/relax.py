"""Selectors that would match if one of their conditions were weaker.

For each condition of a selector: which devices meet all the others? If some do, the smallest change of its literal to
a value that such a device has ("80Gi" to "40Gi"), else the selector without the condition.

Whether that helps the pod is for the caller to try.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from dra_operator.api.quantity import Quantity, QuantityError
from dra_operator.api.resource import ResourceClaim
from dra_operator.api.semver import Version, VersionError
from dra_operator.cel.errors import CELCompileError
from dra_operator.cel.lexer import Kind, unquote_text
from dra_operator.inventory.devices import Device
from dra_operator.query.changes import Change, Step
from dra_operator.query.expressions import (
    Part,
    find_references,
    guarded,
    literals,
    says,
    split_conjuncts,
    values_of,
    with_literal,
    without,
)
from dra_operator.query.funnel import AlternativeFunnel
from dra_operator.query.targets import Suggestion, Target, asks_of

_VALUES: Final = 16
"""Distinct values that are tried for one literal."""


def relaxations(target: Target, funnel: AlternativeFunnel, devices: Iterable[Device]) -> Iterator[tuple[str, Change]]:
    """A sentence and a change for every condition whose relaxation makes devices match; nearest values first."""
    alternative = funnel.alternative
    in_class = [one for one in devices if all(says(text, one) for text in alternative.class_selectors)]
    path = (*target.ask(alternative.request, alternative.subrequest), "selectors")
    weaker: list[tuple[str, Change]] = []
    for index, expression in enumerate(alternative.selectors):
        others = [text for number, text in enumerate(alternative.selectors) if number != index]
        candidates = [one for one in in_class if all(says(text, one) for text in others)]
        where: tuple[Step, ...] = (*path, index, "cel", "expression")
        for part in split_conjuncts(expression):
            rest = without(expression, part)
            unlocked = [one for one in candidates if says(rest, one)]
            if len(unlocked) < funnel.wanted or all(says(part.text, one) for one in unlocked):
                continue
            for text, matching in _other_values(part, unlocked):
                changed = expression[: part.start] + text + expression[part.end :]
                weaker.append((_sentence(target, part.text, text, matching), target.set(where, changed)))
            message = f"{len(unlocked)} devices would match if {target.label} did without `{_short(part.text)}`"
            weaker.append((message, target.set(where, rest)))
    yield from weaker


def guards(target: Target, claim: ResourceClaim) -> Iterator[tuple[str, Suggestion]]:
    """Selectors that test for the attributes before they ask for them."""
    for request in claim.spec.devices.requests or ():
        for subrequest, ask in asks_of(request):
            for index, selector in enumerate(ask.selectors or ()):
                try:
                    text = None if selector.cel is None else guarded(selector.cel.expression)
                except CELCompileError:
                    continue
                if text is not None:
                    path = (*target.ask(request.name, subrequest), "selectors", index, "cel", "expression")
                    message = f"if selector {index} of {target.label} tested for the attribute first: `{_short(text)}`"
                    yield f"guard {request.name}", Suggestion(message=message, changes=(target.set(path, text),))


def _other_values(part: Part, devices: list[Device]) -> Iterator[tuple[str, int]]:
    """The condition with another literal, and how many devices then match; the nearest value first."""
    try:
        references, tokens = find_references(part.text), list(literals(part.text))
    except CELCompileError:
        return
    values = {value for one in references for device in devices if (value := values_of(one, device)) is not None}
    for token in tokens:
        old: str | int = int(token.text, 0) if token.kind is Kind.INT else unquote_text(token.text)
        fitting = [value for value in values if _may_stand_for(value, old)]
        for value in sorted(fitting, key=lambda one: _distance(old, one))[:_VALUES]:
            text = with_literal(part.text, token, value)
            matching = sum(says(text, device) for device in devices)
            if matching:
                yield text, matching


def _may_stand_for(new: str | int, old: str | int) -> bool:
    """Another value of the same type, or the same that is a string here and a number there."""
    return (isinstance(new, int) == isinstance(old, int)) != (str(new) == str(old))


def _distance(old: str | int, new: str | int) -> tuple[int, float, str]:
    """How far a value is from another: numbers and versions by their difference, a text by whether one is in the other.

    Texts of which neither is in the other are told apart by how they begin.
    """
    a, b = _number(old), _number(new)
    if a is not None and b is not None:
        return 0, abs(a - b), str(new)
    try:
        one, other = Version.parse(str(old)), Version.parse(str(new))
    except VersionError:
        a_text, b_text = str(old).lower(), str(new).lower()
        inside = a_text in b_text or b_text in a_text
        return 1 if inside else 2, float(-_common(a_text, b_text)), str(new)
    return 0, abs(_weight(one) - _weight(other)), str(new)


def _weight(version: Version) -> float:
    return version.major * 1e6 + version.minor * 1e3 + version.patch


def _number(value: str | int) -> float | None:
    if isinstance(value, int):
        return float(value)
    try:
        return Quantity.parse(value).scaled_value(-9) / 1e9
    except QuantityError:
        return None


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _sentence(target: Target, old: str, new: str, matching: int) -> str:
    devices = "1 device" if matching == 1 else f"{matching} devices"
    return f"{devices} would match if `{_short(old)}` in {target.label} were `{_short(new)}`"


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 200 else flat[:197] + "…"
