"""How searches ended that were long, so that a decision which is made anew need not search again.

A long search gives others their turn, and what it finds is not acted on: the cluster may have changed meanwhile. So the
pod is looked at again, and if nothing has changed on the node, what was found is the answer, as the search would find
it again.

Invariant: what is recalled is what a search with that budget would find now.

Upstream has nothing like it: kube-scheduler gives a search ten seconds of its own thread.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.search import STEPS_PER_TURN, Search
from dra_operator.allocation.sites import Site

_MOST: Final = 64
"""Searches that are remembered."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A search for `wants` on `site`, as that was when it had read the ledger so many times."""

    wants: object
    site: Site
    readings: int
    budget: int
    search: Search
    outcome: bool | Abort
    """Whether there is a solution, or why there is no telling."""


@dataclass(slots=True)
class LongSearches:
    """See the module. `wants` is one object for all that ask for the same, as long as their classes stay the same."""

    _ended: OrderedDict[tuple[int, int], Ended] = field(default_factory=OrderedDict)
    """By identity of what is wanted and of the site; both live as long as they are in here."""

    def recall(self, wants: object, site: Site, budget: int) -> Ended | None:
        """How the search would end. The site agrees with the ledger."""
        ended = self._ended.get((id(wants), id(site)))
        if ended is None or (ended.readings, ended.budget) != (site.readings, budget):
            return None
        return ended

    def note(self, ended: Ended) -> None:
        """Remember it if it was long."""
        if ended.search.steps < STEPS_PER_TURN:
            return
        key = id(ended.wants), id(ended.site)
        self._ended[key] = ended
        self._ended.move_to_end(key)
        if len(self._ended) > _MOST:
            self._ended.popitem(last=False)
