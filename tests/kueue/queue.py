"""A queue of Kueue's in a namespace, and the verbs that tests of its pods need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import yaml

from dra_operator.api.core import Pod
from dra_operator.api.kinds import PODS
from dra_operator.api.names import RUN_FOR_ANNOTATION
from dra_operator.sandbox.kubectl import Kubectl
from tests.e2e.stage import Stage, until
from tests.kueue.manager import API

GATES: Final = ("kueue.x-k8s.io/admission", "kueue.x-k8s.io/topology")
QUEUE: Final = "kueue.x-k8s.io/queue-name"
PRIORITY: Final = "kueue.x-k8s.io/priority-class"


@dataclass(slots=True)
class Queue:
    """The LocalQueue "queue" of a namespace; it leads to a ClusterQueue of the namespace's name."""

    stage: Stage
    kubectl: Kubectl

    @classmethod
    def of(cls, stage: Stage) -> Queue:
        assert stage.state is not None
        return cls(stage, Kubectl(stage.state.kubectl, stage.state.kubeconfig))

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl.do(
            "apply", "--server-side", "--force-conflicts", "--filename=-", stdin=yaml.safe_dump_all(objects)
        )

    def set_quota(self, *, labels: dict[str, str] | None = None, **quota: str) -> None:
        """So much of each resource, on nodes with these labels. What has a higher priority may preempt."""
        name = self.stage.namespace
        self.apply(
            {
                "apiVersion": API,
                "kind": "ResourceFlavor",
                "metadata": {"name": name},
                "spec": {"nodeLabels": labels or {}},
            },
            {
                "apiVersion": API,
                "kind": "ClusterQueue",
                "metadata": {"name": name},
                "spec": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
                    "preemption": {"withinClusterQueue": "LowerPriority"},
                    "resourceGroups": [
                        {
                            "coveredResources": list(quota),
                            "flavors": [
                                {
                                    "name": name,
                                    "resources": [{"name": one, "nominalQuota": much} for one, much in quota.items()],
                                }
                            ],
                        }
                    ],
                },
            },
            {
                "apiVersion": API,
                "kind": "LocalQueue",
                "metadata": {"name": "queue", "namespace": name},
                "spec": {"clusterQueue": name},
            },
        )

    def priority(self, name: str, value: int) -> None:
        self.apply({"apiVersion": API, "kind": "WorkloadPriorityClass", "metadata": {"name": name}, "value": value})

    def used(self) -> dict[str, str]:
        """Of the quota, by resource."""
        queue = self.kubectl.get("clusterqueues.kueue.x-k8s.io", self.stage.namespace, "")
        assert queue is not None
        flavors = queue["status"].get("flavorsUsage", ())
        return {one["name"]: one["total"] for flavor in flavors for one in flavor["resources"]}

    async def uses(self, **wanted: str) -> None:
        async def there() -> bool:
            return self.used() == wanted

        await until(lambda: f"the quota in use is {self.used()}, not {wanted}", there)

    async def workload(self, owner: str) -> dict[str, Any]:
        """Kueue's record of a pod or Job."""
        found: list[dict[str, Any]] = []

        async def there() -> bool:
            all_ = self.kubectl.list("workloads.kueue.x-k8s.io", self.stage.namespace)
            found[:] = [one for one in all_ if one["metadata"]["ownerReferences"][0]["name"] == owner]
            return bool(found)

        await until(lambda: f"Kueue made no Workload for {owner}", there)
        return found[0]

    async def refuses(self, owner: str, *words: str) -> None:
        """Kueue says why it does not admit the pod."""
        said: list[str] = []

        async def there() -> bool:
            conditions = (await self.workload(owner)).get("status", {}).get("conditions", ())
            said[:] = [f"{one['reason']}: {one['message']}" for one in conditions]
            return any(all(word in one for word in words) for one in said)

        await until(lambda: f"the Workload of {owner} does not say {words} but {said}", there)

    async def deactivate(self, owner: str) -> None:
        """Kueue takes the pod or Job out."""
        name, here = (await self.workload(owner))["metadata"]["name"], f"--namespace={self.stage.namespace}"
        patch = '{"spec": {"active": false}}'
        self.kubectl.do("patch", "workloads.kueue.x-k8s.io", name, here, "--type=merge", f"--patch={patch}")

    def end_jobs(self) -> None:
        """Else they make their pods anew."""
        self.kubectl.do("delete", "jobs", "--all", f"--namespace={self.stage.namespace}", "--cascade=foreground")

    async def finished(self, job: str) -> None:
        here = f"--namespace={self.stage.namespace}"
        self.kubectl.do("wait", "--for=condition=Complete", f"job/{job}", here, "--timeout=60s")

    async def running_pods(self, job: str, count: int) -> None:
        seen: list[Pod] = []

        async def there() -> bool:
            pods = (await self.stage.client.list_objects(PODS, namespace=self.stage.namespace))[0]
            seen[:] = [pod for pod in pods if pod.metadata.name.startswith(f"{job}-")]
            return sum(pod.status.phase == "Running" for pod in seen) == count

        await until(
            lambda: f"not {count} pods of {job} run: {[(p.metadata.name, p.status.phase) for p in seen]}", there
        )

    async def pod(
        self,
        name: str,
        *,
        templates: tuple[str, ...] = ("gpu",),
        claims: tuple[str, ...] = (),
        cpu: str = "1",
        priority: str = "",
        group: str = "",
        of: int = 1,
    ) -> Pod:
        """`group`: Kueue admits all `of` it or none."""
        labels, annotations = _labels(priority), {}
        if group:
            labels["kueue.x-k8s.io/pod-group-name"] = group
            annotations["kueue.x-k8s.io/pod-group-total-count"] = str(of)
        return await self.stage.pod(
            name,
            templates=templates,
            claims=claims,
            labels=labels,
            annotations=annotations,
            containers=[_container("t0" if templates else "c0", cpu)],
        )

    def job(
        self, name: str, *, template: str = "gpu", pods: int = 1, run_for: float | None = None, priority: str = ""
    ) -> None:
        claims = [{"name": "gpu", "resourceClaimTemplateName": template}]
        annotations = {} if run_for is None else {RUN_FOR_ANNOTATION: str(run_for)}
        made = {
            "metadata": {"annotations": annotations},
            "spec": {"restartPolicy": "Never", "resourceClaims": claims, "containers": [_container("gpu", "1")]},
        }
        self.apply(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name, "namespace": self.stage.namespace, "labels": _labels(priority)},
                "spec": {"parallelism": pods, "completions": pods, "template": made},
            }
        )


def _labels(priority: str) -> dict[str, str]:
    return {QUEUE: "queue", **({PRIORITY: priority} if priority else {})}


def _container(claim: str, cpu: str) -> dict[str, Any]:
    return {"name": "main", "image": "none", "resources": {"requests": {"cpu": cpu}, "claims": [{"name": claim}]}}
