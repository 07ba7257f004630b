"""Who has which device at a revision, kept from the log alone: exclusive devices, shares of capacity, counters.

Claims are in the order in which the API server accepted their allocations. A claim is *rightful* when, with all that
came before it and still stand, it takes nothing that is not there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from tests.simulation.cluster import name_of, results_of
from tests.simulation.model.fields import Json
from tests.simulation.objects import MEMORY

DeviceId: TypeAlias = tuple[str, str, str]


class Held(NamedTuple):
    """An allocation: when it was accepted, of what, by whom."""

    version: int
    claim: Json
    actor: str


@dataclass(slots=True)
class Books:
    """See the module."""

    held: dict[str, Held] = field(default_factory=dict)
    """By claim UID."""
    devices: dict[DeviceId, Json] = field(default_factory=dict)
    """Every device as it was last published; a device that is gone is still held."""
    counters: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """By pool, counter set and counter."""

    def note_claim(self, claim: Json | None, uid: str, version: int, actor: str) -> None:
        if claim is None or not (claim.get("status") or {}).get("allocation"):
            self.held.pop(uid, None)
            return
        known = self.held.get(uid)
        if known is None or known.claim["status"]["allocation"] != claim["status"]["allocation"]:
            self.held[uid] = Held(version, claim, actor)
        else:
            self.held[uid] = known._replace(claim=claim)

    def note_slice(self, slice_: Json) -> None:
        spec = slice_["spec"]
        for device in spec.get("devices") or ():
            self.devices[spec["driver"], spec["pool"]["name"], device["name"]] = device
        for counter_set in spec.get("sharedCounters") or ():
            for name, counter in counter_set["counters"].items():
                self.counters[spec["pool"]["name"], counter_set["name"], name] = int(counter["value"])

    def find_wrong(self, uid: str, *, only_of: str = "") -> str | None:
        """What the claim takes that those before it have; `only_of`: of those that this actor allocated."""
        mine = self.held[uid]
        before = [
            held
            for other, held in self.held.items()
            if other != uid and held.version < mine.version and (not only_of or held.actor == only_of)
        ]
        return next(self._overdrawn(mine, before), None)

    def _overdrawn(self, mine: Held, before: list[Held]) -> Iterator[str]:
        taken: dict[DeviceId, list[Held]] = defaultdict(list)
        for held in before:
            for result in _counted(held.claim):
                taken[_device_of(result)].append(held)
        ours = list(_counted(mine.claim))
        for result in ours:
            device = _device_of(result)
            if not result.get("shareID"):
                for rival in taken[device]:
                    yield f"{'/'.join(device)} of {name_of(mine.claim)} is {name_of(rival.claim)}'s"
                continue
            used = sum(
                _memory(one) for held in (*before, mine) for one in _counted(held.claim) if _device_of(one) == device
            )
            if used > MEMORY:
                yield f"{used}Gi of {'/'.join(device)} are given out, with {name_of(mine.claim)}"
        yield from self._counters(ours, {*taken, *map(_device_of, ours)}, mine)

    def _counters(self, ours: list[Json], devices: Iterable[DeviceId], mine: Held) -> Iterator[str]:
        wanted = {key for result in ours for key, _ in self._consumption(_device_of(result))}
        used: dict[tuple[str, str, str], int] = defaultdict(int)
        for device in devices:
            for key, amount in self._consumption(device):
                used[key] += amount
        for key in sorted(wanted):
            if used[key] > self.counters.get(key, 0):
                yield f"counter {'/'.join(key)} is overdrawn ({used[key]}), with {name_of(mine.claim)}"

    def _consumption(self, device: DeviceId) -> Iterator[tuple[tuple[str, str, str], int]]:
        for uses in self.devices.get(device, {}).get("consumesCounters") or ():
            for name, counter in uses["counters"].items():
                yield (device[1], uses["counterSet"], name), int(counter["value"])


def _counted(claim: Json) -> Iterator[Json]:
    return (result for result in results_of(claim) if not result.get("adminAccess"))


def _device_of(result: Json) -> DeviceId:
    return result["driver"], result["pool"], result["device"]


def _memory(result: Json) -> int:
    return int(str((result.get("consumedCapacity") or {}).get("memory", "0Gi")).removesuffix("Gi"))
