"""Best fit without a search: each request takes what suits it best, one device after the other.

Of the least valuable devices that satisfy: one that is shared already before one that is not, a partition of something
broken already before one of something whole; under a matched attribute, of the smallest group that is large enough.
Whatever this finds is a solution like any other. Where it gets stuck, or where something could fail on the way, it
takes everything back and leaves the node to the search, which tries the least valuable devices first too.

Upstream has nothing like it: there the first solution wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dra_operator.allocation.candidates import Ask
from dra_operator.allocation.gauge import tightest
from dra_operator.allocation.matching import Bits
from dra_operator.allocation.taking import Taken, Taking
from dra_operator.api.resource import ALLOCATION_RESULTS_MAX_SIZE


@dataclass(slots=True)
class Greedy:
    """One try. `asks` as for a search, `taken` and `picked` as a search leaves them."""

    taking: Taking
    asks: Sequence[Sequence[Sequence[Ask]]]
    taken: list[list[Taken]] = field(init=False)
    picked: dict[tuple[int, int], Ask] = field(init=False, default_factory=dict)
    _broken: Bits = field(init=False)

    def __post_init__(self) -> None:
        self.taken = [[] for _ in self.asks]
        self._broken = self.taking.site.broken

    def run(self) -> bool:
        """Whether all requests have their devices; otherwise nothing is taken."""
        for claim, requests in enumerate(self.asks):
            for request, alternatives in enumerate(requests):
                ask = self.picked[claim, request] = self._possible(claim, alternatives)
                if ask.alternative.all_devices or not self._fill(claim, ask):
                    self._undo()
                    return False
        return True

    @staticmethod
    def _possible(claim: int, alternatives: Sequence[Ask]) -> Ask:
        """The first alternative that may have enough. Which one the pod gets is decided as upstream decides."""
        for ask in alternatives[:-1]:
            all_devices = ask.alternative.all_devices
            if all_devices or ask.candidates.has_enough(0, ask.wanted, claim, ask.constraints):
                return ask
        return alternatives[-1]

    def _fill(self, claim: int, ask: Ask) -> bool:
        site, results = self.taking.site, self.taken[claim]
        bits = ask.candidates.free(claim)
        wanted = ask.alternative.count
        if bits is None or ask.candidates.may_fail or wanted > ALLOCATION_RESULTS_MAX_SIZE - len(results):
            return False
        if not ask.alternative.admin_access:
            bits &= site.free  # the counters of others would not suffice
        bits = tightest(site, ask.alternative, self._narrow(ask, bits), ask.constraints)
        while wanted and bits.bit_count() >= wanted:
            position = self._best(bits)
            bits &= ~(1 << position)
            taken = self.taking.take(claim, ask.alternative, ask.constraints, position, must=False)
            if taken is not None:
                results.append(taken)
                wanted -= 1
                bits = self._narrow(ask, bits)
                if site.counted >> position & 1:
                    self._broken |= site.sharing_counters(position)
        return not wanted

    def _narrow(self, ask: Ask, bits: Bits) -> Bits:
        for constraint in ask.constraints:
            bits = constraint.narrow(bits, self.taking.site.groups(constraint.attribute))
        return bits

    def _best(self, bits: Bits) -> int:
        site = self.taking.site
        if bits & (site.counted | site.shareable):
            alike = site.alike(bits)
            bits = alike & (self._broken | site.shared) or alike
        return (bits & -bits).bit_length() - 1

    def _undo(self) -> None:
        for results in reversed(self.taken):
            while results:
                results.pop().undo()
