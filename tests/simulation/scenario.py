"""What happens in a seed, as data: the cluster, who does what when, and how likely which fault is.

A scenario is made from its seed alone and can be made smaller (`shrink.py`); playing it twice gives the same run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import Final, NamedTuple

from tests.simulation.wire import Rates

BUSY_SECONDS: Final = 20.0


class Op(NamedTuple):
    """Something that a user, an administrator or fate does at a time (seconds)."""

    at: float
    what: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:6.2f}s {self.what} {' '.join(self.arguments)}".rstrip()


@dataclass(frozen=True, slots=True)
class NodeKind:
    name: str
    kind: str
    gpus: int


@dataclass(frozen=True)
class Scenario:
    """See the module."""

    seed: int
    nodes: tuple[NodeKind, ...]
    ops: tuple[Op, ...]
    rates: Rates
    replicas: int
    leader_elect: bool
    generator: bool
    """Whether another generator of claims is at work (kube-controller-manager's)."""
    claims_mode: str
    release_hold: float
    server_checks_admin: bool
    """Whether the API server checks admin access itself; where the group is served from CRDs, it does not."""
    grants_admin: bool
    """Whether the namespace of those who want admin access has the label from the beginning."""

    def __str__(self) -> str:
        rates = ", ".join(
            f"{one.name} {getattr(self.rates, one.name)}" for one in fields(Rates) if getattr(self.rates, one.name)
        )
        lines = [
            f"nodes: {', '.join(f'{one.name} {one.gpus} x {one.kind}' for one in self.nodes)}",
            f"operator: {self.replicas} replicas, leader election {'on' if self.leader_elect else 'off'}, "
            f"--claims={self.claims_mode}, --release-hold={self.release_hold:g}"
            + (", beside another generator" if self.generator else ""),
            f"the API server {'checks' if self.server_checks_admin else 'does not check'} admin access, "
            f"which is {'granted' if self.grants_admin else 'not granted'} at first",
            f"faults: {rates or 'none'}",
            *(str(op) for op in self.ops),
        ]
        return "\n".join(lines)


_WEIGHTS: Final = {
    "pod-deleted": 3,
    "pod-killed": 2,
    "pod-replaced": 2,
    "service-replaced": 2,
    "claim-deleted": 2,
    "claim-stripped": 1,
    "claim-edited": 1,
    "claim-cleared": 1,
    "claim-restored": 3,
    "template-deleted": 1,
    "template-restored": 1,
    "class-deleted": 1,
    "class-restored": 2,
    "pods-all-killed": 1,
    "admin-toggled": 2,
    "home-toggled": 1,
    "cordoned": 2,
    "node-vanishes": 1,
    "node-returns": 2,
    "agent-restarts": 2,
    "slice-deleted": 1,
    "gate-removed": 1,
    "imposter-claim": 1,
    "second-claim": 2,
}
_PROCESS_OPS: Final = {
    "crash": 2,
    "restart": 1,
    "pause": 2,
    "clock-jumps": 1,
    "cut-off": 1,
    "outage": 1,
    "expire": 3,
    "blind": 2,
}


def make_scenario(seed: int) -> Scenario:
    rng = random.Random(seed)
    kinds = rng.sample(["plain", "plain", "parts", "multi"], rng.randint(2, 3))
    nodes = tuple(
        NodeKind(f"node-{index}", kind, 1 if kind != "plain" else rng.randint(2, 3)) for index, kind in enumerate(kinds)
    )
    mode = rng.choice(("one", "elected", "rivals"))
    generator = rng.random() < 0.25
    ops = [*_users(rng, rng.randint(4, 11)), *_fate(rng, 2 if mode != "one" else 1)]
    checks = rng.random() < 0.5
    rates = _rates(rng)
    if mode == "elected" and seed % 2:
        rates = replace(rates, frozen=0.1)  # it matters there, and only what was about to be sent at that moment does
    if mode == "elected":
        ops += _handovers(random.Random(f"{seed}/handovers"))
    if mode == "rivals":
        ops += _relists(random.Random(f"{seed}/relists"))
    return Scenario(
        seed=seed,
        nodes=nodes,
        ops=tuple(sorted(ops)),
        rates=rates,
        replicas=1 if mode == "one" else 2,
        leader_elect=mode == "elected",
        generator=generator,
        claims_mode=rng.choice(("auto", "adopt")) if generator else rng.choice(("generate", "auto")),
        release_hold=rng.choice((0.0, 0.0, 3.0)),
        server_checks_admin=checks,
        grants_admin=checks or rng.random() < 0.5,
    )


def _users(rng: random.Random, pods: int) -> list[Op]:
    ops = [Op(rng.uniform(0, 2), "service-replaced")] if rng.random() < 0.5 else []
    if rng.random() < 0.4:
        ops.append(Op(rng.uniform(0, 8), "pod", ("service-own", "team", "-", rng.choice(("one", "slot", "part")), "-")))
    bursts = [rng.uniform(0, BUSY_SECONDS) for _ in range(rng.randint(1, 3))] if rng.random() < 0.6 else []
    for index in range(pods):
        at = rng.choice(bursts) + rng.uniform(0, 0.3) if bursts else rng.uniform(0, BUSY_SECONDS)
        ops.append(Op(at, "pod", (f"pod-{index}", *_wants(rng))))
    likely = rng.sample(sorted(_WEIGHTS), 10)
    weights = [_WEIGHTS[what] for what in likely]
    meddling = rng.choices(likely, weights, k=rng.randint(2, 12))
    ops += [Op(rng.uniform(1, BUSY_SECONDS), what, (str(rng.randrange(1000)),)) for what in meddling]
    return ops


def _wants(rng: random.Random) -> tuple[str, ...]:
    """Namespace, other gate or -, templates, claims."""
    draw = rng.random()
    if draw < 0.08:
        return ("ops", "-", "watch", "-")
    if draw < 0.2:
        return ("native", "-", "one", "-")
    gate = "example.com/quota" if rng.random() < 0.1 else "-"
    if draw < 0.4:
        return ("team", gate, "-", rng.choice(("shared-a", "shared-a", "shared-b")))
    first = rng.choice(("one", "one", "two", "part", "full", "slot", "slot", "either"))
    if draw < 0.5:
        return ("team", gate, first, rng.choice(("shared-a", "shared-b")))
    if draw < 0.6:
        return ("team", gate, f"{first},{rng.choice(('one', 'part', 'slot'))}", "-")
    return ("team", gate, first, "-")


def _fate(rng: random.Random, replicas: int) -> list[Op]:
    names = sorted(_PROCESS_OPS)
    ops = []
    for what in rng.choices(names, [_PROCESS_OPS[name] for name in names], k=rng.randint(0, 3)):
        number = str(rng.randrange(replicas))
        seconds = f"{rng.choice((rng.uniform(0.2, 3.0), rng.uniform(5.0, 25.0))):.1f}"
        at = rng.uniform(1, BUSY_SECONDS)
        ops.append(Op(at, what, (number, seconds)))
        if what == "blind":
            ops += _unseen(rng, at, min(float(seconds), 8.0))
    return ops


def _unseen(rng: random.Random, at: float, seconds: float) -> list[Op]:
    """What is deleted while nobody sees it; now and then all there is."""
    if rng.random() < 0.3:
        return [Op(at + seconds * 0.7, "pods-all-killed", ("0",))]
    deletions = ("pod-killed", "pod-killed", "pod-replaced", "template-deleted", "class-deleted", "node-vanishes")
    return [
        Op(at + rng.uniform(0.1, 0.9) * seconds, rng.choice(deletions), (str(rng.randrange(1000)),))
        for _ in range(rng.randint(1, 4))
    ]


def _handovers(rng: random.Random) -> list[Op]:
    """Leaders change while the next one is behind, and what it has not seen comes, changes and goes."""
    ops = []
    for number in range(rng.choice((0, 1, 2))):
        at, seconds = rng.uniform(2, BUSY_SECONDS), rng.uniform(4.0, 14.0)
        late = rng.choice(("pods-late", "claims-late"))
        ops.append(Op(at, late, ("0", f"{seconds:.1f}")))
        for index in range(rng.randint(1, 3)):
            wants = rng.choice((("one", "-"), ("slot", "-"), ("-", "shared-a")))
            ops.append(Op(at + rng.uniform(0.0, 0.2) * seconds, "pod", (f"late-{number}-{index}", "team", "-", *wants)))
        meddling = ("cordoned", "cordoned", "node-vanishes") if late == "pods-late" else ("claim-deleted", "pod-killed")
        for _ in range(rng.randint(1, 4)):
            when = at + rng.uniform(0.45, 1.0) * seconds
            ops.append(Op(when, rng.choice(meddling), (str(rng.randrange(1000)),)))
    return ops


def _relists(rng: random.Random) -> list[Op]:
    """One of two that do not know of each other lists claims anew, in which both have written meanwhile.

    The other stands still by then, and takes nothing back. What it wrote before comes last in the list, what the one
    wrote since comes first, and much in between.
    """
    ops = []
    for number in range(rng.choice((1, 1, 2))):
        at, seconds, who = rng.uniform(1, BUSY_SECONDS), rng.uniform(6.0, 9.0), rng.randrange(2)
        wants = rng.choice(("one", "slot"))
        ops.append(Op(at, "claims-relisted", (str(who), f"{seconds:.1f}")))
        ops.append(Op(at + 0.6 * seconds, "pause", (str(1 - who), f"{0.4 * seconds + rng.uniform(0.0, 5.0):.1f}")))
        for name, when in (("z-before", 0.05), ("a-since", 0.7), ("m-between", rng.uniform(0.0, 0.9))):
            ops.append(Op(at + when * seconds, "pod", (f"{name}-{number}", "team", "-", wants, "-")))
    return ops


def _rates(rng: random.Random) -> Rates:
    """Some kinds of faults, not all: a few that happen often find more than many that each prevent the others."""
    known = {
        "lost_before": 0.05,
        "lost_after": 0.08,
        "throttled": 0.05,
        "failed_before": 0.05,
        "failed_after": 0.08,
        "slow": 0.05,
        "cut": 0.03,
        "stalled": 0.03,
        "gone": 0.03,
        "stale_list": 0.3,
        "crash_before": 0.01,
        "crash_after": 0.02,
        "frozen": 0.04,
    }
    chosen = rng.sample(sorted(known), rng.randint(0, 5))
    drawn = {name: known[name] * rng.choice((0.5, 1.0, 2.0)) for name in chosen}
    return Rates(**drawn, lag=rng.choice((0.0, 0.05, 0.4, 1.5)))
