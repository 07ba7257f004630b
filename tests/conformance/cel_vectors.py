"""Runs golden CEL vectors: what upstream's Go code said about a selector, against what ours says.

Two formats, whatever the file is called: `{"device": ...}` and then `{"expression", "outcome", ...}` for that device,
and upstream's own table, `{"name", "expr", ...}` with a device each. A vector is one expression, or one case of the
table. Agreement is the rule of the README beside the vectors: the same outcome, and for a selector a static cost on the
same side of the limit. Texts and other costs are only carried along.

Each selector is asked twice, as the allocator asks (compiled) and by the reference evaluator; both have to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dra_operator.api.codec import convert
from dra_operator.api.meta import ObjectMeta
from dra_operator.api.resource import BasicDevice, ResourcePool, ResourceSlice, ResourceSliceSpec
from dra_operator.cel.budget import COST_LIMIT
from dra_operator.cel.environment import STORED, Features
from dra_operator.cel.errors import CELCompileError, CELRuntimeError
from dra_operator.cel.selector import compile_selector
from dra_operator.inventory.devices import Device, UnsupportedAttribute
from tests.conformance.vectors import Broken, Json, LeftOut, NoVectorError, field, judge, read

MATCH, NO_MATCH, COMPILE_ERROR, RUNTIME_ERROR = "match", "no_match", "compile_error", "runtime_error"
OUTCOMES = (MATCH, NO_MATCH, COMPILE_ERROR, RUNTIME_ERROR)

# v0.37.2 replaced this case of the older table the vectors were made from; the README allows to leave it out.
REPLACED_UPSTREAM = "includes-function-on-very-long-list-runtime-error"


@dataclass(frozen=True)
class Verdict:
    """One vector: what upstream said and what we say."""

    id: str
    group: str
    expression: str
    wanted: str
    got: str
    wanted_message: str
    message: str
    wanted_cost: int | None
    cost: int | None
    wanted_estimate: int | None = None
    estimate: int | None = None
    reference: str = ""
    """What the reference evaluator says, where that is something else."""

    @property
    def agrees(self) -> bool:
        return not self.faults

    @property
    def faults(self) -> tuple[str, ...]:
        if self.wanted == self.got:
            return tuple(self._of_equal_outcome())
        wanted = f"{self.wanted} ({self.wanted_message})" if self.wanted_message else self.wanted
        got = f"{self.got} ({_first_line(self.message)})" if self.message else self.got
        return (f"wanted {wanted}, got {got}: {self.expression}",)

    def _of_equal_outcome(self) -> Iterator[str]:
        if self.reference:
            yield f"wanted {self.wanted}, got {self.reference} from the reference evaluator: {self.expression}"
        theirs, ours = self.wanted_estimate, self.estimate
        if theirs is not None and ours is not None and (theirs > COST_LIMIT) != (ours > COST_LIMIT):
            yield f"wanted a static cost of {theirs}, got {ours}, across the limit of {COST_LIMIT}: {self.expression}"


def run(path: Path) -> Iterator[Verdict | Broken | LeftOut]:
    """The verdicts on all vectors of a file."""
    device: Json = None
    for entry in read(path):
        if isinstance(entry, Broken):
            yield entry
        elif not isinstance(entry.value, dict):
            yield Broken(entry.place, "no vector: it is not an object")
        elif "device" in entry.value:
            device = entry.value["device"]
        elif "expr" not in entry.value:
            yield judge(_selector, {"id": entry.place, "device": device, **entry.value}, entry.place)
        elif entry.value.get("name") == REPLACED_UPSTREAM:
            yield LeftOut(REPLACED_UPSTREAM, "Kubernetes 1.37 has another case in its place")
        else:
            yield judge(_upstream_case, entry.value, str(entry.value.get("name", entry.place)))


class Answer(NamedTuple):
    """What we say about a device: `message` is the error's, the costs are of this evaluation and the static one."""

    outcome: str
    message: str = ""
    cost: int | None = None
    estimate: int | None = None
    reference: str = ""


def ask(expression: str, device: Device, features: Features = STORED) -> Answer:
    """What the compiled selector says, and the reference evaluator where it says something else."""
    try:
        selector = compile_selector(expression, features)
    except CELCompileError as error:
        return Answer(COMPILE_ERROR, str(error))
    estimate = selector.estimated_cost
    compiled, message = _tried(lambda: selector.matches(device.view))
    cost = None
    try:
        matched, cost = selector.measure(device.view)
        reference = MATCH if matched else NO_MATCH
    except (CELRuntimeError, UnsupportedAttribute):
        reference = RUNTIME_ERROR
    return Answer(compiled, message, cost, estimate, "" if reference == compiled else reference)


def _tried(matches: Callable[[], bool]) -> tuple[str, str]:
    try:
        return (MATCH if matches() else NO_MATCH), ""
    except (CELRuntimeError, UnsupportedAttribute) as error:
        return RUNTIME_ERROR, str(error)


def _selector(vector: Json) -> Verdict:
    wanted = field(vector, "outcome", str)
    if wanted not in OUTCOMES:
        raise NoVectorError(f'there is no outcome "{wanted}", only {", ".join(OUTCOMES)}')
    expression = field(vector, "expression", str)
    got = ask(expression, device_of(vector["device"]))
    return Verdict(
        id=vector["id"],
        group=vector.get("group", ""),
        expression=expression,
        wanted=wanted,
        got=got.outcome,
        wanted_message=vector.get("message", ""),
        message=got.message,
        wanted_cost=vector.get("actualCost"),
        cost=got.cost,
        wanted_estimate=vector.get("estimatedCost"),
        estimate=got.estimate,
        reference=got.reference,
    )


def _upstream_case(case: Json) -> Verdict:
    device = device_of({**case, "allowMultipleAllocations": case.get("allow")})
    expression = field(case, "expr", str)
    got = ask(expression, device, _features(case))
    wanted, wanted_message = _wanted(case)
    return Verdict(
        id=field(case, "name", str),
        group="upstream",
        expression=expression,
        wanted=wanted,
        got=got.outcome,
        wanted_message=wanted_message,
        message=got.message,
        wanted_cost=None,
        cost=got.cost,
        reference=got.reference,
    )


def _features(case: Json) -> Features:
    if not case.get("newEnv"):
        return STORED
    return Features(
        list_type_attributes=case.get("listOnly") != "false", consumable_capacity=bool(case.get("consumable"))
    )


def _wanted(case: Json) -> tuple[str, str]:
    if message := case.get("expectCompileError"):
        return COMPILE_ERROR, message
    if message := case.get("expectMatchError"):
        return RUNTIME_ERROR, message
    return (MATCH if case.get("expectMatch") else NO_MATCH), ""


def device_of(described: Json) -> Device:
    """The device as the product reads it from a slice."""
    if described is None:
        raise NoVectorError("no device comes before it")
    names = ("attributes", "capacity", "allowMultipleAllocations")
    basic = convert({"name": "device", **{name: described.get(name) for name in names}}, BasicDevice)
    driver = field(described, "driver", str)
    pool = ResourcePool(name="pool", generation=1, resource_slice_count=1)
    slice_ = ResourceSlice(metadata=ObjectMeta(), spec=ResourceSliceSpec(driver=driver, pool=pool))
    return Device(slice_, basic)


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]
