"""One generated case for each seed, in the format of the golden vectors, without the answer."""

from __future__ import annotations

from typing import Any

from tests.fuzz.claims import make_allocated, make_claims, make_classes
from tests.fuzz.dice import Dice
from tests.fuzz.slices import Traits, make_nodes, make_slices
from tests.fuzz.vocabulary import ALPHA, FEATURES

Json = Any


def make_case(seed: int) -> Json:
    dice = Dice(seed)
    traits = Traits.draw(dice)
    nodes = make_nodes(dice, traits)
    slices = make_slices(dice, nodes, traits)
    case: Json = {
        "id": f"seed-{seed}",
        "deviceClasses": make_classes(dice),
        "resourceSlices": slices,
        "allocatedClaims": make_allocated(dice, slices),
        "claims": make_claims(dice, slices, traits),
        "nodes": nodes,
    }
    if dice.chance(0.1):
        case["features"] = dict.fromkeys(ALPHA, False)
    elif dice.chance(0.33):
        on = dice.pick((0.9, 0.9, 0.9, 0.6))
        case["features"] = {name: dice.chance(on) for name in FEATURES if dice.chance(0.9)}
    return case
