"""`dra-operator simulate`: its answers, its exit codes, and what it makes of bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from dra_operator.cli.simulate import simulate
from tests.unit.cli.commands import Answer, call

EXAMPLES = Path(__file__).parents[3] / "examples"
INVENTORY = "nodes: [{name: gpu, count: 2, profile: h100-sxm-80gb, gpus: 2, driver: gpu.nvidia.com}]"
CLASS = """
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: gpu.nvidia.com}
spec:
  selectors:
  - cel: {expression: "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'"}
"""
TEMPLATE = """
apiVersion: resource.k8s.io/v1beta1
kind: ResourceClaimTemplate
metadata: {name: single, namespace: team}
spec:
  spec:
    devices:
      requests: [{name: gpu, deviceClassName: gpu.nvidia.com}]
      config:
      - requests: [gpu]
        opaque:
          driver: gpu.nvidia.com
          parameters:
            apiVersion: resource.nvidia.com/v1beta1
            kind: GpuConfig
            sharing: {strategy: TimeSlicing, timeSlicingConfig: {interval: Long}}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: team}
spec:
  replicas: 5
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: ubuntu, resources: {claims: [{name: gpu}]}}]
      resourceClaims: [{name: gpu, resourceClaimTemplateName: single}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inventory").write_text(INVENTORY)
    (tmp_path / "all.yaml").write_text("\n---\n".join((CLASS, TEMPLATE, DEPLOYMENT)))
    return tmp_path


def run(folder: Path, *arguments: str) -> Answer:
    return call(simulate, "-f", str(folder), "--inventory", str(folder / "inventory"), *arguments)


def test_the_answer_in_json_names_every_pod_and_all_that_it_gets(folder: Path) -> None:
    answer = run(folder, "-o", "json")
    report = answer.json

    assert (answer.code, report["apiVersion"], report["kind"]) == (1, "dra-operator.io/v1", "Simulation")
    assert report["summary"] == {"allocated": 4, "waiting": 1, "rejected": 0}
    first, last = report["pods"][0], report["pods"][-1]
    assert set(first) == {"namespace", "name", "node", "state", "reason", "claims"}
    assert (first["namespace"], first["node"], first["state"]) == ("team", "gpu-0", "Allocated")
    assert first["reason"] == {"code": "Allocated", "message": "1 device in 1 claim"}
    [claim] = first["claims"]
    assert claim["name"].startswith(first["name"] + "-gpu-")
    assert claim["template"] == "single"
    [result] = claim["results"]
    assert result == {
        "request": "gpu",
        "driver": "gpu.nvidia.com",
        "pool": "gpu-0",
        "device": "gpu-0",
        "adminAccess": False,
    }
    assert (last["node"], last["state"], last["reason"]["code"]) == (None, "Waiting", "DevicesInUse")
    assert last["claims"][0]["results"] == []
    given = [(one["pool"], one["device"]) for pod in report["pods"] for c in pod["claims"] for one in c["results"]]
    assert len(given) == len(set(given)) == 4


def test_exit_code_0_once_all_pods_have_devices(folder: Path) -> None:
    answer = run(folder, "--add-nodes", "h100-sxm-80gb:1x1@gpu.nvidia.com")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "5 of 5 pods get their devices")


def test_what_if_a_node_were_gone(folder: Path) -> None:
    assert run(folder, "--remove-node", "gpu-1", "-o", "json").json["summary"]["allocated"] == 2


@pytest.mark.parametrize(("where", "left"), [("gpu-1", 2), ("gpu-1/gpu-0", 3)])
def test_what_if_devices_were_tainted(folder: Path, where: str, left: int) -> None:
    report = run(folder, "--taint", f"{where}:broken=yes:NoSchedule", "-o", "json").json
    assert report["summary"]["allocated"] == left
    assert report["pods"][-1]["reason"]["code"] == "DevicesTainted"


def partition_request(name: str, profile: str) -> str:
    selector = f"device.attributes['gpu.nvidia.com'].profile == '{profile}'"
    return (
        f"- {{name: {name}, exactly: {{deviceClassName: mig.nvidia.com, "
        f'selectors: [{{cel: {{expression: "{selector}"}}}}]}}}}'
    )


PARTITIONS = f"""
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {{name: single, namespace: team}}
spec:
  spec:
    devices:
      requests:
      {partition_request("a", "1g.5gb")}
      {partition_request("b", "1g.5gb")}
      {partition_request("c", "2g.10gb")}
      {partition_request("d", "3g.20gb")}
      constraints: [{{requests: [], matchAttribute: gpu.nvidia.com/parentUUID}}]
"""


