"""The claims as this process knows them: as the mirror shows them, and as the API server answered our own writes.

A claim enters the ledger as observed when the mirror shows it, and only then, in the order of the watch. What a list
shows is taken in claim by claim (`replace`), so that others have their turn in between. Meanwhile nothing may be
decided: an allocation that is seen through a list is confirmed if nobody else in it has the device, and a claim that
has it may come later. Everything else may go on: an answer to a write of ours is about one claim, which the list has
either reached or not, and so comes to the same as one that arrived before the list or after it.

Invariant: when a list has been taken in, all is as if it had been in one go.

Upstream: the assume cache of claims in the dynamicresources plugin. Not here: what a change means to pods that wait
(`view.py`), and who was first on a device (`inventory/ledger.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from dra_operator.api.meta import ObjectKey, Uid, as_number
from dra_operator.api.resource import ResourceClaim
from dra_operator.inventory.ledger import Ledger
from dra_operator.lifecycle.keys import ClaimRef, PodRef, Ref
from dra_operator.lifecycle.references import References
from dra_operator.lifecycle.turns import Turns
from dra_operator.lifecycle.unelected import Unelected
from dra_operator.lifecycle.versions import Tombstones, newer, same_results, takes_back, version_of


@dataclass(slots=True)
class Claims:
    """See the module. The verbs return what has to be looked at again.

    `released` is told of a claim whose devices became free, `freed` that what was assumed did; both return who may be
    served by that. `parted` is told of who was taken out of a claim's users.
    """

    ledger: Ledger
    references: References
    turns: Turns
    unelected: Unelected
    now: Callable[[], float]
    released: Callable[[ResourceClaim], set[Ref]]
    freed: Callable[[], set[Ref]]
    parted: Callable[[Uid], None]
    shown: dict[ObjectKey, ResourceClaim] = field(default_factory=dict)
    """As the mirror shows them."""
    _ahead: dict[ObjectKey, ResourceClaim] = field(default_factory=dict)
    """As the API server answered a write of ours, until the mirror has caught up."""
    _keys: dict[Uid, ObjectKey] = field(default_factory=dict)
    """Of what the mirror shows."""
    _gone: Tombstones = field(default_factory=Tombstones)
    _missing: Tombstones = field(default_factory=Tombstones)
    """Names of which the API server said that there is no such claim."""
    _listed_at: int = 0
    """The version of the last list that was taken in."""

    # --- reading -----------------------------------------------------------------------------------------------------

    def get(self, key: ObjectKey) -> ResourceClaim | None:
        """The claim as last known, our own writes included."""
        return self._ahead.get(key) or self.shown.get(key)

    def is_catching_up(self, key: ObjectKey) -> bool:
        """Whether a write of ours to this claim has not come back through the mirror yet."""
        return key in self._ahead

    def is_missing(self, key: ObjectKey) -> bool:
        """Whether the API server said that there is no claim of that name; one that was made since may have it."""
        return str(key) in self._missing

    # --- the mirror --------------------------------------------------------------------------------------------------

    def observe(self, claim: ResourceClaim, *, live: bool) -> set[Ref]:
        """The mirror shows the claim as it is now: `live` through a watch event, otherwise through a list."""
        key = claim.key
        known = self.shown.get(key)
        if not live and known is not None and _is_same(known, claim):
            self.shown[key] = claim  # who lists keeps it, too: one object, not two
            return set()
        dirty: set[Ref] = set()
        if known is not None and known.uid != claim.uid:
            dirty |= self.forget(key)
            known = None
        if known is not None and known.status.reserved_for:
            for uid in _users(known) - _users(claim):
                self.parted(uid)
        if live:
            self.unelected.observe(known, claim, ours=self.ledger.is_assumed(claim.uid))
            if known is None:
                self.turns.note_new(claim)
        ahead = self._ahead.get(key)
        if ahead is None or ahead.uid != claim.uid or not newer(ahead, claim):
            dirty.add(ClaimRef(key))  # else the answer to our write said all this, and was looked at
        if ahead is not None and newer(claim, ahead):
            del self._ahead[key]
            if _ends(claim, ahead):
                self.ledger.forget_assumed(ahead.uid)
                dirty |= self.freed()
        self.shown[key] = claim
        self._missing.discard(Uid(str(key)))
        self._keys[claim.uid] = key
        self._refer(key, known, ahead)
        rivals = self.ledger.rivals(claim.uid)
        self.ledger.observe(claim, live=live)
        if known is not None and known.status.allocation is not None and not same_results(known, claim):
            dirty |= self.released(known)
        dirty |= self._pods_of(claim)
        return dirty | self._pods_of_all(rivals | self.ledger.rivals(claim.uid))

    def forget(self, key: ObjectKey) -> set[Ref]:
        """The mirror has the claim no more. One that we wrote since is the next of that name, to be shown yet."""
        claim = self.shown.pop(key, None)
        ahead = self._ahead.pop(key, None)
        kept = None
        if claim is not None and ahead is not None and claim.uid != ahead.uid and not newer(claim, ahead):
            kept, ahead = ahead, None
        dirty: set[Ref] = {ClaimRef(key)}
        holder = ahead if ahead is not None and ahead.status.allocation is not None else claim
        for gone in (claim, ahead):
            if gone is None:
                continue
            self._gone.add(gone.uid, self.now())
            self._keys.pop(gone.uid, None)
            self.references.remove_claim(gone)
            rivals = self.ledger.rivals(gone.uid)
            self.ledger.remove(gone.uid)
            self.ledger.forget_assumed(gone.uid)
            if gone is holder and gone.status.allocation is not None:
                dirty |= self.released(gone)
            dirty |= self._pods_of(gone) | self._pods_of_all(rivals)
        if kept is not None:
            self._ahead[key] = kept
            self._refer(key)
        return dirty

    def replace(self, claims: Collection[ResourceClaim], resource_version: str) -> Iterator[set[Ref]]:
        """The mirror was listed anew: what is not listed is gone, unless we wrote it after the list was made.

        A claim at a time: others may have their turn between two, but nothing may be decided before the last.
        """
        self.ledger.begin_listing()
        horizon = as_number(resource_version)
        listed: set[ObjectKey] = set()
        for claim in claims:
            listed.add(claim.key)
            yield set()
        for key in [key for key in self.shown if key not in listed]:
            yield self.forget(key)
        yield from self._forget_unlisted(listed, horizon)
        for claim in claims:
            yield self.observe(claim, live=False)
        self._listed_at = horizon
        yield from self._forget_unlisted(listed, horizon)  # what was answered meanwhile

    def _forget_unlisted(self, listed: Collection[ObjectKey], horizon: int) -> Iterator[set[Ref]]:
        """What only our own writes told us, and a list that was made later does not know."""
        for key in [key for key in self._ahead if key not in listed]:
            if (ahead := self._ahead.get(key)) is not None and version_of(ahead) <= horizon:
                yield self.forget(key)

    # --- our own writes ----------------------------------------------------------------------------------------------

    def note_written(self, claim: ResourceClaim) -> set[Ref]:
        """What the API server answered a write of ours, or a live GET, with."""
        known = self.shown.get(claim.key)
        shown = known is not None and known.uid == claim.uid
        if claim.uid in self._gone and not shown:
            return set()  # deleted while the answer was on its way
        if known is None and 0 < version_of(claim) <= self._listed_at:
            self._gone.add(claim.uid, self.now())  # gone again when the list was made: no watch will tell
            return set()
        if known is not None and newer(known, claim):
            if not _ends(known, claim):
                return set()
            self.ledger.forget_assumed(claim.uid)
            return self.freed()
        before = self._ahead.get(claim.key)
        self._ahead[claim.key] = claim
        self._missing.discard(Uid(str(claim.key)))
        self._refer(claim.key, before)
        dirty: set[Ref] = {ClaimRef(claim.key), *self._pods_of(claim)}
        if before is not None and _ends(claim, before):
            self.ledger.forget_assumed(before.uid)  # a list may show the claim so, and never as it was before
            dirty |= self.freed()
        return dirty

    def note_missing(self, key: ObjectKey) -> set[Ref]:
        """The API server says that there is no such claim: drop what only our own write told us."""
        self._missing.add(Uid(str(key)), self.now())
        ahead = self._ahead.pop(key, None)
        self._refer(key, ahead)
        if ahead is None:
            return set()
        self.ledger.forget_assumed(ahead.uid)  # the mirror may never show the claim, nor that it went
        return self.freed()

    # --- who refers to it --------------------------------------------------------------------------------------------

    def _refer(self, key: ObjectKey, *before: ResourceClaim | None) -> None:
        """The claim refers to what it names in the mirror and as we wrote it; no more to what it named `before`."""
        for claim in before:
            if claim is not None:
                self.references.remove_claim(claim)
        for claim in (self.shown.get(key), self._ahead.get(key)):
            if claim is not None:
                self.references.add_claim(claim)

    def _pods_of(self, claim: ResourceClaim) -> set[Ref]:
        return {PodRef(uid) for uid in self.references.pods_of(claim)}

    def _pods_of_all(self, uids: Collection[Uid]) -> set[Ref]:
        """The pods of those of the claims that the mirror shows."""
        dirty: set[Ref] = set()
        for uid in uids:
            key = self._keys.get(uid)
            if key is not None:
                dirty |= self._pods_of(self.shown[key])
        return dirty


def _users(claim: ResourceClaim) -> set[Uid]:
    return {consumer.uid for consumer in claim.status.reserved_for or ()}


def _ends(later: ResourceClaim, written: ResourceClaim) -> bool:
    """Whether what we wrote is no more by the later state of that name: another object, or without our results."""
    return later.uid != written.uid or takes_back(later, written)


def _is_same(known: ResourceClaim, claim: ResourceClaim) -> bool:
    """Whether they are one state of one claim: all of it is taken in already."""
    return known.uid == claim.uid and version_of(known) == version_of(claim) > 0
