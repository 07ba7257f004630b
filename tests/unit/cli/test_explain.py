"""`dra-operator explain -f`: verdict, funnel, nearest nodes, suggestions, and names that do not exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dra_operator.cli.explain import explain
from tests.unit.cli.commands import Answer, call

MANIFESTS = """
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: gpu}
spec: {selectors: [{cel: {expression: "device.driver == 'gpu.dra-operator.io'"}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: one, namespace: team}
spec: {spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu}}]}}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: big, namespace: team}
spec:
  spec:
    devices:
      requests:
      - name: gpu
        exactly:
          deviceClassName: gpu
          selectors:
          - cel:
              expression: |-
                device.capacity['gpu.dra-operator.io'].memory.compareTo(quantity('100Gi')) >= 0
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: wish, namespace: team}
spec:
  spec:
    devices:
      requests:
      - name: gpu
        firstAvailable:
        - {name: eight, deviceClassName: gpu, count: 8}
        - {name: four, deviceClassName: gpu, count: 4}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: colour, namespace: team}
spec:
  spec:
    devices:
      requests:
      - name: gpu
        exactly:
          deviceClassName: gpu
          selectors: [{cel: {expression: "device.attributes['gpu.dra-operator.io'].colour == 'red'"}}]
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: mine, namespace: team}
spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu}}]}}
"""
POD = """
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: team}}
spec:
  containers: [{{name: main}}]
  resourceClaims: [{{name: gpu, resourceClaimTemplateName: {template}}}]
