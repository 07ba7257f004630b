"""Mutated objects, our answers and a real API server's: `make validation-diff SEEDS=2000`.

Each seed is one object: an accepted one of the corpus in which a few things were changed (a field dropped, added, of
another type; a name, a limit, a quantity, an expression that is nearly right), created or put in the place of the
accepted one. Prints what differs, with the seed, and
ends with 1 if anything does. `FIRST=seed` begins elsewhere, and with `SEEDS=1` replays a single one. `ALPHA=1` enables
the features that are off by default, on both sides.

The order of errors is compared only where it is defined: the API server walks maps in any order.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import random
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from dra_operator.sandbox.controlplane import Options
from dra_operator.validation import Gates
from dra_operator.validation.documents import KINDS
from dra_operator.validation.shapes import Form, Shape, Type, Wire, shape_of
from tests.controlplane import running_control_plane
from tests.corpus import Answer, Case, load_answers, load_corpus
from tests.verdicts import ALPHA_GATES, bench, gate_flags, our_answer

_NAMES: Final = (
    *("", "a", "A", "-a", "a-", "a.b", "a..b", "a_b", "_a", "1a", "a b", " a", "ü", "gpu", "gpu-0", "node-1", "big"),
    *("x" * 16, "x" * 32, "x" * 33, "x" * 63, "x" * 64, "x" * 65, "x" * 253, "x" * 254, "/", "/a", "a/", "a/b"),
    *(
        "a/b/c",
        "gpu/big",
        "alt/big",
        "alt/small",
        "example.com/a",
        "Example.com/a",
        "gpu.example.com",
        "kubernetes.io/a",
    ),
    *(
        "gpu.example.com/index",
        "requests.a/b",
        "x" * 64 + "/a",
        "a/" + "x" * 33,
        "a/" + "x" * 64,
        "resource.kubernetes.io/numaNode",
    ),
    *(
        "metadata.name",
        "cpu",
        "memory",
        "hugepages-2Mi",
        "11111111-2222-4333-8444-555555555555",
        "10.0.0.1/24",
        "fe80::/10",
    ),
)
_WORDS: Final = (
    *("All", "ExactCount", "Exists", "Equal", "DoesNotExist", "In", "NotIn", "Gt", "Lt", "NoSchedule", "NoExecute"),
    *("None", "FromClaim", "FromClass", "True", "False", "Unknown", "Ready", "*", "NodePrepareResources"),
    *("NodeUnprepareResources", "true", "1.2.3", "1.2", "1.2.3-a.01", "1.2.3+b", "v1.2.3", "2026-01-01T00:00:00Z"),
)
_QUANTITIES: Final = (
    *(
        "0",
        "1",
        "-1",
        "1Gi",
        "40Gi",
        "1.5",
        "500m",
        "1500m",
        "1n",
        "0.1n",
        "1e3",
        "1E",
        "1k",
        "1.0",
        "+1",
        "2",
        "3",
        "10",
    ),
    *(
        "1.500",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "1Ki",
        "0.5Ki",
        "7",
        "x",
        "1 ",
        ".5",
    ),
    *("", "-", "1e", "1e400", "-1e400", "1e-400", "5.", "1K", "0x1", "100Ei", "1Mi1", "1_000", "٣"),
)
_EXPRESSIONS: Final = (
    "true",
    "device.driver == 'gpu.example.com'",
    "device.attributes['a.b'].x == 1",
    "device.attributes['a.b'].x",
    "device.capacity['a.b'].x",
    "device.capacity['a.b'].x.compareTo(quantity('1Gi')) > 0",
    "device.capacity['a.b'].x > quantity('1Gi')",
    "has(device.attributes['a.b'].x)",
    "device.attributes['a.b'].exists(k, k == 'x')",
    "[1, 2].all(x, x > 0)",
    "device.foo",
    "1",
    "'a'",
    "1 + 'a' == 2",
    "device.driver.startsWith('a') && size(device.attributes) > 2",
    "foo(1)",
    "semver('1')",
    "semver('1.0.0').isGreaterThan(semver('0.1.0'))",
    "((true",
    "true)",
    "",
    " ",
    "// comment",
    "device.allowMultipleAllocations == true",
    "dyn(1)",
    "null",
    "device == device",
    "cel.bind(x, 1, x == 1)",
    "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, a + b + c != '')))",  # costs too much
    "'" + "x" * 10250 + "' == ''",
)
_INTEGERS: Final = (0, 1, -1, 2, 3, 7, 8, 31, 32, 33, 64, 2**31, 2**63 - 1, -(2**63), 2**63)
_TYPE_CHANGES: Final[tuple[Any, ...]] = (None, True, 0, 5, -1, 1.5, "", "5", "a", [], ["a"], {}, {"a": 1}, [[]], [{}])
_WORDS_OF_EXPRESSIONS: Final = re.compile(r"compilation failed: .*", re.DOTALL)


class Mutator:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def mutate(self, case: Case) -> Case:
        object_ = copy.deepcopy(case.object)
        for _ in range(self._rng.choice((1, 1, 1, 2, 2, 3, 5))):
            self._change(object_, KINDS[case.kind])
        meta = object_.get("metadata")
        if isinstance(meta, dict):
            object_["metadata"] = {name: value for name, value in meta.items() if name not in _KEPT}
        return replace(case, object=object_)

    def _change(self, object_: dict[str, Any], kind: type[Wire]) -> None:
        places = [place for place in _places(object_, Type(Form.STRUCT, "", struct=kind)) if place[1] not in _KEPT]
        if not places:
            return
        holder, key, type_ = self._rng.choice(places)
        change = self._rng.random()
        if change < 0.12:
            del holder[key]
        elif change < 0.20:
            holder[key] = copy.deepcopy(self._rng.choice(_TYPE_CHANGES))
        elif change < 0.30 and isinstance(holder, list):
            copies = self._rng.choice((1, 1, 2, 8, 31, 32, 33, 129))
            holder.extend(self._again(holder[key], i) for i in range(copies))
        elif change < 0.38 and isinstance(holder, dict) and type_ is not None:
            holder[self._rng.choice(_NAMES)] = holder.pop(key)
        elif change < 0.70 and isinstance(holder[key], dict) and _struct(type_) is not None:
            self._add_field(holder[key], shape_of(_struct(type_) or Wire))
        elif type_ is None:
            holder[key] = copy.deepcopy(self._rng.choice(_TYPE_CHANGES))
        else:
            holder[key] = self._value(type_, str(key), 2)

    def _again(self, element: Any, i: int) -> Any:
        element = copy.deepcopy(element)
        if isinstance(element, dict) and isinstance(element.get("name"), str) and self._rng.random() < 0.7:
            element["name"] += f"-{i}"
        return element

    def _add_field(self, holder: dict[str, Any], shape: Shape) -> None:
        if self._rng.random() < 0.05:
            holder[self._rng.choice(string.ascii_letters) + "field"] = 1
            return
        field = self._rng.choice(shape.fields)
        if field.json_name not in _KEPT:
            holder[field.json_name] = self._value(field.type, field.json_name, 3)

    def _value(self, type_: Type, name: str, depth: int) -> Any:
        """A value of the type, often a sensible one."""
        rng = self._rng
        match type_.form:
            case Form.STRING if name == "expression":
                return rng.choice(_EXPRESSIONS)
            case Form.STRING:
                return rng.choice(_NAMES if rng.random() < 0.6 else _WORDS)
            case Form.INT:
                return rng.choice(_INTEGERS)
            case Form.BOOL:
                return rng.random() < 0.5
            case Form.QUANTITY:
                return rng.choice(_QUANTITIES) if rng.random() < 0.9 else rng.choice((1, 1.5, -3, 10**20))
            case Form.TIME:
                return rng.choice(("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+01:00", "2026-01-01", "", "x", None))
            case Form.RAW:
                return copy.deepcopy(rng.choice(({}, {"a": 1}, [], "a", None, {"a": "x" * 10240})))
            case Form.LIST:
                assert type_.element is not None
                return [self._value(type_.element, name, depth - 1) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
            case Form.MAP:
                assert type_.element is not None
                names = rng.choices(_NAMES, k=rng.choice((0, 1, 1, 2)))
                return {each: self._value(type_.element, name, depth - 1) for each in names}
        assert type_.struct is not None
        shape = shape_of(type_.struct)
        if depth <= 0:
            return {}
        chance = rng.choice((0.3, 0.6, 0.9))
        chosen = [each for each in shape.fields if rng.random() < chance]
        return {each.json_name: self._value(each.type, each.json_name, depth - 1) for each in chosen}


_KEPT: Final = ("apiVersion", "kind", "managedFields", "resourceVersion", "namespace", "deletionTimestamp", "uid")
"""Changes here are about the request, or about what only the API server knows."""


def _struct(type_: Type | None) -> type[Wire] | None:
    return type_.struct if type_ is not None else None


def _places(value: Any, type_: Type | None) -> Iterator[tuple[Any, Any, Type | None]]:
    """Everything that can be changed: what holds it, its key, its type."""
    if isinstance(value, dict):
        shape = shape_of(type_.struct) if type_ is not None and type_.struct is not None else None
        for key, each in value.items():
            field = shape.by_json_name.get(key) if shape is not None else None
            inner = field.type if field is not None else (type_.element if type_ is not None else None)
            yield value, key, inner
            if key != "parameters":
                yield from _places(each, inner)
    elif isinstance(value, list):
        for i, each in enumerate(value):
            inner = type_.element if type_ is not None else None
            yield value, i, inner
            yield from _places(each, inner)


def make_case(seed: int, accepted: Sequence[Case]) -> Case:
    rng = random.Random(seed)
    chosen = rng.choice(accepted)
    case = Mutator(rng).mutate(chosen)
    if case.before is None and rng.random() < 0.2:
        case = replace(case, before={name: value for name, value in chosen.object.items() if name != "status"})
    if case.before is None:
        return case
    # What is there has a name of its own, and a change is sent to that name.
    named = {**case.before.get("metadata", {}), "name": f"seed-{seed}"}
    named.pop("ownerReferences", None)  # the garbage collector would take it away meanwhile
    meta = case.object.get("metadata")
    changed = {**(meta if isinstance(meta, dict) else {}), "name": f"seed-{seed}"}
    return replace(case, before={**case.before, "metadata": named}, object={**case.object, "metadata": changed})


def compare(ours: Answer, theirs: Answer) -> str:
    """What differs: nothing, the verdict, the first field, the fields, the words."""
    mine, other = _comparable(ours), _comparable(theirs)
    if sorted(mine.errors) == sorted(other.errors) and mine.message == other.message:
        return ""
    if ours.accepted != theirs.accepted:
        return "verdict"
    if bool(ours.message) != bool(theirs.message):
        return "kind of refusal"
    if ours.first_field != theirs.first_field:
        return "first field"
    if _fields(ours) != _fields(theirs):
        return "fields"
    return "words"


def _comparable(answer: Answer) -> Answer:
    """What a compiler says about an expression is compared elsewhere."""
    return Answer(tuple(_WORDS_OF_EXPRESSIONS.sub("", each) for each in answer.errors), answer.message)


def _fields(answer: Answer) -> list[str]:
    return sorted(error.partition(": ")[0] for error in answer.errors)


async def main(first: int, seeds: int, also: Sequence[str]) -> int:
    gates = Gates.of(also=tuple(also))
    verdicts = load_answers()
    accepted = [case for case in load_corpus().values() if verdicts[case.name].accepted and not case.deleting]
    # Of pods we know a part; generated names are random.
    accepted = [case for case in accepted if case.kind != "Pod" and case.object]
    accepted = [case for case in accepted if "generateName" not in case.object.get("metadata", {})]
    accepted = [case for case in accepted if our_answer(case, gates).accepted]
    cases = {seed: make_case(seed, accepted) for seed in range(first, first + seeds)}
    kinds: Counter[str] = Counter()
    options = Options(api_server_flags=gate_flags(also))
    async with running_control_plane(options, manifests=False) as plane, bench(plane, accepted) as server:
        pending = list(cases.items())
        for start in range(0, len(pending), 200):
            part = pending[start : start + 200]
            answers = await asyncio.gather(*(server.answer(case) for _, case in part))
            for (seed, case), theirs in zip(part, answers, strict=True):
                ours = our_answer(case, gates)
                difference = compare(ours, theirs)
                kinds[difference or "the same"] += 1
                if difference:
                    print(f"--- seed {seed}: {difference} ({case.name})")
                    print(f"object: {json.dumps(case.object, ensure_ascii=False)[:1500]}")
                    print(f"server: {theirs}\nours:   {ours}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    return 0 if set(kinds) <= {"the same"} else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--alpha", action="store_true", help="with the features that are off by default")
    arguments = parser.parse_args()
    raise SystemExit(asyncio.run(main(arguments.first, arguments.seeds, ALPHA_GATES if arguments.alpha else ())))
