"""What can be said about a pod's requests on a node without a search: that it refuses, or how well it would suit.

A node refuses for certain when some request has fewer devices left than it asks for, or no group of devices with one
value of a matched attribute is large enough. Where anything could fail on the way (a selector, an amount, an unusable
pool under All, a device that cannot be written down), nothing is said: the search has to tell an error from a refusal.

Invariant: a node that is told to refuse (None) is one for which the search finds nothing, and no error.

Ranks order nodes by the strategy; smaller is better. Upstream has no ranks for devices; the index of the alternative
stands first here as in its `computeScore`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from dra_operator.allocation.constraints import Constraint
from dra_operator.allocation.features import Features
from dra_operator.allocation.matching import Bits, positions
from dra_operator.allocation.requests import Alternative
from dra_operator.allocation.sites import Site
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.resource import ALLOCATION_RESULTS_MAX_SIZE

Rank: TypeAlias = tuple[int, ...]

UNKNOWN: Final[Rank] = (1 << 62,)
"""Comes last: only a search can tell."""


class _Unsure(Exception):
    """Something on the node may fail."""


class _Part(NamedTuple):
    """One request on one node: what it may have of its best alternative."""

    alternative: Alternative
    preference: int
    """Its index among the alternatives."""
    is_only: bool
    """Whether the request has no other alternative."""
    bits: Bits


@dataclass(frozen=True, slots=True)
class Gauge:
    """See the module. `requests` and `constraints` by claim; nothing is ever taken through these constraints."""

    requests: tuple[tuple[tuple[Alternative, ...], ...], ...]
    constraints: tuple[tuple[Constraint, ...], ...]
    features: Features
    strategy: Strategy

    def rank(self, site: Site) -> Rank | None:
        """How well the node suits, or None if it is certain to refuse."""
        try:
            found = [self._parts(site, *claim) for claim in zip(self.requests, self.constraints, strict=True)]
        except _Unsure:
            return UNKNOWN
        claims = [(parts, of) for parts, of in zip(found, self.constraints, strict=True) if parts is not None]
        if len(claims) < len(found):
            return None
        if not self._is_enough(site, [part for parts, _ in claims for part in parts]):
            return None
        if not all(_satisfiable(site, parts, constraint) for parts, of in claims for constraint in of):
            return None
        return UNKNOWN if site.ambiguous else self._score(site, claims)

    def shortage(self, site: Site) -> int | None:
        """How many devices have to come free on the node, about; None if all of them would not do."""
        short = 0
        for requests, constraints in zip(self.requests, self.constraints, strict=True):
            for alternatives in requests:
                lacks = [self._lack(site, alternative, constraints) for alternative in alternatives]
                possible = [lack for lack in lacks if lack is not None]
                if not possible:
                    return None
                short += min(possible)
        return short

    @staticmethod
    def _lack(site: Site, alternative: Alternative, constraints: Sequence[Constraint]) -> int | None:
        match, room = site.match(alternative), site.room(alternative)
        bits = match.selectable & match.permitted & room.capable
        free = bits & room.enough & (site.everything if alternative.admin_access else site.free)
        if alternative.all_devices:
            return (bits & ~free).bit_count() if bits and bits == match.selectable & room.capable else None
        groups = [bits]
        for constraint in constraints:
            if constraint.matches and constraint.covers(alternative) and alternative.count > 1:
                by_value = site.groups(constraint.attribute).values()
                groups = [group & value for group in groups for value in by_value]
        lacks = [
            max(alternative.count - (group & free).bit_count(), 0)
            for group in groups
            if group.bit_count() >= alternative.count
        ]
        return min(lacks, default=None)

    # --- what is there -----------------------------------------------------------------------------------------------

    def _parts(
        self, site: Site, requests: Sequence[Sequence[Alternative]], constraints: Sequence[Constraint]
    ) -> list[_Part] | None:
        """The claim's requests; None if one has too little. Raises `_Unsure`."""
        parts: list[_Part] = []
        impossible = False
        least = 0
        for alternatives in requests:
            best: _Part | None = None
            fewest = 1 << 62
            for index, alternative in enumerate(alternatives):
                bits = self._available(site, alternative, constraints)
                fewest = min(fewest, alternative.count)
                if best is None and bits is not None:
                    best = _Part(alternative, index, len(alternatives) == 1, bits)
            least += fewest
            if best is None:
                impossible = True  # the other requests may still fail
            else:
                parts.append(best)
        if least > ALLOCATION_RESULTS_MAX_SIZE:
            raise _Unsure
        return None if impossible else parts

    def _available(self, site: Site, alternative: Alternative, constraints: Sequence[Constraint]) -> Bits | None:
        """The devices that it may have now; None if too few. Raises `_Unsure`."""
        match = site.match(alternative)
        if match.failed or alternative.derived:
            raise _Unsure
        covering = [constraint for constraint in constraints if constraint.covers(alternative)]
        free = site.everything if alternative.admin_access else site.free
        bits = match.selectable & match.permitted & free
        special = 0
        if self.features.consumable_capacity:
            special = (site.everything if alternative.capacity else site.special) | site.shared
        if alternative.all_devices:
            if not site.is_sound or covering or special & match.selectable:
                raise _Unsure
            if match.selectable.bit_count() > ALLOCATION_RESULTS_MAX_SIZE:
                raise _Unsure
            return bits if bits and bits == match.selectable else None
        held = 0 if alternative.admin_access else site.used
        if special := special & match.selectable & ~held:
            room = site.room(alternative)
            if room.failed & special:
                raise _Unsure
            bits &= ~special | room.enough
        if bits.bit_count() < alternative.count:
            return None
        for constraint in covering:
            if constraint.at_most(bits, site.groups(constraint.attribute)) < alternative.count:
                return None
        return bits

    @staticmethod
    def _is_enough(site: Site, parts: Sequence[_Part]) -> bool:
        """Whether there are as many devices as all requests want together, where no device serves two."""
        together = wanted = 0
        for part in parts:
            if part.alternative.admin_access or not part.is_only or part.bits & site.shareable:
                return True
            together |= part.bits
            wanted += part.bits.bit_count() if part.alternative.all_devices else part.alternative.count
        return together.bit_count() >= wanted

    # --- how good it is ----------------------------------------------------------------------------------------------

    def _score(self, site: Site, claims: Sequence[tuple[Sequence[_Part], Sequence[Constraint]]]) -> Rank:
        free = site.free.bit_count()
        match self.strategy:
            case Strategy.SPREAD:
                return (-free,)
            case Strategy.BINPACK:
                return (0 if site.used | site.shared else 1, free)
            case Strategy.FIRST:
                return ()
            case Strategy.BEST_FIT:
                pass
        later = cost = breaks = 0
        for parts, constraints in claims:
            for part in parts:
                later += part.preference
                bits = part.bits
                if not part.alternative.all_devices:
                    bits = tightest(site, part.alternative, bits, constraints)
                    breaks += breaks_something(site, bits)
                    bits = lowest(bits, part.alternative.count)
                cost += sum(site.devices[position].value for position in positions(bits))
        return later, cost, breaks, 0 if site.used | site.shared else 1, free


