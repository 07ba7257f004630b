"""From documents to objects: kinds, versions, lists, and what is refused with its place."""

from __future__ import annotations

import pytest

from dra_operator.api.core import Pod
from dra_operator.api.resource import ResourceClaim, ResourceClaimTemplate, ResourceSlice
from dra_operator.query.documents import InputError, parse_documents
from dra_operator.query.objects import Manifests, load_objects

CLAIM = """
apiVersion: resource.k8s.io/{version}
kind: ResourceClaim
metadata: {{name: gpu, namespace: team}}
spec: {{devices: {{requests: [{request}]}}}}
"""
V1BETA1 = """
apiVersion: resource.k8s.io/v1beta1
kind: ResourceSlice
metadata: {name: s}
spec:
  driver: d.example.com
  nodeName: n
  pool: {name: n, generation: 3, resourceSliceCount: 1}
  devices:
  - name: gpu-0
    basic: {attributes: {model: {string: x}}, capacity: {memory: {value: 40Gi}}}
"""


def load(text: str, namespace: str = "default") -> Manifests:
    return load_objects(parse_documents(text.encode(), "file.yaml"), namespace)


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        load(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("version", "request_"),
    [
        ("v1", "{name: a, exactly: {deviceClassName: gpu, count: 2}}"),
        ("v1beta2", "{name: a, exactly: {deviceClassName: gpu, count: 2}}"),
        ("v1beta1", "{name: a, deviceClassName: gpu, count: 2}"),
    ],
)
def test_all_served_versions_say_the_same(version: str, request_: str) -> None:
    [claim] = load(CLAIM.format(version=version, request=request_)).all(ResourceClaim)
    [request] = claim.spec.devices.requests or ()
    assert request.exactly is not None
    assert (request.name, request.exactly.device_class_name, request.exactly.count) == ("a", "gpu", 2)


def test_alternatives_of_v1beta1_stay_what_they_are() -> None:
    request_ = "{name: a, firstAvailable: [{name: x, deviceClassName: gpu}]}"
    [claim] = load(CLAIM.format(version="v1beta1", request=request_)).all(ResourceClaim)
    [request] = claim.spec.devices.requests or ()
    assert request.exactly is None
    assert [one.name for one in request.first_available or ()] == ["x"]


def test_a_slice_of_v1beta1_has_its_devices() -> None:
    [slice_] = load(V1BETA1).all(ResourceSlice)
    [device] = slice_.spec.devices or ()
    assert set(device.attributes or ()) == {"model"}
    assert set(device.capacity or ()) == {"memory"}


def test_lists_are_taken_apart_whatever_they_are_lists_of() -> None:
    pods = "apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a}}, {metadata: {name: b}}]\n"
    mixed = "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: c}}]\n"
    assert [pod.metadata.name for pod in load(f"{pods}---\n{mixed}").all(Pod)] == ["a", "b", "c"]


def test_objects_without_a_namespace_are_in_the_callers() -> None:
    loaded = load("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", namespace="team")
    assert [str(pod.key) for pod in loaded.all(Pod)] == ["team/a"]


def test_kinds_that_play_no_part_are_named_and_skipped() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: x.example.com/v9\nkind: Thing\n"
    assert dict(load(text).skipped) == {"ConfigMap (v1)": 1, "Thing (x.example.com/v9)": 1}


def test_opaque_parameters_are_carried_as_they_are() -> None:
    text = """
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: t}
spec:
  spec:
    devices:
      requests: [{name: gpu, exactly: {deviceClassName: gpu.nvidia.com}}]
      config: [{opaque: {driver: gpu.nvidia.com, parameters: {kind: GpuConfig, sharing: {strategy: MPS}}}}]
"""
    [template] = load(text).all(ResourceClaimTemplate)
    [config] = template.spec.spec.devices.config or ()
    assert config.opaque is not None
    assert bytes(config.opaque.parameters) == b'{"kind":"GpuConfig","sharing":{"strategy":"MPS"}}'


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("{name: a, exactly: {count: '2'}}", "cannot unmarshal string into Go struct field ExactDeviceRequest"),
        ("{exactly: {name: a, deviceClassName: gpu}}", 'unknown field "spec.devices.requests[0].exactly.name"'),
        ("{exactly: {deviceClassName: gpu}}", 'spec.devices.requests[0].name: Invalid value: ""'),
    ],
)
def test_a_claim_that_cannot_be_read_is_refused_beside_the_others_in_the_api_servers_words(
    request_: str, words: str
) -> None:
    loaded = load(
        CLAIM.format(version="v1", request=request_) + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
    )
    [refused] = loaded.refused
    assert (refused.type, str(refused.key), refused.place) == (ResourceClaim, "team/gpu", "file.yaml:2")
    assert words in refused.message
    assert [pod.metadata.name for pod in loaded.all(Pod)] == ["a"]


@pytest.mark.parametrize(
    "request_",
    [
        "{name: a, exactly: {deviceClassName: gpu, count: 0, allocationMode: ''}}",
        "{name: a, firstAvailable: [{name: b, deviceClassName: gpu, count: 0, allocationMode: ''}]}",
    ],
)
def test_zeros_mean_the_default_as_for_the_api_server(request_: str) -> None:
    [claim] = load(CLAIM.format(version="v1", request=request_)).all(ResourceClaim)
    [request] = claim.spec.devices.requests or ()
    [ask] = request.first_available or [request.exactly]
    assert ask is not None
    assert (ask.count, ask.allocation_mode) == (1, "ExactCount")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1", ("file.yaml:1", "names no kind")),
        ("kind: Pod", ("file.yaml:1", "names no apiVersion")),
        ("just text", ("file.yaml:1", "a text")),
        ("apiVersion: v1\nkind: Pod\n", ("Pod has no metadata.name",)),
        ("apiVersion: v2\nkind: Pod\nmetadata: {name: a}\n", ("version v2", "there are v1")),
        ("apiVersion: v1\nkind: Deployment\nmetadata: {name: a}\n", ("Deployment belongs to apiVersion apps/v1",)),
        (
            "apiVersion: resource.k8s.io/v1alpha2\nkind: ResourceClaim\nmetadata: {name: a}\n",
            ("ResourceClaim a", "v1alpha2", "resource.k8s.io/v1beta1"),
        ),
        (
            "apiVersion: resource.k8s.io/v1\nkind: ResourceClaimTemplat\nmetadata: {name: a}\n",
            ('did you mean "ResourceClaimTemplate"?',),
        ),
        (
            "\n\napiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\nspec: {priority: high}\n",
            ("file.yaml:3", "Pod b/a", "spec.priority", "expected `int"),
        ),
        (V1BETA1.replace("generation: 3", "generation: '3'"), ("ResourceSlice s", "spec.pool.generation")),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n" * 2, ("file.yaml:5", "second time", "file.yaml:1")),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str, words: tuple[str, ...]) -> None:
    message = refusal(text)
    assert [word for word in words if word not in message] == [], message
