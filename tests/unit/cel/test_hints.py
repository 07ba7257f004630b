"""A selector that is refused or fails says where, and what to write instead."""

from __future__ import annotations

from unicodedata import east_asian_width

import pytest
from tests.unit.cel.builders import gpu

from dra_operator.cel import CELCompileError, compile_selector
from dra_operator.cel.hints import Explanation, cures, explain_failure


def refusal(expression: str) -> CELCompileError:
    with pytest.raises(CELCompileError) as raised:
        compile_selector(expression)
    return raised.value


def failure(expression: str) -> Explanation:
    explained = explain_failure(expression, gpu())
    assert explained is not None
    return explained


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ('device.capacity["gpu.example.com"].memory >= "40Gi"', '`….compareTo(quantity("40Gi")) >= 0`'),
        ('device.capacity["gpu.example.com"].memory > 40', '`….compareTo(quantity("40Gi")) > 0`'),
        ('device.capacity["gpu.example.com"].memory >= quantity("40Gi")', "`….compareTo(…) >= 0`"),
        ('device.capacity["gpu.example.com"].memory.compareTo("40Gi") >= 0', 'compareTo(quantity("40Gi"))'),
        ('semver("1.0.0") > "0.9.0"', '`….compareTo(semver("1.2.3")) > 0`'),
        ('device.attributes["model"] == "A100"', "a domain comes before the name"),
        ('device.attributes.model == "A100"', "a domain comes before the name"),
        ('device.model == "A100"', '`device.attributes["gpu.example.com"].model`'),
        ('driver == "gpu.example.com"', "`device.driver`"),
        ('devise.driver == "gpu.example.com"', "did you mean `device`?"),
        ('quanity("1Gi") == quantity("1Gi")', "did you mean `quantity`?"),
        ('gpu == "A100"', "the only variable is `device`"),
        ("device.driver", "compare the value with something"),
        ('device.driver == "a" and true', "`and` is written `&&`"),
        ('device.driver = "a"', "equality is `==`"),
        ("true & false", "write `&&`"),
    ],
)
def test_the_usual_slips_in_writing_have_a_hint(expression: str, hint: str) -> None:
    assert hint in next(cures(refusal(expression)))


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        (
            'device.attributes["gpu.example.com"].nvlink == 4',
            'guard it: `device.attributes["gpu.example.com"].?nvlink.orValue(…)`, '
            'or `"nvlink" in device.attributes["gpu.example.com"] && …`',
        ),
        ("device.capacity[device.driver].vram.isInteger()", "`device.capacity[device.driver].?vram.orValue(…)`"),
        ('device.attributes["gpu.example.com"].modle == "A100"', "the device has `model`, not `modle`"),
        ('device.capacity["gpu.example.com"].mem.isInteger()', "the device has `memory`, not `mem`"),
        (
            'device.attributes["gpu.example.com"].memory.compareTo(quantity("1Gi")) > 0',
            'it is a capacity: `device.capacity["gpu.example.com"].memory`',
        ),
        (
            'device.capacity["gpu.example.com"].model.isInteger()',
            'it is an attribute: `device.attributes["gpu.example.com"].model`',
        ),
        ('device.capacity["gpu.example.com"].memory.compareTo(quantity("10GB")) > 0', '`quantity("10G")`?'),
        (
            'device.attributes["gpu.example.com"].driverVersion.compareTo(semver("550")) > 0',
            'a version has three numbers: `semver("550.0.0")`',
        ),
        (
            'device.attributes["nvidia.com"].model == "A100"',
            'the device has it in the domain "gpu.example.com", not "nvidia.com"',
        ),
        ('device.attributes["nvidia.com"].nvlink == 4', 'only in "gpu.example.com", "other.example.com"'),
        ('device.attributes["gpu.example.com"].driverVersion == "535.0.0"', '`….compareTo(semver("535.0.0")) == 0`'),
        ('device.attributes["gpu.example.com"].driverVersion >= "535.0.0"', '`….compareTo(semver("535.0.0")) >= 0`'),
        ('device.attributes["gpu.example.com"].model >= 3', "a string against a int"),
        ('device.attributes["gpu.example.com"].links >= "a"', "`….includes(…)`"),
        ('device.attributes["gpu.example.com"].model.compareTo(semver("1.0.0")) > 0', "`semver(….name).compareTo(…)`"),
        ('device.attributes["gpu.example.com"].index.startsWith("A")', "is a int on this device, not a string"),
        ('device.attributes["gpu.example.com"].model', "compare the value with something"),
        ('sets.contains(device.attributes["gpu.example.com"].model, ["a"])', ""),
        ('cel.bind(d, device.attributes["gpu.example.com"], d.nvlink == 4)', "guard it: `….?nvlink.orValue(…)`"),
    ],
)
def test_the_usual_slips_on_a_device_have_a_hint(expression: str, hint: str) -> None:
    assert hint in failure(expression).hint


def test_the_place_is_the_innermost_part_that_fails() -> None:
    explained = failure('device.driver == "gpu.example.com" &&\n  device.attributes["gpu.example.com"].nope > 3')

    assert str(explained).split("\n")[:3] == [
        "no such key: nope",
        ' |   device.attributes["gpu.example.com"].nope > 3',
        " | ......................................^",
    ]


def test_a_part_that_the_condition_left_out_is_not_blamed() -> None:
    explained = failure('false ? 1 / 0 == 1 : device.attributes["gpu.example.com"].nope == 1')

    assert explained.message == "no such key: nope"
    assert "nope" in explained.place


@pytest.mark.parametrize("expression", ['"日本" == 1', '"é" == 1', "\t\t1 == 'a'", "true &&\r\n1 == 'a'"])
def test_the_caret_stands_below_its_column(expression: str) -> None:
    _, line, caret = refusal(expression).brief.split("\n")

    assert _columns(caret) == _columns(line[: line.index("==") + 1])


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def test_a_selector_that_does_not_fail_needs_no_explanation() -> None:
    assert explain_failure("device.driver == 'x'", gpu()) is None


def test_an_explanation_is_a_sentence_or_a_paragraph() -> None:
    explained = failure('device.attributes["gpu.example.com"].modle == "A100"')

    assert explained.sentence == "no such key: modle; the device has `model`, not `modle`"
    assert str(explained).endswith("\nhint: the device has `model`, not `modle`")
