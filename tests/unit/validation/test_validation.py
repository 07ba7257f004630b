"""Validation beyond the corpus: feature gates, changes, forms of documents, and how errors are told.

What each rule answers is in the corpus, which a real API server confirms. Here is what a server with its default gates
cannot show, and what is ours: the choice of gates, documents that are no JSON text, values instead of exceptions.
"""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
import yaml

from dra_operator.validation import (
    Decoded,
    ErrorType,
    FieldError,
    Gates,
    Undecodable,
    decode,
    refusal,
    summary,
    validate,
    validate_status_update,
    validate_update,
)
from dra_operator.validation.metatypes import Object

V1 = "resource.k8s.io/v1"


def claim(**exactly: Any) -> dict[str, Any]:
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu", **exactly}}
    spec = {"devices": {"requests": [request]}}
    return {"apiVersion": V1, "kind": "ResourceClaim", "metadata": {"name": "claim"}, "spec": spec}


def slice_of(*devices: dict[str, Any], **spec: Any) -> dict[str, Any]:
    pool = {"name": "node-1", "generation": 1, "resourceSliceCount": 1}
    known = {"driver": "gpu.example.com", "nodeName": "node-1", "pool": pool, "devices": [*devices], **spec}
    return {"apiVersion": V1, "kind": "ResourceSlice", "metadata": {"name": "slice"}, "spec": known}


def device(**fields: Any) -> dict[str, Any]:
    return {"name": "gpu-0", **fields}


def read(document: dict[str, Any] | str) -> Object:
    found = decode(document)
    assert isinstance(found, Decoded), found
    return found.object


def complaints(document: dict[str, Any], gates: Gates | None = None) -> list[str]:
    return [str(error) for error in validate(read(document), gates=gates or Gates.of())]


def fields(document: dict[str, Any], gates: Gates | None = None) -> list[str]:
    return [error.field for error in validate(read(document), gates=gates or Gates.of())]


# --- documents -------------------------------------------------------------------------------------------------------


def test_yaml_and_json_are_the_same_document() -> None:
    text = json.dumps(claim(count=2))

    assert read(text) == read(yaml.safe_load(text)) == read(text.encode().decode())


def test_a_date_of_yaml_is_the_text_that_it_was() -> None:
    taint = {"key": "a", "effect": "None", "timeAdded": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}

    assert complaints(slice_of(device(taints=[taint]))) == []


def test_a_key_of_yaml_that_is_no_text_is_spelled_as_one() -> None:
    found = decode({**claim(), 5: "five"})  # type: ignore[dict-item]

    assert isinstance(found, Undecodable)
    assert [problem.field for problem in found.problems] == ["5"]


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '"a"', "null", "{'a': 1}", '{"a": NaN}', "[" * 10_000])
def test_what_is_no_json_object_is_refused_without_an_exception(text: str) -> None:
    assert isinstance(decode(text), Undecodable)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"spec": {}}, "Object 'Kind' is missing"),
        ({"apiVersion": V1, "kind": "Gpu"}, f'no kind "Gpu" is known in version "{V1}"'),
        ({"apiVersion": "resource.k8s.io/v1beta1", "kind": "DeviceClass"}, 'in version "resource.k8s.io/v1beta1"'),
        ({"apiVersion": V1, "kind": 5}, "cannot unmarshal number into Go struct field .kind of type string"),
    ],
)
def test_a_document_that_does_not_name_a_kind_of_ours_is_refused(document: dict[str, Any], message: str) -> None:
    found = decode(document)

    assert isinstance(found, Undecodable)
    assert message in found.message


def test_every_problem_has_a_path_also_where_the_servers_text_has_none() -> None:
    found = decode(slice_of(device(capacity={"memory": {"value": "10GiB"}})))

    assert isinstance(found, Undecodable)
    assert [problem.field for problem in found.problems] == ["spec.devices[0].capacity.memory.value"]
    assert found.message.endswith("'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")


def test_no_more_than_a_hundred_unknown_fields_are_told() -> None:
    found = decode({**claim(), **{f"field{i}": 1 for i in range(150)}})

    assert isinstance(found, Undecodable)
    assert len(found.problems) == 100


def test_a_templates_metadata_holds_no_zero_that_was_given() -> None:
    template = {"metadata": {"deletionGracePeriodSeconds": 0, "finalizers": [], "name": ""}, "spec": claim()["spec"]}
    document = {"apiVersion": V1, "kind": "ResourceClaimTemplate", "metadata": {"name": "a"}, "spec": template}

    assert fields(document) == ["spec.metadata.deletionGracePeriodSeconds", "spec.metadata.finalizers"]


# --- errors ----------------------------------------------------------------------------------------------------------


def test_an_error_is_a_value_that_prints_as_the_server_prints_it() -> None:
    (error,) = validate(read(claim(count=-1)))

    assert error == FieldError(
        ErrorType.INVALID, "spec.devices.requests[0].exactly.count", "-1", "must be greater than zero"
    )
    assert str(error) == "spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"


