"""`dra-operator devices`, `claims` and `audit` on files."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dra_operator.cli.inspect import audit, claims, devices
from tests.unit.cli.commands import Answer, call

RESULT = "{{request: gpu, driver: d.example.com, pool: n1, device: {device}{admin}}}"
CLAIM = """
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {{name: {name}, namespace: {namespace}, uid: c-{name}}}
spec: {{devices: {{requests: [{{name: gpu, exactly: {{deviceClassName: all}}}}]}}}}
status:
  reservedFor: [{{resource: pods, name: pod-{name}, uid: p-{name}}}]
  allocation:
    allocationTimestamp: "2026-01-01T00:00:00Z"
    devices: {{results: [{result}]}}
    nodeSelector: {{nodeSelectorTerms: [{{matchFields: [{{key: metadata.name, operator: In, values: [n1]}}]}}]}}
"""
MANIFESTS = """
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: all}
spec: {selectors: [{cel: {expression: "device.driver == 'd.example.com'"}}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: ops, labels: {resource.kubernetes.io/admin-access: "true"}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: s1}
spec:
  driver: d.example.com
  nodeName: n1
  pool: {name: n1, generation: 1, resourceSliceCount: 1}
  devices:
  - {name: gpu-10, attributes: {model: {string: B}}}
  - {name: gpu-2, attributes: {model: {string: A}}}
  - {name: gpu-3, attributes: {model: {string: A}}, taints: [{key: hot, value: yes-it-is, effect: NoSchedule}]}
"""


def held(name: str, device: str, *, namespace: str = "team", admin: bool = False) -> str:
    result = RESULT.format(device=device, admin=", adminAccess: true" if admin else "")
    return CLAIM.format(name=name, namespace=namespace, result=result)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "all.yaml"
    path.write_text(
        MANIFESTS
        + held("mine", "gpu-2")
        + held("watch", "gpu-2", namespace="ops", admin=True)
        + held("former", "gpu-3", admin=True)
    )
    return str(path)


def rows(answer: Answer) -> list[list[str]]:
    assert answer.code in (0, 1), answer.err
    return [line.split() for line in answer.out.splitlines()]


def test_devices_say_who_uses_them_and_what_keeps_others_away(file: str) -> None:
    assert rows(call(devices, "-f", file))[1:] == [
        ["n1", "gpu-2", "A", "all", "InUse", "team/pod-mine", "ops/pod-watch", "-"],
        ["n1", "gpu-3", "A", "all", "Tainted", "-", "team/pod-former", "hot=yes-it-is:NoSchedule"],
        ["n1", "gpu-10", "B", "all", "Free", "-", "-", "-"],
    ]


@pytest.mark.parametrize(
    ("by", "sums"),
    [
        ("node", [["n1", "3", "1", "1", "0", "1", "2"]]),
        ("class", [["all", "3", "1", "1", "0", "1", "2"]]),
        ("product", [["A", "2", "0", "1", "0", "1", "2"], ["B", "1", "1", "0", "0", "0", "0"]]),
    ],
)
def test_devices_are_summed_by_what_is_asked(file: str, by: str, sums: list[list[str]]) -> None:
    assert rows(call(devices, "-f", file, "--by", by))[1:] == sums


def test_devices_of_one_state_only(file: str) -> None:
    found = call(devices, "-f", file, "--state", "Free", "-o", "json").json
    assert found["kind"] == "DeviceList"
    assert [one["device"] for one in found["devices"]] == ["gpu-10"]
    assert call(devices, "-f", file, "--state", "Broken").code == 2


def test_claims_say_what_they_have_and_who_uses_them(file: str) -> None:
    assert rows(call(claims, "-f", file, "-n", "team"))[1:] == [
        ["team", "former", "Allocated", "n1", "gpu-3", "(admin)", "pod-former"],
        ["team", "mine", "Allocated", "n1", "gpu-2", "pod-mine"],
    ]
    assert len(call(claims, "-f", file, "-A", "-o", "json").json["claims"]) == 3


def test_audit_tells_an_access_that_is_no_longer_granted(file: str) -> None:
    answer = call(audit, "-f", file, "-o", "json")
    assert answer.code == 1
    assert [(one["namespace"], one["claim"], one["granted"]) for one in answer.json["accesses"]] == [
        ("ops", "watch", True),
        ("team", "former", False),
    ]
    assert "no: the namespace lost its label" in call(audit, "-f", file).out


def test_audit_without_admins_is_well(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(MANIFESTS)
    answer = call(audit, "-f", str(tmp_path))
    assert (answer.code, answer.out) == (0, "nobody has admin access to a device\n")


def test_kubectl_finds_the_commands_too() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["kubectl-dra"] == project["scripts"]["dra-operator"]


def test_watching_looks_again_until_it_is_ended(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            Path(file).write_text(MANIFESTS)
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", pause)
    answer = call(devices, "-f", file, "-w", "--by", "node")
    assert answer.code == 0
    assert [line.split()[:3] for line in answer.out.splitlines() if line.startswith("n1")] == [
        ["n1", "3", "1"],
        ["n1", "3", "2"],
    ]
