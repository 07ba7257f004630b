"""A selector becomes Python code, and none of its text does."""

from __future__ import annotations

import pytest
from tests.unit.cel.builders import gpu

from dra_operator.cel.compiled import python_of
from dra_operator.cel.errors import CELCompileError, CELRuntimeError
from dra_operator.cel.selector import compile_selector, program_of

EVIL = "evil"


@pytest.mark.parametrize(
    "expression",
    [
        f"device.driver == '{EVIL}'",
        f"device.driver == '\\'; {EVIL}()\\n#'",
        f'device.driver == """{EVIL}\n"""',
        f"device.attributes['{EVIL}'].{EVIL} == 1",
        f"[1].all({EVIL}, {EVIL} == 1)",
        f"cel.bind({EVIL}, 1, {EVIL} == 1)",
        f"{{'{EVIL}': 1}}.{EVIL} == 1",
        f"has(device.attributes['{EVIL}'].{EVIL})",
        f"device.driver.matches('{EVIL}')",
        f"quantity('1{EVIL}').isGreaterThan(quantity('1'))",
    ],
)
@pytest.mark.parametrize("counting", [False, True])
def test_no_text_of_a_selector_is_in_the_code_made_of_it(expression: str, counting: bool) -> None:
    text, _ = python_of(program_of(expression), counting=counting)
    assert EVIL not in text


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true') == 0",
        "open('/etc/passwd') != ''",
        "device.__class__ == device.__class__",
        "device.attributes['gpu.example.com'].__class__ == 1",
        "device.driver.__len__() > 0",
        "'%s'.format([device]).__class__ == ''",
        "view == view",
        "cost < limit",
        "exec('1') == 1",
    ],
)
def test_what_python_would_answer_cel_does_not(expression: str) -> None:
    with pytest.raises((CELCompileError, CELRuntimeError)):
        compile_selector(expression).matches(gpu())
