"""`--inventory FILE` and `--add-nodes`: nodes and their slices, as the agents on such nodes would publish them.

A file is either the sandbox's list of node groups (`nodes: [{name, count, profile, gpus, driver, labels}]`), or nodes,
slices and the rules that taint their devices, dumped from a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from dra_operator.agent.slices import split_into_slices
from dra_operator.api.core import Node
from dra_operator.api.meta import ObjectMeta
from dra_operator.api.resource import DeviceTaintRule, ResourcePool, ResourceSlice, ResourceSliceSpec
from dra_operator.query.documents import InputError, read_documents
from dra_operator.query.objects import Manifests, load_objects
from dra_operator.sandbox.inventory import InventoryError, NodeGroup, SimulatedNode, expand, parse_groups

_ADDED = re.compile(r"(?P<profile>[a-z0-9.-]+):(?P<count>[0-9]+)(?:[xX](?P<gpus>[0-9]+))?(?:@(?P<driver>[a-z0-9.-]+))?")


class Machines:
    """Nodes and slices from wherever."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.slices: list[ResourceSlice] = []
        self.taint_rules: list[DeviceTaintRule] = []

    def add_file(self, file: Path) -> None:
        """Raises `InputError`."""
        documents = list(read_documents([file]))
        groups = [one for one in documents if isinstance(one.content, dict) and "kind" not in one.content]
        for document in groups:
            try:
                self.add_groups(parse_groups(document.content))
            except InventoryError as error:
                raise InputError(f"{document.place}: {error}") from None
        objects = load_objects(one for one in documents if one not in groups)
        self.nodes += objects.all(Node)
        self.slices += objects.all(ResourceSlice)
        self.taint_rules += _judged_rules(objects)
        if not documents:
            raise InputError(f'{file}: is empty; an inventory has "nodes:", or ResourceSlices from a cluster')

    def add_like(self, text: str) -> None:
        """`PROFILE:COUNT` or `PROFILE:COUNTxGPUS`, with `@DRIVER` if it is not the profile's. Raises `InputError`."""
        match = _ADDED.fullmatch(text)
        if match is None:
            raise InputError(f"--add-nodes {text}: write PROFILE:COUNT[xGPUS][@DRIVER], for example h100-sxm-80gb:2x8")
        taken = {node.metadata.name for node in self.nodes}
        base = f"new-{match['profile']}"
        free = (f"{base}-{number}" for number in range(len(taken) + 1))
        group = NodeGroup(
            name=next(name for name in free if name not in taken and f"{name}-0" not in taken),
            profile=match["profile"],
            count=int(match["count"]),
            gpus=int(match["gpus"]) if match["gpus"] else None,
            driver=match["driver"],
        )
        try:
            self.add_groups([group])
        except InventoryError as error:
            raise InputError(f"--add-nodes {text}: {error}") from None

    def add_groups(self, groups: list[NodeGroup]) -> None:
        """Raises `InventoryError`."""
        for node in expand(groups):
            self._add(node)

    def _add(self, simulated: SimulatedNode) -> None:
        labels = {"kubernetes.io/hostname": simulated.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        self.nodes.append(Node(metadata=ObjectMeta(name=simulated.name, labels={**labels, **simulated.labels})))
        self.slices.extend(slices_of(simulated))


def _judged_rules(objects: Manifests) -> Iterable[DeviceTaintRule]:
    """The rules, if the API server would take them: one with a misspelt selector would taint all there is."""
    for refused in objects.refused:
        if refused.type is DeviceTaintRule:
            raise InputError(f"{refused.place}: {refused.message}")
    for loaded in objects.objects:
        if isinstance(loaded.object, DeviceTaintRule):
            from dra_operator.query.verdict import find_verdict  # late: inventories without rules do without

            if (verdict := find_verdict(loaded.plain)) is not None:
                raise InputError(f"{loaded.place}: {verdict.message}")
            yield loaded.object


def slices_of(node: SimulatedNode) -> Iterable[ResourceSlice]:
    """What the node's agent publishes."""
    contents = split_into_slices(node.content.devices, node.content.shared_counters)
    for index, content in enumerate(contents):
        yield ResourceSlice(
            metadata=ObjectMeta(name=f"{index:05x}-{node.driver}-{node.name}"),
            spec=ResourceSliceSpec(
                driver=node.driver,
                pool=ResourcePool(name=node.name, generation=1, resource_slice_count=len(contents)),
                node_name=node.name,
                devices=content.devices or None,
                shared_counters=content.shared_counters or None,
            ),
        )
