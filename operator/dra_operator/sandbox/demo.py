"""The main job, shown and checked on a real API server: every step through kubectl, as a user would do it.

Each step says what it does, waits until the cluster shows it, and prints what the cluster shows. The first thing that
is not as it should be ends the demo with an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.sandbox.inventory import NodeGroup
from dra_operator.sandbox.kubectl import Kubectl, KubectlError

NODES = (
    NodeGroup(name="gpu-a100", profile="a100-sxm-40gb", gpus=4),
    NodeGroup(name="gpu-l4", profile="l4", gpus=4),
    NodeGroup(name="gpu-t4", profile="t4", gpus=2),
    NodeGroup(name="gpu-example", profile="driver-example", gpus=4),
)
"""Three nodes of real GPUs, and one of the user guide's example driver."""

GUIDE = "gpu-claim"
GPUS = "gpu-examples"
MONITORING = "gpu-monitoring"


class DemoError(Exception):
    """Something was not as it should be."""


@dataclass(slots=True)
class Demo:
    """`say` prints a heading, `show` a line of what the cluster says."""

    kubectl: Kubectl
    examples: Path
    say: Callable[[str], None]
    show: Callable[[str], None]

    def run(self) -> None:
        """All steps in order. Raises `DemoError` or `KubectlError`."""
        self.nodes()
        self.guide()
        self.sharing()
        self.waiting()
        self.admin_access()
        self.giving_back()
        self.selectors()

    # --- steps -----------------------------------------------------------------------------------------------------

    def nodes(self) -> None:
        self.say("GPU nodes and what they publish")
        slices = json.loads(self.kubectl.do("get", "resourceslices", "--output=json"))["items"]
        self._expect(len(slices) == len(NODES), f"{len(NODES)} ResourceSlices, not {len(slices)}")
        for one in sorted(slices, key=lambda one: str(one["spec"]["nodeName"])):
            spec = one["spec"]
            self.show(f"{spec['nodeName']:<12} {spec['driver']:<20} {len(spec['devices'])} devices")

    def guide(self) -> None:
        self.say("A class, a template, a claim, and a pod whose three containers use both")
        for name in ("01-device-class", "02-namespace", "03-resource-claim-template", "04-resource-claim", "05-pod"):
            self._apply(f"{name}.yaml")
        self._await_running(GUIDE, "pod1")
        generated = self._claim_of(GUIDE, "pod1", "gpu-claim-template")
        self.show(f"generated for the pod:   {generated}: {self._devices(GUIDE, generated)}")
        self.show(f"the user's own claim:    gpu-devices: {self._devices(GUIDE, 'gpu-devices')}")
        first = self._results(GUIDE, generated)[0]
        self._expect(first["request"] == "req-0/2g-10gb", "the first alternative that is available was chosen")
        self.show(f"firstAvailable chose:    {first['request']}")

    def sharing(self) -> None:
        self.say("A second pod shares the user's own claim")
        self._create_pod(GUIDE, "sharing", {"resourceClaimName": "gpu-devices"})
        self._await_running(GUIDE, "sharing")
        users = self._reserved_for(GUIDE, "gpu-devices")
        self._expect(users == {"pod1", "sharing"}, f"gpu-devices is used by pod1 and sharing, not {users}")
        self.show(f"gpu-devices is used by:  {', '.join(sorted(users))}, on {self._node(GUIDE, 'sharing')}")

    def waiting(self) -> None:
        self.say("More pods than devices: the last one waits, and says why")
        for name in ("pod2", "pod3", "pod4"):
            self._create_pod(GUIDE, name, {"resourceClaimTemplateName": "gpu-devices-template"})
        waiting = self._await_condition(GUIDE, "pod4", "False")
        for name in ("pod2", "pod3"):
            self._await_running(GUIDE, name)
        self._expect(waiting["reason"] == "DevicesInUse", f"pod4 waits for devices in use, not {waiting['reason']}")
        self.show(f"pod4 waits, {waiting['reason']}: {waiting['message']}")

    def admin_access(self) -> None:
        self.say("Admin access: refused without the label, granted with it while the devices are in use")
        refused = self.kubectl.run(
            "apply", "--filename", str(self.examples / "invalid/admin-access-without-label.yaml")
        )
        self._expect(refused.returncode != 0, "a claim with admin access is refused without the namespace's label")
        self.show(f"without the label:       {refused.stderr.strip().splitlines()[-1].strip()}")
        for name in ("06-admin-namespace", "07-admin-access", "08-admin-access-pod"):
            self._apply(f"{name}.yaml")
        self._await_running(MONITORING, "device-monitor")
        claim = self._claim_of(MONITORING, "device-monitor", "devices")
        results = self._results(MONITORING, claim)
        self._expect(len(results) == NODES[-1].gpus, "admin access sees all devices of the node, in use or not")
        self._expect(all(result.get("adminAccess") for result in results), "all of them by admin access")
        self.show(f"with the label:          device-monitor sees {len(results)} devices, all in use by others")

    def giving_back(self) -> None:
        self.say("A pod is deleted: its claim goes, its device goes to the one that waited, the shared claim stays")
        generated = self._claim_of(GUIDE, "pod1", "gpu-claim-template")
        device = self._devices(GUIDE, generated)
        self.kubectl.do("delete", "pod", "pod1", "--namespace", GUIDE, "--wait=true")
        self._wait(f"claim {generated} to be gone", lambda: self.kubectl.get("resourceclaim", generated, GUIDE) is None)
        self._await_running(GUIDE, "pod4")
        mine = self._devices(GUIDE, self._claim_of(GUIDE, "pod4", "gpu"))
        self._expect(mine == device, f"pod4 has the device of pod1, {device}, not {mine}")
        self.show(f"{generated} is gone; pod4 runs with {mine}")
        users = self._reserved_for(GUIDE, "gpu-devices")
        self._expect(users == {"sharing"}, f"gpu-devices is still used by sharing alone, not {users}")
        self.show("gpu-devices is still allocated, for sharing")
        self.kubectl.do("delete", "pod", "sharing", "--namespace", GUIDE, "--wait=true")
        self._wait("gpu-devices to be free", lambda: not self._status(GUIDE, "gpu-devices").get("allocation"))
        self.show("its last user gone, gpu-devices is still there and its device is free")

    def selectors(self) -> None:
        self.say("Devices by product, memory, compute capability, power, vendor, driver version")
        files = sorted(self.examples.glob("1[0-9]-*.yaml"))
        for file in files:
            self._apply(file.name)
        pods = [pod["metadata"]["name"] for pod in self.kubectl.list("pods", GPUS)]
        for name in pods:
            self._await_running(GPUS, name)
            pod = self._pod(GPUS, name)
            entry = pod["spec"]["resourceClaims"][0]
            claim = entry.get("resourceClaimName") or self._claim_of(GPUS, name, entry["name"])
            self.show(f"{name:<28} {self._devices(GPUS, claim)}")

    # --- looking -----------------------------------------------------------------------------------------------------

    def _apply(self, name: str) -> None:
        self.kubectl.do("apply", "--filename", str(self.examples / name))

    def _create_pod(self, namespace: str, name: str, claim: dict[str, str]) -> None:
        container = {"name": "main", "image": "busybox", "resources": {"claims": [{"name": "gpu"}]}}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "restartPolicy": "Never",
                "resourceClaims": [{"name": "gpu", **claim}],
                "containers": [container],
            },
        }
        self.kubectl.do("apply", "--filename=-", stdin=json.dumps(pod))

    def _pod(self, namespace: str, name: str) -> dict[str, Any]:
        pod = self.kubectl.get("pod", name, namespace)
        if pod is None:
            raise DemoError(f"pod {namespace}/{name} is gone")
        return pod

    def _node(self, namespace: str, name: str) -> str:
        return str(self._pod(namespace, name)["spec"].get("nodeName"))

    def _claim_of(self, namespace: str, pod: str, entry: str) -> str:
        for status in self._pod(namespace, pod)["status"].get("resourceClaimStatuses", []):
            if status["name"] == entry:
                return str(status["resourceClaimName"])
        raise DemoError(f"pod {namespace}/{pod} names no claim for {entry}")

    def _status(self, namespace: str, claim: str) -> dict[str, Any]:
        found = self.kubectl.get("resourceclaim", claim, namespace)
        if found is None:
            raise DemoError(f"claim {namespace}/{claim} is gone")
        status: dict[str, Any] = found.get("status", {})
        return status

    def _results(self, namespace: str, claim: str) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = self._status(namespace, claim)["allocation"]["devices"]["results"]
        return results

    def _devices(self, namespace: str, claim: str) -> str:
        return ", ".join(f"{one['pool']}/{one['device']}" for one in self._results(namespace, claim))

    def _reserved_for(self, namespace: str, claim: str) -> set[str]:
        return {str(consumer["name"]) for consumer in self._status(namespace, claim).get("reservedFor", [])}

    def _await_running(self, namespace: str, name: str) -> None:
        self._wait(f"pod {namespace}/{name} to run", lambda: self._pod(namespace, name)["status"]["phase"] == "Running")

    def _await_condition(self, namespace: str, name: str, status: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def there() -> bool:
            conditions = self._pod(namespace, name)["status"].get("conditions", [])
            found[:] = [one for one in conditions if one["type"] == DEVICES_ALLOCATED and one["status"] == status]
            return bool(found)

        self._wait(f"pod {namespace}/{name} to say {DEVICES_ALLOCATED}={status}", there)
        return found[0]

    def _wait(self, what: str, condition: Callable[[], object]) -> None:
        try:
            self.kubectl.wait(what, condition)
        except KubectlError as error:
            raise DemoError(str(error)) from error

    def _expect(self, condition: bool, what: str) -> None:
        if not condition:
            raise DemoError(f"expected: {what}")
