"""What random input may do to the core: be refused, with the errors that are meant for it, and nothing else.

Each target takes bytes. It returns if all is well; any other exception than the ones it expects is a finding, and so is
a difference between the two evaluators. Hypothesis calls them in every test run (`tests/unit/cel/test_fuzz.py`),
atheris for as long as one likes (`make fuzz-cel`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

from dra_operator.api.codec import decode
from dra_operator.api.quantity import Quantity, QuantityError
from dra_operator.api.resource import ResourceSlice
from dra_operator.api.semver import Version, VersionError
from dra_operator.cel import CELCompileError, CELRuntimeError, DeviceView, compile_selector
from dra_operator.cel.budget import Budget
from dra_operator.cel.compiled import decision
from dra_operator.cel.hints import cures, explain_failure
from dra_operator.cel.selector import program_of
from dra_operator.inventory.devices import Device, UnsupportedAttribute
from tests.fuzz.dice import Dice
from tests.fuzz.odd_selectors import DEVICE, make_expression

_LIMIT: Final = 20_000  # of an evaluation's cost: enough to go everywhere


class Bytes(Dice):
    """Choices read from bytes, so that a fuzzer which changes a byte changes one choice. Zeros when they run out."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data = data
        self._position = 0

    def random(self) -> float:
        self._position += 1
        return self._data[self._position - 1] / 256 if self._position <= len(self._data) else 0.0


def _view() -> DeviceView:
    slice_ = {
        "metadata": {"name": "s"},
        "spec": {
            "driver": DEVICE["driver"],
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "d", **{name: DEVICE[name] for name in DEVICE if name != "driver"}}],
        },
    }
    (device,) = devices_of(decode(json.dumps(slice_), ResourceSlice))
    return device.view


def devices_of(slice_: ResourceSlice) -> list[Device]:
    return [Device(slice_, basic) for basic in slice_.spec.devices or ()]


def text_as_selector(data: bytes) -> None:
    """Any text: it compiles or is explained; if it compiles it gives an answer or a failure that can be explained."""
    expression = data.decode(errors="replace")
    try:
        selector = compile_selector(expression)
    except CELCompileError as error:
        _require(error.brief)
        list(cures(error))
        return
    try:
        selector.matches(VIEW)
    except CELRuntimeError:
        _require(explain_failure(expression, VIEW))


def generated_selector(data: bytes) -> None:
    """Any expression of the generator: both evaluators say the same, at the same cost."""
    evaluators_agree(make_expression(Bytes(data)))


def evaluators_agree(expression: str) -> None:
    try:
        program = program_of(expression)
    except CELCompileError as error:
        _require(error.brief)
        list(cures(error))
        return
    compiled = decision(program, counting=True)
    if compiled is None:
        return
    budget = Budget(_LIMIT)
    reference = _answer(lambda: (program.evaluate(VIEW.variables, budget), budget.spent))
    assert _answer(lambda: compiled(VIEW, _LIMIT)) == reference, expression


def _require(explained: object) -> None:
    assert explained, "no explanation"


def _answer(evaluate: Callable[[], Any]) -> str:
    try:
        return repr(evaluate())
    except CELRuntimeError as error:
        return f"{type(error).__name__}: {error}"


def text_as_quantity(data: bytes) -> None:
    """Any text: a quantity that its own text means again, or a QuantityError."""
    try:
        quantity = Quantity.parse(data.decode(errors="replace"))
    except QuantityError:
        return
    hash(quantity)
    quantity.approximate()
    quantity.as_int64()
    quantity.scaled_value(-3)
    assert quantity.compare(quantity) == 0


def text_as_version(data: bytes) -> None:
    """Any text: a version that is written as it was read, or a VersionError."""
    text = data.decode(errors="replace")
    try:
        version = Version.parse(text)
    except VersionError:
        return
    assert str(version) == text
    assert version.compare(version) == 0


def document_as_slice(data: bytes) -> None:
    """Any document: not a slice, or one whose devices can be asked by selectors, or say why not."""
    try:
        slice_ = decode(data, ResourceSlice)
    except (msgspec.DecodeError, UnicodeDecodeError, QuantityError):
        return
    for device in devices_of(slice_):
        try:
            compile_selector('device.attributes["d"].?x.orValue(device.driver) == "x"').matches(device.view)
        except (UnsupportedAttribute, CELRuntimeError):
            continue


VIEW: Final = _view()
TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (
        text_as_selector,
        generated_selector,
        text_as_quantity,
        text_as_version,
        document_as_slice,
    )
}
