"""The selectors of examples/ pick the GPUs that their comments promise, among the devices of all profiles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dra_operator.agent.profiles import load_profile, profile_names
from dra_operator.api.resource import BasicDevice, DeviceAttribute
from dra_operator.api.semver import Version
from dra_operator.cel.device import AttributeValue, DeviceView
from dra_operator.cel.errors import CELRuntimeError
from dra_operator.cel.selector import compile_selector
from dra_operator.validation import Decoded, Undecodable, decode, validate
from dra_operator.validation.documents import KINDS
from tests.selectors import expressions_of

EXAMPLES = Path(__file__).parents[2] / "examples"


def value_of(attribute: DeviceAttribute) -> AttributeValue:
    if attribute.version_value is not None:
        return Version.parse(attribute.version_value)
    value = attribute.int_value if attribute.int_value is not None else attribute.string_value
    assert value is not None
    return value


def view(device: BasicDevice, driver: str) -> DeviceView:
    attributes = {name: value_of(attribute) for name, attribute in (device.attributes or {}).items()}
    return DeviceView(driver, attributes, {name: each.value for name, each in (device.capacity or {}).items()})


def profiles_matched(expression: str, profiles: list[str]) -> set[str]:
    selector = compile_selector(expression)
    matched = set()
    for name in profiles:
        profile = load_profile(name)
        if any(selector.matches(view(device, profile.driver)) for device in profile.devices_of("node-1").devices):
            matched.add(name)
    return matched


GPUS = [name for name in profile_names() if name != "driver-example" and not name.endswith("-mig")]
"""Profiles of whole GPUs: the class of the examples selects those, before a claim's selectors are asked."""
CUDA = [name for name in GPUS if name != "mi300x-192gb"]
LARGE = {"a100-sxm-40gb", "a100-sxm-80gb", "b200", "h100-sxm-80gb"}


@pytest.mark.parametrize(
    ("file", "matched"),
    [
        ("12-product-name.yaml", {"a100-sxm-40gb"}),
        ("13-memory-minimum.yaml", {*LARGE, "mi300x-192gb"}),
        ("14-memory-range.yaml", {"l4"}),
        ("15-compute-capability.yaml", {"l4", "h100-sxm-80gb", "b200"}),
        ("16-power-and-thermal-profile.yaml", {"l4", "t4"}),
        ("17-vendor-and-device-id.yaml", {"t4"}),
        ("18-driver-version.yaml", {"l4", *LARGE}),
    ],
)
def test_a_gpu_selector(file: str, matched: set[str]) -> None:
    (expression,) = expressions_of(EXAMPLES / file)
    assert profiles_matched(expression, GPUS) == matched


def test_the_classes_hold_for_devices_of_every_driver() -> None:
    (example,), (gpu,) = (
        expressions_of(EXAMPLES / "01-device-class.yaml"),
        expressions_of(EXAMPLES / "10-gpu-device-class.yaml"),
    )

    assert profiles_matched(example, profile_names()) == {"driver-example"}
    assert profiles_matched(gpu, profile_names()) == set(GPUS)


def test_the_alternatives_of_the_template_are_the_two_partitions() -> None:
    small, large = expressions_of(EXAMPLES / "03-resource-claim-template.yaml")
    devices = [
        view(each, "driver.example.com") for each in load_profile("driver-example").devices_of("node-1", 2).devices
    ]

    assert [compile_selector(small).matches(device) for device in devices] == [True, False]
    assert [compile_selector(large).matches(device) for device in devices] == [False, True]


@pytest.mark.parametrize("file", sorted(each.name for each in EXAMPLES.glob("*.yaml")))
def test_good_examples_are_valid_without_a_cluster(file: str) -> None:
    for document in yaml.safe_load_all((EXAMPLES / file).read_text()):
        if document["kind"] in KINDS:
            found = decode(document)
            assert isinstance(found, Decoded)
            assert validate(found.object) == ()


@pytest.mark.parametrize("file", sorted(each.name for each in (EXAMPLES / "invalid").glob("*.yaml")))
def test_what_kubectl_apply_would_answer_is_known_without_a_cluster(file: str) -> None:
    text = (EXAMPLES / "invalid" / file).read_text()
    promised = re.search(r"# kubectl apply answers:\n# +(.+)", text)
    answers = []
    for document in yaml.safe_load_all(text):
        if document["kind"] in KINDS:
            found = decode(document)
            if isinstance(found, Undecodable):
                answers.append(found.message)
            else:
                answers += map(str, validate(found.object, namespace_labels={}))

    assert bool(answers) == bool(promised)
    assert promised is None or promised.group(1) in answers[0]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("attribute-that-no-device-has.yaml", "no such key: migProfile"),
        ("quantity-in-selector.yaml", "quantities must match the regular expression"),
    ],
)
def test_a_selector_that_fails_on_a_device_says_what_the_example_says(file: str, message: str) -> None:
    (expression,) = expressions_of(EXAMPLES / f"invalid/{file}")
    device = view(load_profile("driver-example").devices_of("node-1", 1).devices[0], "driver.example.com")

    assert message in (EXAMPLES / "invalid" / file).read_text()
    with pytest.raises(CELRuntimeError, match=message):
        compile_selector(expression).matches(device)
