"""The engine at work against the in-memory API server, in virtual time, with a fate for each write that a test names.

async def scenario(desk: Desk) -> None:
    desk.meets(WriteClaimStatus, ANSWER_LOST)        the first such write takes effect, and nobody is told
    desk.store.create(gated(claims=["mine"]))
    await desk.until(lambda: ..., "what for")

play(scenario)
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from dra_operator.api.core import Pod
from dra_operator.api.meta import Object, ObjectKey
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.queue import WorkQueue
from dra_operator.controller.engine import Engine
from dra_operator.controller.lists import Lists
from dra_operator.controller.mirrors import ClaimMirror
from dra_operator.lifecycle.actions import Action, CreateClaim, Notice, Outcome, Unknown
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.keys import Ref
from dra_operator.lifecycle.policy import Policy
from dra_operator.lifecycle.publish import timestamp
from dra_operator.lifecycle.sweep import Sweep
from dra_operator.lifecycle.unelected import Unelected
from dra_operator.lifecycle.verdict import Verdict
from dra_operator.lifecycle.view import View
from dra_operator.world.store import Store
from tests.unit.lifecycle.scene import NOW, show
from tests.virtual_loop import run_virtual

REQUEST_LOST = Unknown("connection reset")
"""The API server never sees it."""
ANSWER_LOST = "answer lost"
"""It takes effect, and the answer does not come."""
BROKEN = "broken"
"""The writer raises, which it should not."""

Fate: TypeAlias = Outcome | str


@dataclass(frozen=True, slots=True)
class Call:
    """One action that was performed, from when to when, and what was answered."""

    action: Action
    begun: float
    ended: float
    outcome: Outcome

    @property
    def target(self) -> str:
        """The object that it is about."""
        return str(_key(self.action))


class Desk:
    """See the module. `sent` is what the engine asked for, in the order of the answers."""

    def __init__(self, policy: Policy | None = None, *, alone: bool = True) -> None:
        self.store = Store()
        self.view = View(Unelected(alone=alone))
        self.latency = 0.05
        self.watch_delay = 0.01
        self.leads = True
        self.sent: list[Call] = []
        self.looks: list[tuple[float, Ref]] = []
        self.notices: list[Notice] = []
        self.keeps: Callable[[Action], Action] = lambda action: action
        """What the API server makes of a write before it takes effect."""
        self.hung: set[str] = set()
        """Namespaces of which no write is answered as long as they are in here."""
        self._fates: defaultdict[type[Action], deque[Fate]] = defaultdict(deque)
        self.engine = Engine(
            view=self.view,
            decider=Decider(self.view, steps_in_one_go=1),
            policy=policy or Policy(),
            queue=WorkQueue(random.Random(0)),
            perform=self._perform,
            record=self.notices.append,
            now=lambda: NOW + now(),
            clock=now,
            leads=lambda: self.leads,
            limited=lambda: False,
            watcher=self,
            lists=Lists(),
        )

    # --- what a test does ------------------------------------------------------------------------------------------

    def meets(self, action: type[Action], *fates: Fate) -> None:
        """The next actions of that type meet these fates, one each."""
        self._fates[action].extend(fates)

    def create(self, *objects: Object) -> None:
        for each in objects:
            self.store.create(each)

    def pod(self, name: str = "pod") -> Pod:
        found = self.store.get(Pod, ObjectKey("default", name))
        assert found is not None
        return found

    def claim(self, name: str) -> ResourceClaim:
        found = self.store.get(ResourceClaim, ObjectKey("default", name))
        assert found is not None
        return found

    def reason(self, name: str = "pod") -> str:
        condition = self.pod(name).condition(DEVICES_ALLOCATED)
        return "" if condition is None else condition.reason

    def calls(self, of: type[Action]) -> list[Call]:
        return [call for call in self.sent if isinstance(call.action, of)]

    def ungated(self, *names: str) -> bool:
        return not any(self.pod(name).spec.scheduling_gates for name in names or ("pod",))

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        deadline = now() + seconds
        while not condition():
            assert now() < deadline, (
                f"after {seconds:g} s not yet: {what}; sent {[type(c.action).__name__ for c in self.sent]}"
            )
            await asyncio.sleep(0.01)

    async def work(self) -> None:
        """Watch and decide, for ever."""
        follow = asyncio.create_task(self._follow())
        try:
            await self.engine.run()
        finally:
            follow.cancel()

    # --- what the engine is given ------------------------------------------------------------------------------------

    async def _perform(self, action: Action) -> Outcome:
        begun = now()
        await asyncio.sleep(self.latency / 2)
        while _key(action).namespace in self.hung:
            await asyncio.sleep(0.1)
        fates = self._fates[type(action)]
        fate = fates.popleft() if fates else ""
        if fate == BROKEN:
            raise RuntimeError("a defect in the writer")
        outcome: Outcome
        if isinstance(fate, str):
            outcome = self.store.perform(self.keeps(action), timestamp(NOW + now()))
            await asyncio.sleep(self.latency / 2)
            outcome = Unknown("connection reset") if fate == ANSWER_LOST else outcome
        else:
            outcome = fate
        self.sent.append(Call(action, begun, now(), outcome))
        return outcome

    async def _follow(self) -> None:
        """The watches: every change in order, a little late."""
        mirror, position = ClaimMirror(self.view, self.engine.mark, self.engine.lists), 0
        while True:
            await asyncio.sleep(self.watch_delay)
            while position < len(self.store.log):
                change = self.store.log[position]
                position += 1
                match change.object:
                    case ResourceClaim():
                        mirror.apply(change.type, change.object)
                    case Pod() if change.type == "DELETED":
                        self.engine.mark(self.view.forget_pod(change.object.uid, certain=True))
                    case Pod():
                        self.engine.mark(self.view.observe_pod(change.object))
                    case _:
                        show(self.view, change.object)
                        self.sweep()

    def sweep(self) -> None:
        """Everything is to be looked at."""
        for refs in Sweep(self.view).everything():
            self.engine.mark(refs)

    def looked(self, ref: Ref, verdict: Verdict, seconds: float) -> None:
        self.looks.append((now(), ref))

    def wrote(self, action: Action, outcome: Outcome, seconds: float) -> None:
        """A `Watcher` that notes nothing here: `sent` does."""


def _key(action: Action) -> ObjectKey:
    return action.claim.key if isinstance(action, CreateClaim) else action.key


def now() -> float:
    return asyncio.get_running_loop().time()


def play(
    scenario: Callable[[Desk], Awaitable[None]], *, seed: int = 0, policy: Policy | None = None, alone: bool = True
) -> None:
    """Run the scenario while the engine works; not `alone`: without leader election."""

    async def main() -> None:
        desk = Desk(policy, alone=alone)
        work = asyncio.create_task(desk.work())
        try:
            await scenario(desk)
            assert not work.done(), work
        finally:
            desk.hung.clear()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await desk.engine.drain()

    run_virtual(main(), seed=seed)