def _satisfiable(site: Site, parts: Sequence[_Part], constraint: Constraint) -> bool:
    """Whether the requests that a constraint covers can have their devices under it together, as far as counts tell."""
    bits = wanted = 0
    for part in parts:
        if constraint.covers(part.alternative):
            if not part.is_only or part.bits & site.shareable:
                return True
            bits |= part.bits
            wanted += part.alternative.count
    return constraint.at_most(bits, site.groups(constraint.attribute)) >= wanted


def tightest(site: Site, alternative: Alternative, bits: Bits, constraints: Sequence[Constraint]) -> Bits:
    """Of the groups that a constraint may leave, the smallest that is large enough; all bits where there is none."""
    if alternative.count < 2:
        return bits
    for constraint in constraints:
        if not constraint.matches or not constraint.covers(alternative):
            continue
        fitting = [
            group & bits
            for group in site.groups(constraint.attribute).values()
            if (group & bits).bit_count() >= alternative.count
        ]
        if fitting:
            bits = min(fitting, key=lambda group: (group.bit_count(), group))
    return bits


def breaks_something(site: Site, bits: Bits) -> int:
    """1 if the least valuable of these devices is a part of something that is whole yet, and no other would do."""
    if not bits & (site.counted | site.shareable):
        return 0
    alike = site.alike(bits)
    return 0 if alike & (site.broken | site.shared) or not alike & (site.counted | site.shareable) else 1


def lowest(bits: Bits, count: int) -> Bits:
    """The lowest `count` of the bits."""
    if bits.bit_count() <= count:
        return bits
    rest = bits
    for _ in range(count):
        rest &= rest - 1
    return bits & ~rest
