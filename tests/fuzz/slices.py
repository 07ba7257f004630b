"""Nodes and ResourceSlices of a generated case.

A pool is local to a node, or on the network (all nodes, a node selector, each device by itself). What its devices have
is drawn per pool, so that features meet in one pool; what is wrong with a pool (slices missing or superseded, names
twice, counters unknown) is drawn at the end.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from tests.fuzz.dice import Dice
from tests.fuzz.vocabulary import (
    DECLARED,
    DRIVERS,
    FIELDS,
    FRACTIONS,
    HUGE_AMOUNTS,
    HUGE_POLICIES,
    LINE,
    NODE_SELECTORS,
    NODES,
    PCIE,
    POLICIES,
    SKIPPED,
    TAINTS,
    UNREADABLE_REQUIREMENTS,
)

Json = Any


@dataclass(frozen=True)
class Traits:
    """What the pools of a case may have; the rest of the case goes along with it."""

    partitions: bool
    groups: bool
    shares: bool
    lists: bool
    taints: bool
    binding: bool
    skipping: bool
    network: bool
    broken: bool
    large: bool

    @classmethod
    def draw(cls, dice: Dice) -> Traits:
        partitions = dice.chance(0.3)
        return cls(
            partitions=partitions,
            groups=partitions and dice.chance(0.4),
            shares=dice.chance(0.4),
            lists=dice.chance(0.35),
            taints=dice.chance(0.25),
            binding=dice.chance(0.2),
            skipping=dice.chance(0.12),
            network=dice.chance(0.45),
            broken=dice.chance(0.3),
            large=dice.chance(0.05),
        )


def make_nodes(dice: Dice, traits: Traits) -> list[Json]:
    nodes = []
    for name in NODES[: dice.randint(1, len(NODES))]:
        labels = {"kubernetes.io/hostname": name}
        if dice.chance(0.8):
            labels["zone"] = dice.pick("ab")
        if dice.chance(0.5):
            labels["rack"] = "r1"
        if dice.chance(0.5):
            labels["slots"] = dice.pick(("2", "8", "many"))
        node: Json = {"metadata": {"name": name, "labels": labels}}
        if dice.chance(0.75 if traits.skipping else 0.1):
            node["status"] = {"declaredFeatures": [DECLARED]}
        nodes.append(node)
    return nodes


def make_slices(dice: Dice, nodes: list[Json], traits: Traits) -> list[Json]:
    """In random order, as a lister gives them."""
    slices: list[Json] = []
    for node in nodes:
        name = node["metadata"]["name"]
        for driver in DRIVERS[: 1 + dice.chance(0.4)]:
            slices += _Pool(dice, traits, driver, name, {"nodeName": name}).slices()
    if traits.network:
        for number in range(dice.randint(1, 2)):
            where = dice.weighted(
                {"allNodes": 2.0, "nodeSelector": 3.0, "perDeviceNodeSelection": 3.0, "nodeName": 2.0}
            )
            slices += _Pool(dice, traits, dice.pick(DRIVERS), f"net-{number}", _reach(dice, where)).slices()
    dice.shuffle(slices)
    return slices


def _reach(dice: Dice, where: str) -> Json:
    match where:
        case "nodeSelector":
            return {"nodeSelector": _selector(dice)}
        case "nodeName":
            return {"nodeName": ""}  # each slice another
        case _:
            return {where: True}


def _selector(dice: Dice) -> Json:
    term: Json = {"matchExpressions": copy.deepcopy(dice.pick(NODE_SELECTORS))}
    if dice.chance(0.15):
        by_name = {"key": "metadata.name", "operator": "In", "values": [dice.pick(NODES)]}
        term["matchFields"] = [by_name if dice.chance(0.6) else copy.deepcopy(dice.pick(FIELDS))]
        if dice.chance(0.3):
            del term["matchExpressions"]
    if dice.chance(0.02):
        term.setdefault("matchExpressions", []).append(copy.deepcopy(dice.pick(UNREADABLE_REQUIREMENTS)))
    terms = [term]
    if dice.chance(0.04):
        terms.append({"matchExpressions": copy.deepcopy(dice.pick(NODE_SELECTORS))})
    if dice.chance(0.02):
        terms = dice.pick(([], [{}], [{}, term], [term, {}]))
    return {"nodeSelectorTerms": terms}


class _Pool:
    """One pool and what its devices have."""

    def __init__(self, dice: Dice, traits: Traits, driver: str, name: str, reach: Json) -> None:
        self.dice, self.traits, self.driver, self.name, self.reach = dice, traits, driver, name, reach
        self.partitions = traits.partitions and dice.chance(0.7)
        self.groups = self.partitions and traits.groups
        self.shares = traits.shares and dice.chance(0.7)
        self.sets = [f"gpu-{number}" for number in range(dice.randint(1, 2))]
        self.scarce = dice.chance(0.5)

    def slices(self) -> list[Json]:
        dice = self.dice
        most = 40 if self.traits.large else 6
        devices = [self._device(number) for number in range(dice.randint(20 if self.traits.large else 2, most))]
        parts = [devices] if dice.chance(0.6) else self._split(devices)
        slices = [self._slice(part) for part in parts]
        if self.partitions:
            slices = self._with_counters(slices)
        generation = dice.weighted({-1: 0.3, 0: 1.0, 1: 6.0, 3: 2.0})
        for slice_ in slices:
            slice_["spec"]["pool"] = {
                "name": self.name,
                "generation": generation,
                "resourceSliceCount": len(slices),
            }
            if self.traits.skipping and dice.chance(0.5):
                slice_["spec"]["skipNodeOperations"] = ["*"] if dice.chance(0.2) else dice.some(SKIPPED, 1, 2)
        if self.traits.broken and dice.chance(0.5):
            slices = self._broken(slices, generation)
        for number, slice_ in enumerate(slices):
            letter = dice.pick("abcdefgh")
            slice_["metadata"]["name"] = f"{self.name}-{self.driver.split('.')[0]}-{letter}{number}"
        return slices

    def _split(self, devices: list[Json]) -> list[list[Json]]:
        cut = self.dice.randint(0, len(devices))
        return [devices[:cut], devices[cut:]]

    def _slice(self, devices: list[Json]) -> Json:
        spec = {"driver": self.driver, **self._reach(), "devices": devices}
        if self.traits.partitions and self.dice.chance(0.02):
            spec.setdefault("perDeviceNodeSelection", False)
        if spec.get("perDeviceNodeSelection"):
            for device in devices:
                where = self.dice.weighted({"nodeName": 4.0, "nodeSelector": 2.0, "allNodes": 2.0, "": 0.3})
                if where == "nodeName":
                    device["nodeName"] = self.dice.pick(NODES)
                elif where:
                    device.update(_reach(self.dice, where))
        return {"metadata": {}, "spec": spec}

    def _reach(self) -> Json:
        if self.reach.get("nodeName") == "":
            return {"nodeName": self.dice.pick(NODES)}
        return copy.deepcopy(self.reach)

    def _with_counters(self, slices: list[Json]) -> list[Json]:
        """Counter sets in a slice of their own, as the API wants it, or (older objects) beside devices."""
        dice = self.dice
        sets = [
            {
                "name": name,
                "counters": {
                    "memory": {"value": dice.pick(("20Gi", "40Gi", "80Gi"))},
                    "slots": {"value": dice.pick(("2", "4", "7"))},
                },
            }
            for name in self.sets
        ]
        if dice.chance(0.06):
            slices[0]["spec"]["sharedCounters"] = sets
            return slices
        own = {"metadata": {}, "spec": {"driver": self.driver, **self._reach(), "sharedCounters": sets}}
        if "nodeName" not in self.reach and dice.chance(0.3):
            own["spec"] |= {"nodeSelector": _selector(dice)}
            own["spec"].pop("allNodes", None)
            own["spec"].pop("perDeviceNodeSelection", None)
        if len(sets) > 1 and dice.chance(0.3):
            second = copy.deepcopy(own)
            own["spec"]["sharedCounters"], second["spec"]["sharedCounters"] = sets[:1], sets[1:]
            return [*slices, own, second]
        return [*slices, own]

    def _device(self, number: int) -> Json:
        dice = self.dice
        device: Json = {"name": f"dev-{number}", "attributes": self._attributes(number), "capacity": {}}
        multiple = self.shares and dice.chance(0.7)
        if multiple:
            device["allowMultipleAllocations"] = True
        elif self.shares and dice.chance(0.1):
            device["allowMultipleAllocations"] = False
        self._capacity(device, policies=multiple or dice.chance(0.04))
        if self.partitions and dice.chance(0.8):
            device["consumesCounters"] = self._consumption()
        if self.traits.taints and dice.chance(0.3):
            device["taints"] = copy.deepcopy(dice.some(TAINTS, 1, 2))
        if self.traits.binding:
            if dice.chance(0.3):
                device["bindsToNode"] = True
            if dice.chance(0.3):
                device["bindingConditions"] = ["example.com/attached"]
            if dice.chance(0.2):
                device["bindingFailureConditions"] = ["example.com/failed"]
        return device

    def _attributes(self, number: int) -> Json:
        dice = self.dice
        attributes: Json = {"index": {"int": number}}
        if dice.chance(0.9):
            attributes["model"] = {"string": dice.pick("aab")}
        if dice.chance(0.9):
            name = "numa" if dice.chance(0.9) else f"{self.driver}/numa"
            attributes[name] = {"int": dice.pick((0, 0, 1))} if dice.chance(0.95) else {"string": "0"}
        # With and without the driver's domain, also both; selectors leave it alone, as they may see either of two.
        if dice.chance(0.6):
            attributes["socket"] = {"int": dice.pick((0, 1))}
        if dice.chance(0.4):
            attributes[f"{self.driver}/socket"] = {"int": dice.pick((0, 1))}
        if dice.chance(0.7):
            attributes["healthy"] = {"bool": dice.chance(0.8)}
        if dice.chance(0.7):
            attributes["version"] = {"version": dice.pick(("1.0.0", "1.2.0", "1.2.0-rc.1", "1.2.0+b"))}
        if dice.chance(0.85):
            attributes[PCIE] = {"string": dice.pick(("pci0000:00", "pci0000:01"))}
        if dice.chance(0.5):
            attributes[LINE] = {"string": dice.pick(("gold", "silver"))}
        if self.traits.lists and dice.chance(0.8):
            attributes["links"] = dice.pick(
                (
                    {"strings": ["l1"]},
                    {"strings": ["l1", "l2"]},
                    {"strings": ["l2", "l3"]},
                    {"strings": ["l4", "l4"]},
                    {"string": "l1"},
                    {"ints": [1, 2]},
                    {"int": 1},
                    {"versions": ["1.0.0", "1.2.0"]},
                    {"bools": [True, False]},
                )
            )
        if dice.chance(0.004):
            name = dice.pick(("odd", "model", "links", "version"))
            attributes[name] = dice.pick(({}, {"version": "1.0"}, {"versions": ["1.0.0", "1.0"]}))
        return attributes

    def _capacity(self, device: Json, *, policies: bool) -> None:
        dice, capacity = self.dice, device["capacity"]
        if dice.chance(0.9):
            capacity["memory"] = {"value": dice.pick(("80Gi", "80Gi", "40Gi", "10Gi"))}
            if policies and dice.chance(0.85):
                capacity["memory"]["requestPolicy"] = copy.deepcopy(dice.pick(POLICIES))
        if dice.chance(0.3):
            capacity[f"{self.driver}/cores"] = {"value": dice.pick(("1", "2", "2"))}
            if policies and dice.chance(0.9):
                capacity[f"{self.driver}/cores"]["requestPolicy"] = copy.deepcopy(dice.pick(FRACTIONS))
        if self.shares and dice.chance(0.02):
            capacity["huge"] = {"value": dice.pick(HUGE_AMOUNTS)}
            if dice.chance(0.7):
                capacity["huge"]["requestPolicy"] = copy.deepcopy(dice.pick(HUGE_POLICIES))
        if not capacity:
            del device["capacity"]

    def _consumption(self) -> list[Json]:
        dice = self.dice
        few, many = ("1", "5Gi"), (("1", "10Gi"), ("2", "20Gi"), ("1500m", "40Gi"), ("7", "80Gi"))
        slots, memory = dice.pick(many) if self.scarce else few
        names = self.sets if dice.chance(0.1) else [dice.pick(self.sets)]
        consumption = []
        for name in names:
            one: Json = {"counterSet": name, "counters": {"slots": {"value": slots}}}
            if dice.chance(0.7):
                one["counters"]["memory"] = {"value": memory}
            if self.groups and dice.chance(0.75):
                one["compatibilityGroups"] = dice.some(("red", "green", "blue"), 1, 2)
            if dice.chance(0.02):
                del one["counters"]
            consumption.append(one)
        return consumption

    def _broken(self, slices: list[Json], generation: int) -> list[Json]:
        dice = self.dice
        match dice.pick(
            ("missing", "missing", "spare", "stale", "stale", "newer", "twice", "sets", "unknown", "nowhere")
        ):
            case "missing":
                for slice_ in slices:
                    slice_["spec"]["pool"]["resourceSliceCount"] += 1
            case "spare":
                slices.append(copy.deepcopy(dice.pick(slices)))
                for device in slices[-1]["spec"].get("devices", ()):
                    device["name"] += "-spare"
            case "stale" | "newer" as kind:
                other = copy.deepcopy(dice.pick(slices))
                other["spec"]["pool"]["generation"] = generation - 1 if kind == "stale" else generation + 1
                if dice.chance(0.5) and "nodeName" in other["spec"]:
                    other["spec"]["nodeName"] = dice.pick(NODES)
                slices.append(other)
            case "twice":
                devices = [device for slice_ in slices for device in slice_["spec"].get("devices", ())]
                devices[-1]["name"] = dice.pick(devices)["name"]
            case "sets":
                for slice_ in slices:
                    for counters in slice_["spec"].get("sharedCounters", ()):
                        counters["name"] = "gpu-0"
            case "unknown":
                for slice_ in slices:
                    for device in slice_["spec"].get("devices", ()):
                        for consumption in device.get("consumesCounters", ())[:1]:
                            consumption.setdefault("counters", {})["cores"] = {"value": "1"}
                            if dice.chance(0.5):
                                consumption["counterSet"] = "gpu-9"
            case "nowhere":
                for key in self.reach:
                    slices[0]["spec"].pop(key, None)
        return slices