"""
INVENTORY = "nodes: [{name: gpu, count: 2, profile: l4, gpus: 2}]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inventory").write_text(INVENTORY)
    return tmp_path


def run(folder: Path, what: str, *arguments: str, pods: str = "", manifests: str = MANIFESTS) -> Answer:
    (folder / "all.yaml").write_text(manifests + pods)
    where = ("-f", str(folder), "--inventory", str(folder / "inventory"), "-n", "team")
    return call(explain, what, *where, *arguments)


def test_a_pod_with_devices_is_told_which(folder: Path) -> None:
    answer = run(folder, "a", pods=POD.format(name="a", template="one"))
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "pod team/a has its devices: Allocated",
        "  1 device in 1 claim",
        '  request "gpu": gpu-0 of gpu-0 (gpu.dra-operator.io)',
    ]


def test_the_funnel_counts_what_each_hurdle_leaves_over(folder: Path) -> None:
    answer = run(folder, "pod/b", pods=POD.format(name="b", template="big"))
    assert answer.code == 1
    assert "pod team/b waits: NoMatchingDevice" in answer.out
    lines = [line.split(maxsplit=1) for line in answer.out.splitlines() if line.startswith("    ")]
    assert [(count, what.split()[0]) for count, what in lines] == [
        ("4", "published"),
        ("4", "left"),
        ("0", "left"),
        ("0", "free,"),
    ]
    assert 'gpu-0: request "gpu": 0 of 1 free (0 of its 2 devices match)' in answer.out


def test_a_suggestion_names_the_field_and_the_value(folder: Path) -> None:
    report = run(folder, "b", "-o", "json", pods=POD.format(name="b", template="big")).json
    [suggestion] = report["suggestions"]
    [change] = suggestion["changes"]
    assert (change["action"], change["kind"], change["namespace"], change["name"]) == (
        "set",
        "ResourceClaimTemplate",
        "team",
        "big",
    )
    assert change["path"][-5:] == ["exactly", "selectors", 0, "cel", "expression"]
    assert "100Gi" not in change["value"]
    assert suggestion["message"].startswith("4 devices would match if")


def test_holders_are_named_with_what_would_help(folder: Path) -> None:
    pods = "".join(POD.format(name=f"p{n}", template="one") for n in range(5))
    answer = run(folder, "p4", pods=pods)
    assert "DevicesInUse" in answer.out
    assert "held by pod team/p0: when it ends" in answer.out
    assert 'if there were one more node like "gpu-0"' in answer.out


def test_each_alternative_has_its_own_funnel(folder: Path) -> None:
    report = run(folder, "w", "-o", "json", pods=POD.format(name="w", template="wish")).json
    [request] = report["requests"]
    assert [(one["name"], one["wanted"]) for one in request["alternatives"]] == [("gpu/eight", 8), ("gpu/four", 4)]


def test_an_error_of_a_selector_is_told_with_the_device(folder: Path) -> None:
    report = run(folder, "c", "-o", "json", pods=POD.format(name="c", template="colour")).json
    assert report["reason"]["code"] == "SelectorFailed"
    [_, step] = report["requests"][0]["alternatives"][0]["selectors"]
    assert (step["left"], step["errors"]) == (0, 4)
    assert "no such key: colour" in step["error"]


def test_yaml_says_the_same_as_json(folder: Path) -> None:
    answer = run(folder, "a", "-o", "yaml", pods=POD.format(name="a", template="one"))
    assert "kind: Explanation" in answer.out.splitlines()


@pytest.mark.parametrize("what", ["claim/mine", "template/one", "resourceclaimtemplate/one", "template/team/one"])
def test_a_claim_or_template_that_no_pod_names_is_tried_with_a_pod(folder: Path, what: str) -> None:
    answer = run(folder, what)
    assert answer.code == 0
    assert "(explained by a pod that names nothing else)" in answer.out


def test_a_template_that_pods_name_is_explained_by_one_that_waits(folder: Path) -> None:
    pods = "".join(POD.format(name=f"p{n}", template="one") for n in range(5))
    answer = run(folder, "template/one", pods=pods)
    assert answer.code == 1
    assert 'by pod "team/p4", which names it' in answer.out


def test_did_you_mean_the_template_that_is_there(folder: Path) -> None:
    answer = run(folder, "a", pods=POD.format(name="a", template="ones"))
    assert "TemplateNotFound" in answer.out
    assert 'ResourceClaimTemplate "ones": did you mean "one"?' in answer.out
    assert 'if the pod named "one" where it says "ones"' in answer.out


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("trian", 'no pod "trian" in namespace "team"; did you mean "train"?'),
        ("pod/other/train", 'no pod "train" in namespace "other"; there is one in team'),
        ("claim/min", 'no ResourceClaim "min" in namespace "team"; did you mean "mine"?'),
        ("template/zzz", 'no ResourceClaimTemplate "zzz"'),
        ("deployment/a/b", '"deployment" is no kind that can be explained'),
        ("deployment/web", "write pod/, claim/ or template/: name one of the pods it makes"),
        ("deployments.apps/web", "write pod/, claim/ or template/: name one of the pods it makes"),
    ],
)
def test_a_name_that_does_not_exist_ends_with_code_2(folder: Path, what: str, words: str) -> None:
    answer = run(folder, what, pods=POD.format(name="train", template="one"))
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err


def test_a_class_that_selects_nothing_is_named_as_the_one_at_fault(folder: Path) -> None:
    text = MANIFESTS.replace("device.driver == 'gpu.dra-operator.io'", "device.driver == 'gpu.example.org'")
    answer = run(folder, "a", pods=POD.format(name="a", template="one"), manifests=text)
    assert 'DeviceClass "gpu" of request "gpu" selects none of' in answer.out


def test_what_would_be_refused_is_not_called_missing(folder: Path) -> None:
    pod = POD.format(name="a", template="one").replace("resourceClaims:", "resourceClaim:")
    answer = run(folder, "a", pods=pod)
    assert answer.code == 2
    assert 'the API server would refuse this: Pod in version "v1"' in answer.err
    assert 'unknown field "spec.resourceClaim"' in answer.err


def wishing(**exactly: Any) -> str:
    """A template `wrong` in which one thing is wrong, and a pod that names it."""
    constraints = exactly.pop("constraints", [])
    requests = [{"name": "gpu", "exactly": {"deviceClassName": "gpu", **exactly}}]
    template = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "wrong", "namespace": "team"},
        "spec": {"spec": {"devices": {"requests": requests, "constraints": constraints}}},
    }
    return f"---\n{json.dumps(template)}{POD.format(name='a', template='wrong')}"


def selecting(expression: str) -> dict[str, Any]:
    return {"selectors": [{"cel": {"expression": f"device.attributes['gpu.dra-operator.io'].{expression}"}}]}


@pytest.mark.parametrize("name", ["mem", "gpu.dra-operator.io/memory", "Memory"])
def test_a_capacity_that_no_device_has_is_told_and_the_one_that_is_meant(folder: Path, name: str) -> None:
    answer = run(folder, "a", "-o", "json", pods=wishing(capacity={"requests": {name: "20Gi"}}))
    [hint] = answer.json["hints"]
    assert hint == f'no device that request "gpu" selects has the capacity "{name}"; did you mean "memory"?'
    [first, *_] = answer.json["suggestions"]
    assert first["changes"][0]["value"] == {"memory": "20Gi"}


def test_a_capacity_that_is_like_none_is_told(folder: Path) -> None:
    answer = run(folder, "a", "-o", "json", pods=wishing(capacity={"requests": {"bandwidth": "1"}}))
    assert answer.json["hints"] == ['no device that request "gpu" selects has the capacity "bandwidth"']


def test_a_capacity_that_is_too_large_has_the_right_name(folder: Path) -> None:
    answer = run(folder, "a", "-o", "json", pods=wishing(capacity={"requests": {"memory": "100Gi"}}))
    assert answer.json["hints"] == []


@pytest.mark.parametrize("kind", ["matchAttribute", "distinctAttribute"])
def test_an_attribute_of_a_constraint_that_no_device_has_is_told_and_the_one_that_is_meant(
    folder: Path, kind: str
) -> None:
    constraints = [{kind: "gpu.dra-operator.io/numanode"}, {"matchAttribute": "gpu.dra-operator.io/productName"}]
    (folder / "inventory").write_text("nodes: [{name: gpu, profile: l4, gpus: 2}]")
    answer = run(folder, "a", "-o", "json", pods=wishing(count=2, constraints=constraints))
    [hint] = answer.json["hints"]
    assert hint == (
        f'no device that the claim asks for has the attribute of its constraint {kind} "gpu.dra-operator.io/numanode"; '
        'did you mean "resource.kubernetes.io/numaNode"?'
    )


def test_another_attribute_for_a_constraint_is_tried(folder: Path) -> None:
    answer = run(
        folder, "a", "-o", "json", pods=wishing(count=2, constraints=[{"matchAttribute": "example.com/productname"}])
    )
    [first, *_] = answer.json["suggestions"]
    assert first["changes"][0]["value"] == "gpu.dra-operator.io/productName"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("productName == 'L4'", "productName == 'NVIDIA L4'"),
        ("productName == 'nvidia l4'", "productName == 'NVIDIA L4'"),
        ("powerLimitWatts == '72'", "powerLimitWatts == 72"),
    ],
)
def test_the_value_that_is_meant_comes_first(folder: Path, wrong: str, right: str) -> None:
    nodes = "[{name: gpu, profile: l4, gpus: 1}, {name: big, profile: a100-sxm-80gb, gpus: 8}]"
    (folder / "inventory").write_text(f"nodes: {nodes}")
    answer = run(folder, "a", "-o", "json", pods=wishing(**selecting(wrong)))
    [first, *_] = answer.json["suggestions"]
    assert first["changes"][0]["value"] == f"device.attributes['gpu.dra-operator.io'].{right}"


def test_an_amount_is_suggested_in_the_unit_in_which_it_was_asked_for(folder: Path) -> None:
    (folder / "inventory").write_text(
        json.dumps(
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceSlice",
                "metadata": {"name": "nics"},
                "spec": {
                    "driver": "gpu.dra-operator.io",
                    "nodeName": "n",
                    "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1},
                    "devices": [{"name": "nic", "capacity": {"rate": {"value": "2G"}}}],
                },
            }
        )
    )
    answer = run(folder, "a", pods=wishing(capacity={"requests": {"rate": "5G"}}))
    assert "asked for 2G of rate instead of 5G" in answer.out


def test_a_kubeconfig_that_points_nowhere_ends_with_code_2(tmp_path: Path) -> None:
    assert "does not exist" in call(explain, "a", "--kubeconfig", str(tmp_path / "none")).err
    config = tmp_path / "config"
    config.write_text(
        "current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n"
        "clusters: [{name: k, cluster: {server: 'http://127.0.0.1:1'}}]\n"
    )
    answer = call(explain, "a", "--kubeconfig", str(config))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: http://127.0.0.1:1 does not answer: ")


def test_a_pod_with_a_later_alternative_is_told_why_not_the_earlier(folder: Path) -> None:
    (folder / "inventory").write_text("nodes: [{name: gpu, count: 2, profile: l4, gpus: 4}]")
    answer = run(folder, "w", "-o", "json", pods=POD.format(name="w", template="wish"))
    assert answer.code == 0
    assert {one["request"] for claim in answer.json["claims"] for one in claim["results"]} == {"gpu/four"}
    [request] = answer.json["requests"]
    [earlier] = request["alternatives"]
    assert (earlier["name"], earlier["wanted"], earlier["funnel"]["mostFreeOnOneNode"]) == ("gpu/eight", 8, 4)
