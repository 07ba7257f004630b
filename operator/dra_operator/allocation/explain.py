"""Why a request got nothing: what becomes of all devices, one by one, as if the request came alone.

Each device is counted at the first hurdle that it does not take. Asked only after a search has failed, so nothing here
decides; a selector that fails on a device counts as no match. Counts only: no names of other tenants come out of here.

What one node looks like is a `Finding`: plain numbers, so that equal nodes are counted together and a cluster of
thousands is summed up without a look at each.

Upstream has nothing like it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dra_operator.allocation.allocator import Allocator, Plan
from dra_operator.allocation.findings import Counts, Finding
from dra_operator.allocation.matching import Bits, positions
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.requests import Alternative
from dra_operator.allocation.sites import Site
from dra_operator.allocation.taking import Taking
from dra_operator.api.core import Node
from dra_operator.api.reasons import Reason
from dra_operator.inventory.devices import DeviceId
from dra_operator.inventory.pools import Pool


@dataclass(slots=True)
class Funnel:
    """Devices by the first hurdle that stopped them, for one alternative of a request."""

    alternative: Alternative
    name: str = ""
    """How sentences call it."""
    total: Counts = Counts()
    most_free: int = 0
    """On one node."""
    most_matching: int = 0
    """On one node, in use or not; no less than that where devices that several nodes share were counted once."""

    def add(self, counts: Counts, nodes: int, *, whole: bool = True) -> None:
        """So many nodes have that; not `whole`: beside devices that were counted for another node."""
        self.total = Counts(*(sum_ + nodes * count for sum_, count in zip(self.total, counts, strict=True)))
        self.most_free = max(self.most_free, counts.free)
        self.most_matching = max(self.most_matching, counts.matching) if whole else self.total.matching

    @property
    def wanted(self) -> int:
        return 1 if self.alternative.all_devices else self.alternative.count

    @property
    def reason(self) -> Reason | None:
        """What keeps the request from its devices; None if some node has enough that are free."""
        total = self.total
        if self.most_free >= self.wanted and (not self.alternative.all_devices or total.free == total.matching):
            return None
        if self.most_matching < self.wanted and not total.without_capacity:  # others may give back what they will
            return Reason.NO_MATCHING_DEVICE
        return next((reason for reason, name in _HURDLES.items() if getattr(total, name)), Reason.NO_MATCHING_DEVICE)

    def sentence(self) -> str:
        """How the reason reads after "none of 3 nodes fits: "."""
        total, name = self.total, f"request {self.name}"
        if total.published and not total.in_class:
            class_ = self.alternative.class_.metadata.name
            bare = f'request "{self.alternative.name}"'
            return f'DeviceClass "{class_}" of {bare} selects none of {total.published} published devices'
        if not total.matching:
            return (
                f"no device that {name} asks for ({total.published} published, {total.in_class} in its class, "
                "none matches its selectors)"
            )
        if self.reason is None or self.reason is Reason.NO_MATCHING_DEVICE:
            most = self.most_matching if self.most_matching < self.wanted else self.most_free
            return f"{name} wants {self.wanted} devices on one node, where at most {most} match"
        counts = [
            f"{count} {text}"
            for count, text in (
                (total.in_use, "in use"),
                (total.tainted, "tainted"),
                (total.without_capacity, f"without {_amounts(self.alternative)} left"),
                (total.without_counters, "whose shared counters are used up"),
                (total.free, "free"),
            )
            if count
        ]
        return f"too few free devices for {name} ({total.matching} matching: {', '.join(counts)})"


_MOST_NAMED: Final = 3
"""Constraints or amounts in a sentence."""
_HURDLES: Final = {
    Reason.COUNTERS_EXHAUSTED: "without_counters",
    Reason.CAPACITY_EXHAUSTED: "without_capacity",
    Reason.DEVICES_TAINTED: "tainted",
    Reason.DEVICES_IN_USE: "in_use",
}
"""The last hurdle first: what it stopped would otherwise have been usable."""


def look_at(plan: Plan, node: Node, seen: set[DeviceId] | None = None) -> Finding:
    """What the node has for the plan. Devices in `seen` are passed over; the others are added to it."""
    try:
        site = plan.site(node)
    except Abort:
        return Finding(tuple(tuple(Counts() for _ in alternatives) for alternatives in _requests(plan)))
    bits = site.everything
    if seen is not None:
        bits = sum(1 << position for position, device in enumerate(site.devices) if device.id not in seen)
        seen.update(site.devices[position].id for position in positions(bits))
    return Finding(
        tuple(
            tuple(_count(alternative, site, plan.allocator, bits) for alternative in alternatives)
            for alternatives in _requests(plan)
        ),
        sum(pool.incomplete for pool in site.pools),
        next((_invalid(pool) for pool in site.pools if pool.invalid), ""),
    )


def _requests(plan: Plan) -> Iterator[tuple[Alternative, ...]]:
    for requests in plan.requests:
        yield from requests


def _named(plan: Plan) -> Iterator[list[tuple[Alternative, str]]]:
    """The alternatives of each request and what to call them: with their class where two claims name a request alike.

    A claim's own name would tell more, and which pod it is: one answer serves all pods that ask for the same.
    """
    requests = list(_requests(plan))
    times = Counter(alternatives[0].request for alternatives in requests)
    for alternatives in requests:
        yield [
            (one, f'"{one.name}"' + (f" (class {one.class_.metadata.name})" if times[one.request] > 1 else ""))
            for one in alternatives
        ]


def _invalid(pool: Pool) -> str:
    return f'pool "{pool.key.pool}" of driver "{pool.key.driver}" is invalid: {pool.invalid}'


def _count(alternative: Alternative, site: Site, allocator: Allocator, bits: Bits) -> Counts:
    """The devices in the bit set by the hurdle that stops them; where capacity or counters matter, one by one."""
    match = site.match(alternative)
    matching = bits & match.selectable
    taking = Taking(site, allocator.ledger, allocator.features)
    in_use = matching & taking.unavailable(0, alternative)
    tainted = matching & ~in_use & ~match.permitted
    rest = matching & ~in_use & ~tainted
    without_capacity = without_counters = 0
    intricate = rest if alternative.capacity else rest & (site.special | site.shared | site.counted)
    for position in positions(intricate):
        bit = 1 << position
        try:
            if not taking.has_capacity(alternative, position):
                without_capacity |= bit
                continue
            taken = taking.take(0, alternative, (), position, must=False)
        except Abort:
            without_capacity |= bit
            continue
        if taken is None:
            without_counters |= bit
        else:
            taken.undo()
    return Counts(
        published=bits.bit_count(),
        in_class=(bits & match.in_class).bit_count(),
        matching=matching.bit_count(),
        in_use=in_use.bit_count(),
        tainted=tainted.bit_count(),
        without_capacity=without_capacity.bit_count(),
        without_counters=without_counters.bit_count(),
        free=(rest & ~without_capacity & ~without_counters).bit_count(),
    )


class Explanation:
    """The funnels of a plan over all nodes that were added."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._incomplete = 0
        self._invalid = ""
        self._together = False
        """Some node may have devices for all requests, in use or not."""
        self._funnels = [
            [Funnel(alternative, name) for alternative, name in alternatives] for alternatives in _named(plan)
        ]

    def add(self, finding: Finding, nodes: int = 1, *, whole: bool = True) -> None:
        """So many nodes look like that; not `whole`: without the devices that were counted for another node."""
        for funnels, counts in zip(self._funnels, finding.counts, strict=True):
            for funnel, count in zip(funnels, counts, strict=True):
                funnel.add(count, nodes, whole=whole)
        self._together = (
            self._together
            or not whole
            or all(
                any(count.matching >= funnel.wanted for funnel, count in zip(funnels, counts, strict=True))
                for funnels, counts in zip(self._funnels, finding.counts, strict=True)
            )
        )
        self._incomplete += finding.incomplete * nodes
        self._invalid = self._invalid or finding.invalid

    def sum_up(self) -> tuple[Reason, str]:
        """The reason for all requests together, and how it reads after "none of 3 nodes fits: "."""
        if self._invalid:
            return Reason.POOL_INVALID, self._invalid
        for funnels in self._funnels:
            nearest = max(funnels, key=_nearness)
            if (reason := nearest.reason) is not None:
                if self._incomplete and reason is Reason.NO_MATCHING_DEVICE:
                    pools = "1 pool is" if self._incomplete == 1 else f"{self._incomplete} pools are"
                    return Reason.POOL_INCOMPLETE, f"{pools} being published"
                return reason, nearest.sentence()
        nearest_ones = [max(funnels, key=_nearness) for funnels in self._funnels]
        names = ", ".join(funnel.name for funnel in nearest_ones)
        if not self._together:
            return Reason.NO_MATCHING_DEVICE, f"no node has devices for all of {names}"
        if constraints := list(_constraints(self._plan)):
            said = f"no free devices for {names} satisfy {_listed(constraints)} together"
            return Reason.CONSTRAINT_UNSATISFIED, said
        if all(funnel.total.free == funnel.total.matching for funnel in nearest_ones):
            return Reason.NO_MATCHING_DEVICE, f"no node has enough devices for all of {names} together"
        return Reason.DEVICES_IN_USE, f"enough free devices for each of {names}, but not for all on one node"


def _amounts(alternative: Alternative) -> str:
    """The capacity that is asked for: a misspelt name shows where nothing but the sentence is seen."""
    asked = [f"{amount} of {name}" for name, amount in alternative.amounts]
    return _listed(asked) if asked else "enough capacity"


def _listed(what: list[str]) -> str:
    more = f" and {len(what) - _MOST_NAMED} more" if len(what) > _MOST_NAMED else ""
    return ", ".join(what[:_MOST_NAMED]) + more


def _constraints(plan: Plan) -> Iterator[str]:
    """What the claims' constraints say, each once."""
    said = dict.fromkeys(
        f"matchAttribute {one.match_attribute}"
        if one.match_attribute is not None
        else f"distinctAttribute {one.distinct_attribute}"
        for claim in plan.claims
        for one in claim.spec.devices.constraints or ()
    )
    yield from said


def _nearness(funnel: Funnel) -> tuple[bool, bool, int, int, int, int]:
    total, reason = funnel.total, funnel.reason
    blocked = total.without_counters + total.without_capacity + total.tainted + total.in_use
    possible = reason is not Reason.NO_MATCHING_DEVICE
    return reason is None, possible, funnel.most_free, blocked, total.in_class, total.published
