"""The loop that turns observations into writes: one serial decision at a time, I/O beside it.

    observation → View → dirty refs → queue → look (reconcile) → Verdict → writes → answers → View → look again

The queue hands out refs; a look is synchronous, so no two decisions overlap and each sees the devices that the ones
before it assumed. The writes of a verdict run concurrently with other verdicts' writes, but an object that is being
written is left alone: a ref whose verdict would touch it waits until that write is answered. So many writes at once
are under way and no more, in all and of a flow (`underway.py`): what comes next is decided when one is answered,
the oldest pod first.

The engine knows neither Kopf nor HTTP. Clock, queue, writer and leadership are passed in, so that the simulation runs
this very loop on a virtual clock.

Invariant: whatever a write's answer was, the ref is looked at again; nothing depends on an answer being seen.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from dra_operator.allocation.asking import Question, TakesLong, spending
from dra_operator.api.depth import allow_deep_json
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.reasons import Reason
from dra_operator.controller.answers import Answers
from dra_operator.controller.lists import Lists
from dra_operator.controller.sending import Perform, Sender
from dra_operator.controller.underway import UnderWay, Write
from dra_operator.lifecycle.actions import (
    Action,
    CreateClaim,
    Notice,
    Outcome,
    WriteClaimStatus,
    target_of,
)
from dra_operator.lifecycle.claim import reconcile_claim
from dra_operator.lifecycle.decide import Decider, Search
from dra_operator.lifecycle.keys import ClaimRef, PodRef, Ref, in_order
from dra_operator.lifecycle.pod import reconcile_pod
from dra_operator.lifecycle.policy import Policy
from dra_operator.lifecycle.publish import moment
from dra_operator.lifecycle.sharing import find_sharers, join
from dra_operator.lifecycle.verdict import Verdict
from dra_operator.lifecycle.view import View

log = structlog.get_logger()

SELECTOR_STEPS = 100_000
"""What selectors may cost in one look: some 40 ms."""
LOOKS_PER_TURN = 16
"""Looks in a row before other tasks of the event loop get their turn."""
STEPS_IN_ONE_GO = 32
"""Steps of one search before they do: a step is a node, or some devices of one, and some tenths of a millisecond."""


class Queue(Protocol):
    """What the engine needs of `cluster.queue.WorkQueue`."""

    def add(self, key: Ref, *, after: float = 0.0, priority: int = 0, flow: str = "", since: float = 0.0) -> None: ...
    def retry(self, key: Ref) -> float: ...
    def forget(self, key: Ref) -> None: ...
    def done(self, key: Ref) -> None: ...
    async def get(self) -> Ref: ...
    def hold(self, flow: str) -> None: ...
    def let_go(self, flow: str) -> None: ...


class Watcher(Protocol):
    """Who is told what the engine does: metrics in production, invariants in the simulation."""

    def looked(self, ref: Ref, verdict: Verdict, seconds: float) -> None: ...
    def wrote(self, action: Action, outcome: Outcome, seconds: float) -> None: ...


@dataclass(slots=True)
class Engine:
    """See the module. `now` is wall-clock seconds; `leads` answers whether this replica may write, `limited` whether
    writes wait for our own limit of requests.

    `clock` is what durations are measured with, in seconds. An event loop's time may be in whole milliseconds (uvloop),
    and most looks take less.
    """

    view: View
    decider: Decider
    policy: Policy
    queue: Queue
    perform: Perform
    record: Callable[[Notice], None]
    now: Callable[[], float]
    clock: Callable[[], float]
    leads: Callable[[], bool]
    limited: Callable[[], bool]
    watcher: Watcher
    lists: Lists
    """Those that are being taken in are waited for."""
    _busy: defaultdict[ObjectKey | Uid, set[Ref]] = field(default_factory=lambda: defaultdict(set))
    taken: int = 0
    """Refs that the loop has taken from the queue so far."""
    writes: set[asyncio.Task[None]] = field(default_factory=set)
    """What is on its way to the API server."""
    _under_way: UnderWay = field(init=False)
    """Writes that are not answered yet. One that was and is still doubtful does not count: others need not wait."""
    _sender: Sender = field(init=False)
    _answers: Answers = field(init=False)
    _untold: dict[Ref, tuple[Notice, ...]] = field(default_factory=dict)
    """Notices of writes whose answer was lost: told when the next look finds the write done."""
    _steps: int = 0
    """What selectors have cost since others had their turn."""
    _asking: set[asyncio.Task[None]] = field(default_factory=set)
    """Looks that wait for the answer to a question too long for the event loop."""
    _aside: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._under_way = UnderWay(self.queue.hold, self.queue.let_go, self.limited)
        self._sender = Sender(self.perform, self.clock, self.watcher.wrote)
        self._answers = Answers(self.view, self.mark, self.now)

    # --- in --------------------------------------------------------------------------------------------------------

    def mark(self, refs: Iterable[Ref]) -> None:
        """These have to be looked at."""
        for ref in sorted(refs, key=in_order):
            self._queue(ref)

    def _queue(self, ref: Ref, *, after: float = 0.0) -> None:
        """Claims before pods; pods by priority, then in turn over their namespaces, then by age."""
        if isinstance(ref, ClaimRef):
            self.queue.add(ref, after=after, priority=_RELEASES_FIRST, flow=_flow(ref, ref.key.namespace))
            return
        pod = self.view.pod(ref.uid)
        if pod is None:
            self.queue.add(ref, after=after)
        else:
            self.queue.add(
                ref,
                after=after,
                priority=pod.spec.priority or 0,
                flow=_flow(ref, pod.metadata.namespace),
                since=moment(pod.metadata.creation_timestamp, 0.0),
            )

    @property
    def writes_under_way(self) -> int:
        """Writes that are not answered yet."""
        return self._under_way.in_flight

    @property
    def full(self) -> bool:
        """Whether as many writes are under way as there may be."""
        return self._under_way.full

    # --- loop ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at what is dirty, for ever. Cancelled to stop; writes on their way are then waited for by `drain`."""
        allow_deep_json()  # the limit of Python's stack is no thread's own
        while True:
            await self._under_way.room()
            ref = await self.queue.get()
            self.taken += 1
            while await self._may_decide():
                search = self._look(ref)
                if search is None or not await self._drive(ref, search):
                    break
            else:
                self.queue.done(ref)  # marked again by the sweep that follows the acquisition of the lease
            if self.taken % LOOKS_PER_TURN == 0 or self._steps >= SELECTOR_STEPS:
                self._steps = 0
                await asyncio.sleep(0)

    async def _may_decide(self) -> bool:
        """Whether this replica leads, once what is known of the cluster is whole."""
        await self.lists.ended()
        return self.leads()

    async def drain(self) -> None:
        """Wait for the writes that are on their way."""
        while self.writes:
            await asyncio.gather(*self.writes, return_exceptions=True)

    async def _drive(self, ref: Ref, search: Search) -> bool:
        """Drive a search to its end, and let others run every few steps. Still no other decision begins before.

        Returns whether the look is to be repeated now; if not, a question is asked aside first.
        """
        while True:
            with spending(SELECTOR_STEPS) as allowance:
                try:
                    for _ in range(STEPS_IN_ONE_GO):
                        next(search)
                        if allowance.left < SELECTOR_STEPS // 2:
                            break
                except StopIteration:
                    return True
                except TakesLong as long:
                    self._begin_to_ask(ref, long.question)
                    return False
                except Exception:  # noqa: BLE001
                    return True  # the look that follows meets it again, and says so
            await asyncio.sleep(0)

    def _begin_to_ask(self, ref: Ref, question: Question) -> None:
        task = asyncio.get_running_loop().create_task(self._ask_aside(ref, question))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _look(self, ref: Ref) -> Search | None:
        """Decide, and have it written. Returns what has to be searched before there is anything to decide."""
        started = self.clock()
        try:
            verdict = self._reconcile(ref)
        except TakesLong as long:
            self._begin_to_ask(ref, long.question)
            return None
        except Exception:
            # One object that breaks a rule must not stop the others; it is tried again, ever more slowly.
            pause = self.queue.retry(ref)
            log.exception("look failed", ref=str(ref), retry_in=pause)
            self._queue(ref, after=pause)
            self.queue.done(ref)
            return None
        if verdict.search is not None:
            return verdict.search
        self.watcher.looked(ref, verdict, self.clock() - started)
        targets = {target_of(action) for action in verdict.actions}
        if busy := [target for target in targets if target in self._busy]:
            self._busy[busy[0]].add(ref)
            self.queue.done(ref)
            return None
        assumed = self._assume(ref, verdict)
        for notice in self._untold.pop(ref, ()):
            if notice.reason == verdict.reason and not verdict.notices:
                self.record(notice)
        if not verdict.actions:
            self.queue.forget(ref)
            if verdict.requeue_after is not None:
                self._queue(ref, after=verdict.requeue_after)
            self.queue.done(ref)
            return None
        sharers: set[Ref] = set()
        if isinstance(ref, PodRef):
            verdict, sharers = self._with_sharers(ref, verdict)
        for target in targets:
            self._busy[target] = set(sharers)
        begun = [self._under_way.begin(_flow(ref, _namespace(action))) for action in verdict.actions]
        task = asyncio.get_running_loop().create_task(self._carry_out(ref, verdict, begun, assumed))
        self.writes.add(task)
        task.add_done_callback(self.writes.discard)
        return None

    async def _ask_aside(self, ref: Ref, question: Question) -> None:
        """One at a time, in a thread. The look is then repeated, later the longer it took: half the time is others'."""
        async with self._aside:
            began = self.clock()
            try:
                await asyncio.to_thread(question.answer)
                pause = self.clock() - began
            except Exception:
                pause = self.queue.retry(ref)
                log.exception("selector could not be asked", ref=str(ref), retry_in=pause)
            self._queue(ref, after=pause)
            self.queue.done(ref)

    def _reconcile(self, ref: Ref) -> Verdict:
        """Raises `TakesLong`. No task is begun in here: it would go on under the same allowance."""
        with spending(SELECTOR_STEPS) as allowance:
            try:
                match ref:
                    case PodRef(uid):
                        return reconcile_pod(self.decider, uid, self.policy, self.now())
                    case ClaimRef(key):
                        return reconcile_claim(self.view, key)
            finally:
                self._steps += SELECTOR_STEPS - allowance.left

    def _assume(self, ref: Ref, verdict: Verdict) -> frozenset[Uid]:
        """From here on the decision counts for all that follow, although nothing is written yet.

        Returns the claims whose allocation is assumed from now on. A claim that only gets one more user is not among
        them: its allocation was written by another verdict, whose assumption is not this one's to take back.
        """
        if isinstance(ref, PodRef):
            if verdict.placement is not None:
                self.view.assume_placement(ref.uid, verdict.placement)
            if verdict.waits:
                self.mark(self._note_waits(ref.uid, verdict))
            else:
                self.mark(self.view.note_served(ref.uid))
            self._take_turns(ref.uid, verdict)
            self.view.unelected.note_left(ref.uid, self.now(), left=verdict.left_to_another)
            if (pod := self.view.pod(ref.uid)) is not None:
                self.view.unelected.begin(pod, verdict.actions)
        assumed: set[Uid] = set()
        for action in verdict.actions:
            if isinstance(action, WriteClaimStatus) and action.allocation is not None:
                claim = self.view.claim(action.key)
                if claim is not None and claim.status.allocation is None:
                    self.view.assume_allocation(claim, action.allocation)
                    assumed.add(claim.uid)
        return frozenset(assumed)

    def _with_sharers(self, ref: PodRef, verdict: Verdict) -> tuple[Verdict, set[Ref]]:
        """The verdict with the reservations of those who share the claim, and who they are."""
        sharers: set[Ref] = set()
        for uid in find_sharers(self.view, ref.uid, verdict):
            try:
                theirs = self._reconcile(PodRef(uid))
            except Exception:  # noqa: BLE001
                break  # a look of its own meets it, and says so
            if theirs.search is not None or self._steps >= SELECTOR_STEPS:
                break  # who takes long has a look of its own, between which and the next others have their turn
            if (both := join(verdict, theirs)) is not None:
                self._assume(PodRef(uid), theirs)
                sharers.add(PodRef(uid))
                verdict = both
        return verdict, sharers

    def _note_waits(self, uid: Uid, verdict: Verdict) -> set[Ref]:
        return self.view.note_waits(uid, verdict.group, verdict.reservation, no_device_helps=verdict.no_device_helps)

    def _take_turns(self, uid: Uid, verdict: Verdict) -> None:
        """Who generates the pod's claims, if some are missing: another, whose time runs from now on, or we."""
        turns = self.view.turns
        if verdict.awaits_claims:
            turns.begin(uid, self.now())
        elif any(isinstance(action, CreateClaim) for action in verdict.actions):
            if turns.note_missed(uid):
                log.info("nobody else generates claims; pods do not wait for that any more")
        elif verdict.reason is not Reason.CLAIM_CREATION_REFUSED:
            turns.end(uid)

    # --- out -------------------------------------------------------------------------------------------------------

    async def _carry_out(self, ref: Ref, verdict: Verdict, begun: Sequence[Write], assumed: frozenset[Uid]) -> None:
        """Perform the verdict's writes, take in the answers, have the ref looked at again."""
        try:
            if len(begun) == 1:  # nearly always, and spares a task and two rounds of the event loop
                outcomes = [await self._send(verdict.actions[0], begun[0])]
            else:
                outcomes = await asyncio.gather(*map(self._send, verdict.actions, begun))
        finally:
            parked: set[Ref] = set()
            for action in verdict.actions:
                parked |= self._busy.pop(target_of(action), set())
            self.mark(parked)
            self.queue.done(ref)
        pause = self._answers.settle(ref, verdict, outcomes, assumed)
        if pause == 0.0:
            self.queue.forget(ref)
            if isinstance(ref, PodRef) and verdict.renounces and ref.uid in self.view.pods:
                self.view.unelected.note_renounced(ref.uid, verdict.renounces)
            for notice in verdict.notices:
                self.record(notice)
            self._queue(ref, after=verdict.requeue_after or 0.0)
        else:
            if verdict.notices:
                self._untold[ref] = tuple(verdict.notices)
            self._queue(ref, after=max(pause, self.queue.retry(ref)))

    async def _send(self, action: Action, begun: Write) -> Outcome:
        return await self._sender.send(action, lambda: self._under_way.end(begun))


_RELEASES_FIRST = 2_147_483_647
"""Claims go before pods: what is freed serves those that wait."""


def _flow(ref: Ref, namespace: str) -> str:
    """What takes turns, and has a share of the writes: a namespace's pods, or its claims."""
    return f"{namespace}/claims" if isinstance(ref, ClaimRef) else namespace


def _namespace(action: Action) -> str:
    return (action.claim.key if isinstance(action, CreateClaim) else action.key).namespace
