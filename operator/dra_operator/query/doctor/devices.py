"""What there is to give out: drivers that publish nothing, pools that do not count, devices with two publishers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from dra_operator.api.kinds import CLASSES, NODES, SLICES
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import ResourceSlice
from dra_operator.cel.errors import CELCompileError
from dra_operator.cel.hints import cures
from dra_operator.cel.selector import compile_selector
from dra_operator.inventory.devices import PoolKey
from dra_operator.query.doctor.facts import Facts, says
from dra_operator.query.doctor.findings import Finding, check, problem, remark
from dra_operator.query.doctor.objects import QUOTAS

GPU_LABELS: Final = ("dra-operator.io/gpu", "feature.node.kubernetes.io/pci-10de.present", "nvidia.com/gpu.present")
"""Labels (with the value "true") by which the agent's DaemonSet knows a node with GPUs."""
_BUS: Final = "resource.kubernetes.io/pciBusID"
_SETTLED: Final = 30.0
"""Seconds that a publisher may take to replace the slices of a pool."""
_QUOTA_SUFFIX: Final = ".deviceclass.resource.k8s.io/devices"
_NEARLY: Final = 0.9


@check("drivers", "every node with GPUs publishes devices")
async def drivers(facts: Facts) -> Iterable[Finding]:
    slices = await facts.all(SLICES)
    publishing = {one.spec.node_name for one in slices if one.spec.node_name and one.spec.devices}
    return [
        problem(
            f"Node {node.metadata.name}",
            f"its label {label} says that it has GPUs, and no driver publishes a device of it",
            why="no pod can get a device of this node",
            cure="see that a driver's pod runs there (kubectl get pods -A -o wide --field-selector "
            f"spec.nodeName={node.metadata.name}), and its log",
        )
        for node in await facts.all(NODES)
        for label in [next((one for one in GPU_LABELS if node.metadata.label(one) == "true"), None)]
        if label is not None and node.metadata.name not in publishing
    ]


@check("pools", "every pool is complete, of one generation, and sound")
async def pools(facts: Facts) -> Iterable[Finding]:
    by_pool: defaultdict[PoolKey, list[ResourceSlice]] = defaultdict(list)
    for one in await facts.all(SLICES):
        by_pool[PoolKey(one.spec.driver, one.spec.pool.name)].append(one)
    findings = []
    for key, slices in sorted(by_pool.items()):
        since = min(facts.age(one.metadata.creation_timestamp) for one in slices)
        wrong, why = _fault(slices)
        if wrong and since > _SETTLED:
            findings.append(
                problem(
                    f"pool {key.pool} of {key.driver}",
                    f"{wrong} (unchanged for {says(since)} or more)",
                    why=why,
                    cure="restart the driver's pod on that node; if nothing publishes this pool any more, delete its "
                    "slices",
                )
            )
    return findings


def _fault(slices: list[ResourceSlice]) -> tuple[str, str]:
    newest = max(one.spec.pool.generation for one in slices)
    current = [one for one in slices if one.spec.pool.generation == newest]
    wanted = {one.spec.pool.resource_slice_count for one in current}
    names = Counter(device.name for one in current for device in one.spec.devices or ())
    twice = sorted(name for name, count in names.items() if count > 1)
    if len(wanted) > 1:
        return f"its slices disagree on how many there are: {', '.join(map(str, sorted(wanted)))}", _SKIPPED
    if len(current) != max(wanted):
        return f"it has {len(current)} of {max(wanted)} slices of generation {newest}", _SKIPPED
    if twice:
        return f"it lists {', '.join(twice)} twice", "a pool that is not sound gives out nothing"
    if len(current) != len(slices):
        older = sorted({one.spec.pool.generation for one in slices} - {newest})
        return (
            f"it has slices of generation {newest} and of {', '.join(map(str, older))}",
            "an update was not finished: its publisher may have died, and old slices are never looked at",
        )
    return "", ""


_SKIPPED: Final = "an incomplete pool gives out nothing, and a request for all devices fails"


@check("publishers", "one publisher for each driver and each GPU of a node")
async def publishers(facts: Facts) -> Iterable[Finding]:
    writers: defaultdict[tuple[str, str], set[frozenset[str]]] = defaultdict(set)
    buses: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for one in await facts.all(SLICES):
        node = one.spec.node_name
        if not node:
            continue
        writers[node, one.spec.driver].add(frozenset(by.manager for by in one.metadata.managed_fields or ()))
        for device in one.spec.devices or ():
            bus = (device.attributes or {}).get(_BUS)
            if bus is not None and bus.string_value:
                buses[node, bus.string_value].add(one.spec.driver)
    findings = [
        problem(
            f"Node {node}",
            f"driver {driver} is published there by {' and by '.join(sorted('/'.join(sorted(one)) for one in who))}",
            why="each takes the other's slices for stale and deletes them; devices come and go",
            cure="stop one of them, or give it another driver name",
        )
        for (node, driver), who in sorted(writers.items())
        if len(who) > 1 and not frozenset.intersection(*who)
    ]
    findings += [
        problem(
            f"Node {node}",
            f"the GPU at {bus} is published by {', '.join(sorted(names))}",
            why="it is two devices to every allocator, so two pods may be given one GPU",
            cure="stop one of the drivers on this node",
        )
        for (node, bus), names in sorted(buses.items())
        if len(names) > 1
    ]
    return findings


@check("classes", "the selectors of every DeviceClass compile")
async def classes(facts: Facts) -> Iterable[Finding]:
    findings = []
    for one in await facts.all(CLASSES):
        for index, selector in enumerate(one.spec.selectors or ()):
            if selector.cel is None:
                continue
            try:
                compile_selector(selector.cel.expression)
            except CELCompileError as error:
                findings.append(
                    problem(
                        f"DeviceClass {one.metadata.name}",
                        f"its selector {index} does not compile: {error.brief}",
                        why="every pod that asks for this class waits",
                        cure=next(cures(error), "correct the expression; docs/reference/cel.md says what there is"),
                    )
                )
    return findings


@check("quotas", "quotas for devices have room")
async def quotas(facts: Facts) -> Iterable[Finding]:
    findings = []
    for one in await facts.all(QUOTAS):
        for name, hard in sorted((one.status.hard or {}).items()):
            if not name.endswith(_QUOTA_SUFFIX):
                continue
            used = Quantity.parse((one.status.used or {}).get(name, "0"))
            limit = Quantity.parse(hard)
            about = f"ResourceQuota {one.key}"
            what = f"{used} of {limit} devices of class {name.removesuffix(_QUOTA_SUFFIX)} are used"
            cure = "raise the quota, or end pods and delete claims that are not needed"
            if used >= limit:
                why = "no further claim for this class can be created there: pods wait with ClaimCreationRefused"
                findings.append(problem(about, what, why=why, cure=cure))
            elif used.approximate() >= _NEARLY * limit.approximate():
                findings.append(remark(about, what, why="it is nearly used up", cure=cure))
    return findings