def test_four_partitions_of_one_gpu_are_got_from_a_node_of_nvidias_driver(folder: Path) -> None:
    """As the fourth of the examples that NVIDIA's driver comes with asks for them; its four pods take four GPUs."""
    (folder / "all.yaml").write_text("\n---\n".join((PARTITIONS, DEPLOYMENT.replace("replicas: 5", "replicas: 4"))))
    (folder / "inventory").write_text(
        "nodes: [{name: gpu, profile: a100-sxm-40gb-mig, gpus: 4, driver: gpu.nvidia.com}]"
    )
    report = run(folder, "-o", "json").json

    assert report["summary"] == {"allocated": 4, "waiting": 0, "rejected": 0}
    gpus = set()
    for pod in report["pods"]:
        [claim] = pod["claims"]
        given = [result["device"].split("-") for result in claim["results"]]
        assert [parts[3] for parts in given] == ["1g5gb", "1g5gb", "2g10gb", "3g20gb"]
        [gpu] = {parts[1] for parts in given}
        gpus.add(gpu)
        sizes = {"1g5gb": 1, "2g10gb": 2, "3g20gb": 4}
        slices = [int(parts[-1]) + offset for parts in given for offset in range(sizes[parts[3]])]
        assert len(slices) == len(set(slices)) == 8
    assert gpus == {"0", "1", "2", "3"}


def test_classes_that_a_known_driver_installs_are_taken_as_installed(folder: Path) -> None:
    (folder / "all.yaml").write_text("\n---\n".join((TEMPLATE, DEPLOYMENT)))
    answer = run(folder, "-o", "json")
    assert answer.json["summary"]["allocated"] == 4
    assert 'DeviceClass "gpu.nvidia.com" is in no file' in answer.err


def test_a_class_of_a_driver_that_no_node_has_tells_how_to_get_it(folder: Path) -> None:
    (folder / "all.yaml").write_text("\n---\n".join((TEMPLATE, DEPLOYMENT)))
    (folder / "inventory").write_text(INVENTORY.replace(", driver: gpu.nvidia.com", ""))
    answer = run(folder)
    assert "ClassNotFound" in answer.out
    assert 'give nodes of the inventory "driver: gpu.nvidia.com", or write --add-nodes …@gpu.nvidia.com' in answer.err


def test_unknown_kinds_are_named(folder: Path) -> None:
    (folder / "more.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: {name: s}\n")
    assert "1 Service (v1)" in run(folder).err


def test_a_namespace_without_the_label_gets_no_admin_access(folder: Path) -> None:
    exactly = "{name: gpu, deviceClassName: gpu.nvidia.com, adminAccess: true}"
    (folder / "all.yaml").write_text(
        "\n---\n".join((CLASS, TEMPLATE.replace("{name: gpu, deviceClassName: gpu.nvidia.com}", exactly), DEPLOYMENT))
    )
    refused = run(folder, "-o", "json").json
    assert refused["summary"] == {"allocated": 0, "waiting": 0, "rejected": 5}
    assert {pod["reason"]["code"] for pod in refused["pods"]} == {"AdminAccessDenied"}

    label = '{resource.kubernetes.io/admin-access: "true"}'
    (folder / "ns.yaml").write_text(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: team, labels: {label}}}\n")
    granted = run(folder, "-o", "json").json
    assert granted["summary"]["allocated"] == 5
    assert all(one["adminAccess"] for pod in granted["pods"] for one in pod["claims"][0]["results"])


def test_pods_of_higher_priority_go_first(folder: Path) -> None:
    (folder / "urgent.yaml").write_text(
        "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 1000\n---\n"
        "apiVersion: v1\nkind: Pod\nmetadata: {name: urgent, namespace: team}\n"
        "spec: {priorityClassName: high, containers: [{name: c}],"
        " resourceClaims: [{name: gpu, resourceClaimTemplateName: single}]}\n"
    )
    states = {pod["name"]: pod["state"] for pod in run(folder, "-o", "json").json["pods"]}
    assert states["urgent"] == "Allocated"
    assert sorted(states.values()) == ["Allocated"] * 4 + ["Waiting"] * 2


def test_what_a_dumped_claim_holds_stays_held_though_its_pod_is_not_there(folder: Path) -> None:
    (folder / "held.yaml").write_text("""
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: held, namespace: other, uid: u-1}
spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu.nvidia.com}}]}}
status:
  reservedFor: [{resource: pods, name: stranger, uid: u-2}]
  allocation:
    devices: {results: [{request: gpu, driver: gpu.nvidia.com, pool: gpu-0, device: gpu-0}]}
""")
    assert run(folder, "-o", "json").json["summary"]["allocated"] == 3


