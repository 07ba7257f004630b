"""Cases crossed from golden vectors: one vector's claims in its or another one's cluster, with the gates of any.

The generator of `cases.py` draws from few words so that devices and requests often meet. The vectors are shaped
otherwise: partitions of several sizes, fabrics, dozens of devices, claims that hold many. Crossing keeps their shapes
and asks what none of them asks. On top come a few small changes of what is in claims and slices: a number, an amount, a
list's order, a policy less, another mode or effect.

What cannot be compared is left alone. The slices of a pool agree on their number: else the one that is listed first
decides, which may be any. Requests have different names and counts of 1 at least: else results do not tell whose they
are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.conformance.vectors import Broken, read
from tests.fuzz.dice import Dice

Json = Any
Place = tuple[Any, Any]
"""A list or an object, and the index or key in it."""

GOLDEN: Final = Path(__file__).parents[1] / "conformance" / "data" / "allocator_random.jsonl.gz"

_AMOUNTS: Final = (
    *("0", "1", "2", "3", "7", "100m", "250m", "500m", "1500m"),
    *("1Gi", "5Gi", "10Gi", "20Gi", "40Gi", "80Gi"),
)
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "effect": ("NoSchedule", "NoExecute", "None"),
    "operator": ("Exists", "Equal", "In", "NotIn", "DoesNotExist"),
}
_OPTIONAL: Final = frozenset(
    (
        *("requestPolicy", "validRange", "default", "min", "max", "step", "capacity", "compatibilityGroups", "taints"),
        *("tolerations", "selectors", "nodeName", "consumesCounters", "bindingConditions", "attributes"),
    )
)
"""Fields that may go."""
_KEPT: Final = frozenset(("resourceSliceCount", "shareID", "version", "requests"))
_OTHER: Final = {"matchAttribute": "distinctAttribute", "distinctAttribute": "matchAttribute"}


def make_crossed(seed: int) -> Json:
    """A case in the format of the golden vectors, without the answer."""
    dice = Dice(seed)
    pod, cluster, third = (copy.deepcopy(dice.pick(_vectors())) for _ in range(3))
    if dice.chance(0.4):
        cluster = copy.deepcopy(pod)
    features = dice.pick((pod, cluster, third)).get("features")
    slices, allocated, claims = cluster["resourceSlices"], cluster["allocatedClaims"], pod["claims"]
    classes = [*pod["deviceClasses"], *cluster["deviceClasses"]]
    if dice.chance(0.3):
        pools = set(map(_pool, slices))
        slices += [slice_ for slice_ in _renamed(third["resourceSlices"], "more-{}") if _pool(slice_) not in pools]
        allocated += third["allocatedClaims"]
    if dice.chance(0.3):
        claims += third["claims"]
        classes += third["deviceClasses"]
    case = {
        "id": f"crossed-{seed}",
        "deviceClasses": list({class_["metadata"]["name"]: class_ for class_ in classes}.values()),
        "resourceSlices": slices,
        "allocatedClaims": list(_renamed(allocated, "used-{}")),
        "claims": list(_renamed(claims, "claim-{}")),
        "nodes": cluster["nodes"],
    }
    if features is not None:
        case["features"] = features
    for _ in range(dice.pick((0, 1, 2, 3, 6))):
        _change(dice, case)
    return case


@cache
def _vectors() -> Sequence[Json]:
    return tuple(entry.value for entry in read(GOLDEN) if not isinstance(entry, Broken))


def _renamed(objects: list[Json], name: str) -> Iterator[Json]:
    """Objects of two vectors, which are called the same there, told apart."""
    for number, each in enumerate(objects):
        own = name.format(number)
        yield {**each, "metadata": {**each["metadata"], "name": own, "uid": own}}


def _pool(slice_: Json) -> tuple[str, str]:
    return slice_["spec"]["driver"], slice_["spec"]["pool"]["name"]


def _change(dice: Dice, case: Json) -> None:
    """Something small about one object."""
    objects = case[dice.pick(("resourceSlices", "claims", "claims", "allocatedClaims"))]
    if not objects:
        return
    chosen = dice.pick(objects)
    parts = (chosen.get("status") or {}).get("allocation") or chosen["spec"]
    if places := list(_places(parts)):
        _change_place(dice, case, *dice.pick(places))


def _places(value: Json) -> Iterator[Place]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if key not in _KEPT:
                yield value, key
            yield from _places(inner)


def _change_place(dice: Dice, case: Json, holder: Any, key: Any) -> None:
    value = holder[key]
    if key in _OPTIONAL and dice.chance(0.3):
        del holder[key]
        return
    match value:
        case bool():
            holder[key] = not value
        case int():
            holder[key] = max(int(key == "count"), value + dice.pick((-1, 1, 2)))
        case [_, _, *_]:
            _change_list(dice, value, repeat=key != "firstAvailable")
        case str() if key in _OTHER:
            del holder[key]
            holder[_OTHER[key]] = value
        case str() if key in _WORDS:
            holder[key] = dice.pick(_WORDS[key])
        case str() if value[:1].isdigit() and isinstance(key, str):
            holder[key] = dice.pick(_AMOUNTS)
        case "All":
            holder |= {"allocationMode": "ExactCount", "count": dice.randint(1, 3)}
        case "ExactCount":
            holder[key] = "All"
            holder.pop("count", None)
        case str() if key == "deviceClassName":
            holder[key] = dice.pick([class_["metadata"]["name"] for class_ in case["deviceClasses"]])
        case str() if key == "nodeName":
            holder[key] = dice.pick(case["nodes"])["metadata"]["name"]


def _change_list(dice: Dice, several: list[Json], *, repeat: bool) -> None:
    """In another order, shorter, or with something twice, as by mistake."""
    match dice.pick(("reordered", "shorter", "twice")):
        case "twice" if repeat:
            several.append(copy.deepcopy(dice.pick(several)))
        case "shorter":
            del several[dice.randrange(len(several))]
        case _:
            dice.shuffle(several)