def test_a_refusal_names_object_and_all_errors_once() -> None:
    object_ = read(claim(count=-1, deviceClassName=""))
    errors = validate(object_)

    assert refusal(object_, errors) == (
        'ResourceClaim.resource.k8s.io "claim" is invalid: '
        "[spec.devices.requests[0].exactly.deviceClassName: Required value, "
        "spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero]"
    )
    assert summary([errors[0], errors[0]]) == str(errors[0])


def test_what_cannot_be_printed_is_escaped_as_in_go() -> None:
    (error,) = validate(read(slice_of(device(attributes={"x": {"version": 'a"\n\u2028\x01é'}}))))

    assert error.value == r'"a\"\n\u2028\x01é"'


# --- gates -----------------------------------------------------------------------------------------------------------


def test_fields_of_disabled_features_are_dropped_before_anything_is_checked() -> None:
    bad = claim(tolerations=[{"key": "a b", "operator": "Exists"}])

    assert fields(bad) == ["spec.devices.requests[0].exactly.tolerations[0].key"]
    assert fields(bad, Gates.of(34)) == []


def test_an_attribute_whose_only_value_is_dropped_has_none() -> None:
    listed = slice_of(device(attributes={"x": {"strings": ["a"]}}))

    assert fields(listed) == ["spec.devices[0].attributes[x]"]
    assert fields(listed, Gates.of(also=("DRAListTypeAttributes",))) == []


def test_a_feature_that_the_old_object_uses_stays_in_use() -> None:
    before = read(slice_of(device(taints=[{"key": "a", "effect": "None"}])))
    after = read(slice_of(device(taints=[{"key": "a b", "effect": "None"}])))
    unused = read(slice_of(device()))

    def answered(old: Object) -> list[str]:
        errors = validate_update(after, old, gates=Gates.of(34))
        return [error.field for error in errors if error.field.startswith("spec")]

    assert answered(before) == ["spec.devices[0].taints[0].key"]
    assert answered(unused) == []


def test_without_consumable_capacity_a_constraint_has_one_form() -> None:
    document = claim()
    document["spec"]["devices"]["constraints"] = [{"distinctAttribute": "a.b/c"}]

    assert complaints(document, Gates.of(without=("DRAConsumableCapacity",))) == [
        "spec.devices.constraints[0].matchAttribute: Required value"
    ]


def shared(policy: dict[str, Any], value: str = "10") -> dict[str, Any]:
    return slice_of(device(allowMultipleAllocations=True, capacity={"c": {"value": value, "requestPolicy": policy}}))


@pytest.mark.parametrize(
    ("policy", "fractions", "whole"),
    [
        ({"default": "1", "validRange": {"min": "500m", "step": "500m"}}, [], []),
        ({"default": "700m", "validRange": {"min": "500m", "step": "500m"}}, ["validRange.step"], []),
        ({"default": "1n", "validRange": {"min": "1n"}}, ["validRange.default", "validRange.min"], []),
        ({"default": "1", "validValues": ["1", "1000m"]}, [], ["validValues[1]"]),
    ],
)
def test_fractions_count_where_the_feature_is_enabled(
    policy: dict[str, Any], fractions: list[str], whole: list[str]
) -> None:
    prefix = "spec.devices[0].capacity[c].requestPolicy."
    enabled = Gates.of(also=("DRAFractionalCapacityRange",))

    assert fields(shared(policy), enabled) == [prefix + each for each in fractions]
    assert fields(shared(policy)) == [prefix + each for each in whole]


DERIVED = Gates.of(also=("DRADerivedAttributes",))


def deriving(expression: str, name: str = "a.example.com/x") -> dict[str, Any]:
    document = claim(derivedAttributes=[{"name": name, "expression": expression}])
    document["spec"]["devices"]["constraints"] = [{"matchAttribute": "a.example.com/x"}]
    return document


@pytest.mark.parametrize("expression", ["1", "'a'", "true", "semver('1.0.0')", "device.attributes['a.b'].x"])
def test_a_derived_attribute_can_be_any_scalar(expression: str) -> None:
    assert complaints(deriving(expression), DERIVED) == []


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        (deriving("[1, 2]"), "must evaluate to a primitive scalar (string, integer, boolean, semver), not list(int)"),
        (deriving("1.5"), "must evaluate to a primitive scalar (string, integer, boolean, semver), not double"),
        (deriving("null"), "must evaluate to a primitive scalar (string, integer, boolean, semver), not null_type"),
        (deriving("1", "a.example.com/y"), "must be referenced by at least one matchAttribute or distinctAttribute"),
        (deriving("1", "y"), "a fully qualified name must be a domain and a name separated by a slash"),
        (deriving(""), "spec.devices.requests[0].exactly.derivedAttributes[0].expression: Required value"),
    ],
)
def test_what_cannot_be_a_derived_attribute_is_refused(document: dict[str, Any], detail: str) -> None:
    assert any(detail in complaint for complaint in complaints(document, DERIVED))