def test_the_examples_on_their_own_devices() -> None:
    answer = call(simulate, "-f", str(EXAMPLES), "--add-nodes", "driver-example:1", "--add-nodes", "l4:2", "-o", "json")
    states = {pod["name"]: pod["state"] for pod in answer.json["pods"]}
    assert states["pod1"] == "Allocated"
    assert states["device-monitor"] == "Allocated"
    assert states["sharing-1"] == states["sharing-2"] == "Allocated"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name files with -f"),
        (("-f", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("--add-nodes", "h100-sxm-80gb"), "write PROFILE:COUNT[xGPUS][@DRIVER]"),
        (("--add-nodes", "h200:1x1"), "no profile 'h200'"),
        (("--remove-node", "gpo-0"), 'no such node; did you mean "gpu-0"?'),
        (("--taint", "gpu-0"), "write NODE[/DEVICE]:KEY"),
        (("--taint", "gpu-0:key:Sometimes"), '"Sometimes" is none of'),
        (("--taint", "gpu-0/gpu-9:key:NoSchedule"), "no such device"),
    ],
)
def test_bad_arguments_end_with_code_2_and_one_sentence(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    answer = run(folder, *arguments) if arguments else call(simulate)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("nodes: [{name: a}]", "inventory:1: Object missing required field `profile`"),
        ("nodes: [{name: a, profile: h1}]", "no profile 'h1'"),
        ("nodes: [{name: a, profile: l4, count: -1}]", "must not be negative"),
        ("nodes: [{name: a, profile: l4, count: 10000000}]", "more than 50,000 nodes"),
        ("nodes: [{name: a, profile: l4, colour: red}]", "`colour`"),
        ("nodes: [", "inventory:2:1: is no YAML"),
    ],
)
def test_a_bad_inventory_is_refused_with_its_place(folder: Path, text: str, words: str) -> None:
    (folder / "inventory").write_text(text)
    answer = run(folder)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err


def test_what_the_api_server_would_refuse_is_rejected_with_its_words(folder: Path) -> None:
    (folder / "all.yaml").write_text(
        "\n---\n".join((CLASS, TEMPLATE.replace("{name: gpu,", "{name: gpu, count: -1,"), DEPLOYMENT))
    )
    report = run(folder, "-o", "json").json
    assert report["summary"]["rejected"] == 5
    [(code, message)] = {(pod["reason"]["code"], pod["reason"]["message"]) for pod in report["pods"]}
    assert code == "RequestInvalid"
    assert "spec.spec.devices.requests[0].exactly.count" in message

    strict = run(folder, "--strict")
    assert (strict.code, strict.out) == (2, "")
    assert "all.yaml:" in strict.err
    assert message in strict.err


def test_a_selector_that_does_not_compile_is_rejected_as_such(folder: Path) -> None:
    (folder / "all.yaml").write_text("\n---\n".join((CLASS.replace(" && ", " & "), TEMPLATE, DEPLOYMENT)))
    codes = {pod["reason"]["code"] for pod in run(folder, "-o", "json").json["pods"]}
    assert codes == {"SelectorInvalid"}


def test_what_nobody_understands_is_rejected_as_kubectl_would_be(folder: Path) -> None:
    text = (folder / "all.yaml").read_text()
    (folder / "all.yaml").write_text(
        text.replace("deviceClassName: gpu.nvidia.com", "deviceClassName: gpu.nvidia.com, cuont: 4")
    )
    answer = run(folder, "-o", "json")
    assert (answer.code, answer.json["summary"]) == (1, {"allocated": 0, "waiting": 0, "rejected": 5})
    message = 'strict decoding error: unknown field "spec.spec.devices.requests[0].cuont"'
    assert message in answer.json["pods"][0]["reason"]["message"]
    assert f"all.yaml:{text[: text.index('kind: ResourceClaimTemplate')].count(chr(10))}" in answer.err

    strict = run(folder, "--strict")
    assert (strict.code, strict.out) == (2, "")
    assert message in strict.err


def test_an_object_that_no_pod_needs_is_not_passed_over_in_silence(folder: Path) -> None:
    (folder / "all.yaml").write_text(TEMPLATE.replace("requests:", "request:"))
    answer = run(folder)
    assert (answer.code, answer.out) == (1, "no pod asks for devices; the API server would refuse 1 object\n")
    assert 'unknown field "spec.spec.devices.request"' in answer.err


