"""Who else gives out GPUs or decides about pods here, and what that means for the operator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dra_operator.api.kinds import NODES, SLICES
from dra_operator.query.doctor.facts import Facts
from dra_operator.query.doctor.findings import Finding, check, problem, remark
from dra_operator.query.doctor.objects import DEPLOYMENTS

_PLUGINS: Final = ("nvidia.com/", "amd.com/gpu")
"""Extended resources of device plugins for GPUs."""
_NVIDIA_DRIVER: Final = "gpu.nvidia.com"
_PAGE: Final = "docs/coexistence.md says more"


@check("device-plugin", "no device plugin gives out GPUs that a DRA driver publishes")
async def device_plugin(facts: Facts) -> Iterable[Finding]:
    published = {one.spec.node_name for one in await facts.all(SLICES) if one.spec.devices}
    both = [
        (node.metadata.name, sorted(name for name, amount in offered.items() if name.startswith(_PLUGINS) and amount))
        for node in await facts.all(NODES)
        if node.metadata.name in published
        for offered in [node.status.allocatable or {}]
    ]
    return [
        problem(
            f"Node {name}",
            f"a device plugin offers {', '.join(resources)} there, and a DRA driver publishes devices",
            why="neither knows of the other: two pods may be given one GPU",
            cure="keep the device plugin off nodes whose GPUs are given out by DRA; " + _PAGE,
        )
        for name, resources in both
        if resources
    ]


@check("kueue", "whether Kueue is here")
async def kueue(facts: Facts) -> Iterable[Finding]:
    if "kueue.x-k8s.io" not in await facts.groups():
        return ()
    return (
        remark(
            "Kueue",
            "it is installed",
            why="it gates pods before us, and admits none with claims of a DeviceClass that it does not count",
            cure=f"name the classes in its deviceClassMappings, or switch its rules for devices off; {_PAGE}",
        ),
    )


@check("autoscalers", "whether an autoscaler is here")
async def autoscalers(facts: Facts) -> Iterable[Finding]:
    found = {}
    if "karpenter.sh" in await facts.groups():
        found["Karpenter"] = ", and Karpenter with --ignore-dra-requests=false"
    if any("cluster-autoscaler" in one.metadata.name for one in await facts.all(DEPLOYMENTS)):
        found["cluster-autoscaler"] = ""
    return [
        remark(
            name,
            "it is installed",
            why="it adds nodes for pods that kube-scheduler calls unschedulable, and does not see gated ones",
            cure=f"run the operator with --on-no-capacity=handover if it should add nodes for devices{more}; {_PAGE}",
        )
        for name, more in found.items()
    ]


@check("nvidia", "whether NVIDIA's DRA driver or GPU operator is here")
async def nvidia(facts: Facts) -> Iterable[Finding]:
    findings = []
    drivers = {one.spec.driver for one in await facts.all(SLICES)}
    ours = {
        one.spec.driver
        for one in await facts.all(SLICES)
        if any((by.manager or "").startswith("dra-operator") for by in one.metadata.managed_fields or ())
    }
    if _NVIDIA_DRIVER in drivers - ours:
        findings.append(
            remark(
                "NVIDIA's DRA driver",
                f"it publishes devices as {_NVIDIA_DRIVER}",
                why="the operator gives out its devices like any other's; our agent must not run on the same nodes",
                cure=f"nothing to do where our agent does not; {_PAGE}",
            )
        )
    if "nvidia.com" in await facts.groups():
        findings.append(
            remark(
                "NVIDIA GPU operator",
                "it is installed",
                why="by default it runs a device plugin, which gives out the same GPUs as a DRA driver",
                cure=f"set devicePlugin.enabled=false where GPUs are given out by DRA; {_PAGE}",
            )
        )
    return findings