def test_a_derived_attribute_may_be_a_list_where_attributes_may() -> None:
    gates = Gates.of(also=("DRADerivedAttributes", "DRAListTypeAttributes"))

    assert complaints(deriving("[1, 2]"), gates) == []


def test_what_a_device_takes_of_its_node_is_checked_where_the_feature_is_enabled() -> None:
    gates = Gates.of(also=("DRANodeAllocatableResources",))
    resources = {
        "cpu": {"mapping": {"capacityKey": "cores"}},
        "gpu": {"overhead": {}},
        "memory": {"mapping": {"deviceMultiplier": "-1"}},
    }
    where = "spec.devices[0].nodeAllocatableResources"

    assert complaints(slice_of(device(nodeAllocatableResources=resources)), gates) == [
        f'{where}[cpu].mapping.capacityKey: Not found: "cores"',
        f"{where}[cpu].mapping.capacityMultiplier: Required value: "
        "capacityMultiplier is required when capacityKey is set",
        f'{where}[gpu]: Invalid value: "gpu": must be a node allocatable resource name',
        f'{where}[gpu].overhead: Invalid value: "": at least one of perPod or perContainer must be set',
        f'{where}[memory].mapping.deviceMultiplier: Invalid value: "-1": must be positive',
    ]


def test_preparation_is_skipped_only_with_its_undoing() -> None:
    gates = Gates.of(also=("DRAOptionalNodeOperations",))

    assert fields(slice_of(device(), skipNodeOperations=["NodePrepareResources"]), gates) == ["spec.skipNodeOperations"]
    assert fields(slice_of(device(), skipNodeOperations=["NodePrepareResources", "*"]), gates) == []
    assert fields(slice_of(device(), skipNodeOperations=["Sleep", "*", "*"]), gates) == [
        "spec.skipNodeOperations[2]",
        "spec.skipNodeOperations[0]",
    ]


def test_every_partition_says_which_kind_it_is() -> None:
    gates = Gates.of(also=("DRAPartitionableDevicesType",))
    counters = [{"counterSet": "set", "counters": {"memory": {"value": "1"}}}]
    named = device(consumesCounters=counters, attributes={"profile": {"string": "1g.5gb"}})
    unnamed = {**named, "name": "gpu-1", "attributes": {}}
    name = "gpu.example.com/profile"

    assert fields(slice_of(named, partitionTypeAttribute=name), gates) == []
    assert fields(slice_of(named, unnamed, partitionTypeAttribute=name), gates) == [
        f"spec.devices[1].attributes[{name}]"
    ]
    assert fields(slice_of(device(), partitionTypeAttribute=name), gates) == ["spec.partitionTypeAttribute"]


# --- changes ---------------------------------------------------------------------------------------------------------


def stored(document: dict[str, Any], **metadata: Any) -> Object:
    namespace = {"namespace": "default"} if document["kind"].startswith("ResourceClaim") else {}
    known = {**document["metadata"], **namespace, "resourceVersion": "1", **metadata}
    return read({**document, "metadata": known})


def test_what_does_not_change_is_not_looked_at_again() -> None:
    selectors = [{"cel": {"expression": "device.driver =="}}]
    grown = {"apiVersion": V1, "kind": "DeviceClass", "metadata": {"name": "a"}, "spec": {"selectors": selectors}}
    labelled = {**grown, "metadata": {"name": "a", "labels": {"a": "b"}}}

    assert validate(read(grown)) != ()
    assert validate_update(stored(labelled), stored(grown)) == ()


def test_a_change_needs_to_say_what_it_changes() -> None:
    (error,) = validate_update(read(claim()), stored(claim()))

    assert str(error) == 'metadata.resourceVersion: Invalid value: "": must be specified for an update'


def test_annotations_have_a_limit_together() -> None:
    document = {**claim(), "metadata": {"name": "a", "annotations": {"a": "x" * 131_072, "b": "x" * 131_072}}}

    assert complaints(document) == ["metadata.annotations: Too long: may not be more than 262144 bytes"]


def test_only_kinds_with_a_status_have_one_that_changes() -> None:
    with pytest.raises(TypeError):
        validate_status_update(stored(slice_of()), stored(slice_of()))


def test_an_object_does_not_change_its_kind() -> None:
    with pytest.raises(TypeError):
        validate_update(stored(claim()), stored(slice_of()))


def test_without_labels_of_the_namespace_nothing_is_said_about_admin_access() -> None:
    object_ = read(claim(adminAccess=True))

    assert validate(object_) == ()
    assert [error.type for error in validate(object_, namespace_labels={})] == [ErrorType.FORBIDDEN]