POD = """
apiVersion: v1
kind: Pod
metadata: {name: solo, namespace: team}
spec:
  containers: [{name: c, image: ubuntu, resources: {claims: [{name: gpu}]}}]
  resourceClaims: [{name: gpu, resourceClaimTemplateName: single}]
"""


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("claims: [{name: gpu}]", "claims: [{name: gpus}]", "spec.containers[0].resources.claims[0]: Not found"),
        ("claims: [{name: gpu}]", "claim: [{name: gpu}]", 'unknown field "spec.containers[0].resources.claim"'),
        ("resourceClaims:", "resourceClaim:", 'unknown field "spec.resourceClaim"'),
        ("{name: gpu, resource", "{name: GPU, resource", 'spec.resourceClaims[0].name: Invalid value: "GPU"'),
        ("{name: gpu, resource", "{resource", "spec.resourceClaims[0].name: Required value"),
        ("gpu, resource", "gpu, resourceClaimName: own, resource", "at most one of"),
        ("{name: solo,", "{name: Solo,", 'metadata.name: Invalid value: "Solo"'),
    ],
)
def test_pods_are_judged_by_their_claims_too(folder: Path, right: str, wrong: str, words: str) -> None:
    (folder / "all.yaml").write_text("\n---\n".join((CLASS, TEMPLATE, POD.replace(right, wrong))))
    answer = run(folder, "-o", "json")
    [pod] = answer.json["pods"]
    assert (answer.code, pod["state"], pod["reason"]["code"]) == (1, "Rejected", "RequestInvalid")
    assert words in pod["reason"]["message"]
    assert run(folder, "--strict").code == 2


def test_a_pod_that_a_cluster_has_taken_is_not_judged_again(folder: Path) -> None:
    pod = POD.replace("resourceClaims:", "fieldOfALaterVersion: 1\n  resourceClaims:")
    (folder / "all.yaml").write_text("\n---\n".join((CLASS, TEMPLATE, pod)))
    assert "would refuse this" in run(folder).err
    dumped = pod.replace("{name: solo,", "{name: solo, uid: u-1, resourceVersion: '7',")
    (folder / "all.yaml").write_text("\n---\n".join((CLASS, TEMPLATE, dumped)))
    assert "would refuse" not in run(folder).err
    assert run(folder, "-o", "json").json["summary"]["rejected"] == 0


def test_pod_templates_of_workloads_are_judged_like_pods(folder: Path) -> None:
    (folder / "all.yaml").write_text(
        "\n---\n".join((CLASS, TEMPLATE, DEPLOYMENT.replace("claims: [{name: gpu}]", "claims: [{name: gpus}]")))
    )
    answer = run(folder)
    assert answer.code == 1
    assert 'Deployment.apps "web" is invalid: spec.template.spec.containers[0].resources.claims[0]: Not' in answer.err


def test_strict_refuses_admin_access_in_a_namespace_without_the_label(folder: Path) -> None:
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {LABEL: 'true'}}\n"
    admin = TEMPLATE.replace("{name: gpu, device", "{name: gpu, adminAccess: true, device")
    (folder / "all.yaml").write_text("\n---\n".join((namespace, CLASS, admin)))
    refused = run(folder, "--strict")
    assert refused.code == 2
    assert "requests[0].adminAccess" in refused.err

    granted = namespace.replace("LABEL", "resource.kubernetes.io/admin-access")
    (folder / "all.yaml").write_text("\n---\n".join((granted, CLASS, admin)))
    assert run(folder, "--strict").code == 0


def test_extended_resources_are_named_as_not_simulated(folder: Path) -> None:
    (folder / "more.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: plain}\n"
        "spec: {containers: [{name: c, resources: {limits: {nvidia.com/gpu: 1}}}]}\n"
    )
    answer = run(folder, "-o", "json")
    assert 'note: 1 pod asks for the extended resource "nvidia.com/gpu"' in answer.err
    assert "plain" not in [pod["name"] for pod in answer.json["pods"]]


RULE = """
apiVersion: resource.k8s.io/v1beta2
kind: DeviceTaintRule
metadata: {name: broken}
spec:
  deviceSelector: {driver: gpu.nvidia.com, pool: gpu-1}
  taint: {key: example.com/broken, effect: NoSchedule}
"""


@pytest.mark.parametrize("file", ["rule.yaml", "inventory"])
def test_what_a_rule_taints_is_not_given_out(folder: Path, file: str) -> None:
    """Whether it stands among the manifests or beside the nodes."""
    before = (folder / file).read_text() + "\n---" if (folder / file).exists() else ""
    (folder / file).write_text(before + RULE)
    answer = run(folder, "-o", "json")
    assert [pod["node"] for pod in answer.json["pods"] if pod["state"] == "Allocated"] == ["gpu-0", "gpu-0"]


@pytest.mark.parametrize(("file", "code"), [("rule.yaml", 1), ("inventory", 2)])
def test_a_rule_that_would_be_refused_is_told_in_the_words_of_the_api_server(
    folder: Path, file: str, code: int
) -> None:
    before = (folder / file).read_text() + "\n---" if (folder / file).exists() else ""
    (folder / file).write_text(before + RULE.replace("pool:", "pol:"))
    answer = run(folder)
    assert answer.code == code
    assert 'unknown field "spec.deviceSelector.pol"' in answer.err
