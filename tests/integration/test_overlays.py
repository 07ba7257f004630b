"""What an admin applies, with the real kubectl: every overlay is accepted as it is, says no more the second time, and
leaves nothing when it is deleted."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from dra_operator.agent.settings import AgentSettings
from dra_operator.controller.settings import Settings
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.settings.model import Model
from dra_operator.settings.resolve import Origin, resolve
from tests.controlplane import running_control_plane
from tests.e2e.stage import until

pytestmark = pytest.mark.cluster

OVERLAYS = Path(__file__).parents[2] / "manifests" / "overlays"
NAMES = sorted(folder.name for folder in OVERLAYS.iterdir() if folder.name != "crd")
"""The one for clusters without resource.k8s.io is applied to such a cluster, in test_crd_flavour.py."""
PART_OF = "app.kubernetes.io/part-of=dra-operator"


@pytest.fixture
async def fresh() -> AsyncIterator[ControlPlane]:
    """A cluster that knows nothing of us."""
    async with running_control_plane(manifests=False) as plane:
        yield plane


def objects(plane: ControlPlane, overlay: str) -> list[dict[str, Any]]:
    return _rendered(str(plane.binaries / "kubectl"), str(OVERLAYS / overlay))


@cache
def _rendered(kubectl: str, folder: str) -> list[dict[str, Any]]:
    """Not by the second: it is asked for at every look whether all of it has gone."""
    text = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True, text=True).stdout
    return [one for one in yaml.safe_load_all(text) if one]


def stored(plane: ControlPlane, overlay: str) -> dict[str, str]:
    """Each object of the overlay that exists, with what grows when somebody changes its spec."""
    kinds = {f"{one['kind']}.{one['apiVersion'].split('/')[0]}".removesuffix(".v1") for one in objects(plane, overlay)}
    found = plane.kubectl("get", ",".join(sorted(kinds)), "-A", "-l", PART_OF, "-o", "json").stdout
    return {
        f"{one['kind']}/{one['metadata']['name']}": str(
            one["metadata"].get("generation", one["metadata"]["resourceVersion"])
        )
        for one in json.loads(found)["items"]
    }


async def test_each_overlay_is_accepted_and_repeatable_and_leaves_nothing(fresh: ControlPlane) -> None:
    for overlay in NAMES:
        folder = str(OVERLAYS / overlay)
        fresh.kubectl("apply", "--validate=strict", "-k", folder)
        first = stored(fresh, overlay)
        assert len(first) == len(objects(fresh, overlay))
        fresh.kubectl("apply", "--validate=strict", "-k", folder)
        assert stored(fresh, overlay) == first
        fresh.kubectl("delete", "--timeout=120s", "-k", folder)  # which waits until all of it has gone

        async def nothing(overlay: str = overlay) -> bool:
            return not stored(fresh, overlay)

        await until(lambda: "something is left over", nothing)


def test_every_object_says_whose_it_is_and_where_it_goes(control_plane: ControlPlane) -> None:
    """`kubectl get -l` finds all of it, and nothing lands in a namespace by accident."""
    for overlay in NAMES:
        for one in objects(control_plane, overlay):
            what = f"{overlay}: {one['kind']} {one['metadata']['name']}"
            assert one["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") == "dra-operator", what
            assert one["metadata"].get("namespace", "dra-operator") == "dra-operator", what


@pytest.mark.parametrize("overlay", [name for name in NAMES if name != "agent-only"])
def test_the_controller_is_hardened_and_runs_as_any_user(control_plane: ControlPlane, overlay: str) -> None:
    [deployment] = [one for one in objects(control_plane, overlay) if one["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"startupProbe", "livenessProbe", "readinessProbe", "resources"} <= container.keys()


def test_opt_in_gates_only_namespaces_that_ask_for_it(control_plane: ControlPlane) -> None:
    [policy] = [one for one in objects(control_plane, "opt-in") if one["kind"] == "MutatingAdmissionPolicy"]
    selector = policy["spec"]["matchConstraints"]["namespaceSelector"]
    assert selector["matchLabels"] == {"dra-operator.io/allocation": "enabled"}
    assert selector["matchExpressions"], "and never kube-system"


def test_the_agent_alone_brings_nothing_of_the_controller(control_plane: ControlPlane) -> None:
    names = {(one["kind"], one["metadata"]["name"]) for one in objects(control_plane, "agent-only")}
    assert names == {
        ("Namespace", "dra-operator"),
        ("ServiceAccount", "dra-operator-agent"),
        ("ClusterRole", "dra-operator-agent"),
        ("ClusterRoleBinding", "dra-operator-agent"),
        ("ValidatingAdmissionPolicy", "dra-operator-agent"),
        ("ValidatingAdmissionPolicyBinding", "dra-operator-agent"),
        ("DaemonSet", "dra-operator-agent"),
    }


def test_a_settings_file_is_mounted_where_it_is_read_and_a_change_of_it_replaces_the_pods(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """In a copy of the overlay, as docs/operate.md tells."""
    root = tmp_path / "manifests"
    shutil.copytree(OVERLAYS.parent, root)
    folder = root / "overlays" / "settings"

    def rendered() -> dict[str, dict[str, Any]]:
        found = list(yaml.safe_load_all(control_plane.kubectl("kustomize", str(folder)).stdout))
        return {one["kind"]: one for one in found if one["kind"] in ("Deployment", "DaemonSet")} | {
            one["metadata"]["name"]: one for one in found if one["kind"] == "ConfigMap"
        }

    first = rendered()
    for kind, name in (("Deployment", "controller"), ("DaemonSet", "agent")):
        text = folder / f"{name}.yaml"
        pod = first[kind]["spec"]["template"]["spec"]
        [container] = pod["containers"]
        [mounted] = [one["configMap"]["name"] for one in pod["volumes"] if one["name"] == "settings"]
        [path] = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "settings"]
        assert f"--config={path}/{name}.yaml" in container["args"]
        assert first[mounted]["data"] == {f"{name}.yaml": text.read_text()}
        text.write_text(text.read_text() + "log-level: debug\n")

    second = rendered()
    for kind in ("Deployment", "DaemonSet"):
        assert second[kind]["spec"]["template"] != first[kind]["spec"]["template"]


@pytest.mark.parametrize(("name", "model"), [("controller", Settings), ("agent", AgentSettings)])
def test_the_settings_that_are_there_to_copy_are_in_force(name: str, model: type[Model]) -> None:
    file = OVERLAYS / "settings" / f"{name}.yaml"
    found = resolve(model, config=file, environment={"NODE_NAME": "node-1"})
    assert {key for key, given in found.given.items() if given.origin is Origin.FILE} == yaml.safe_load(
        file.read_text()
    ).keys()
