"""Runs golden CEL vectors: what upstream's Go code said about a selector, against what ours says.

Two formats, whatever the file is called: `{"device": ...}` and then `{"expression", "outcome", ...}` for that device,
and upstream's own table, `{"name", "expr", ...}` with a device each. A vector is one expression, or one case of the
table. Agreement is the rule of the README beside the vectors: the same outcome; a static cost on the same side of the
limit; of the table the texts of errors too. Other texts and costs are only carried along.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dra_operator.api.codec import convert
from dra_operator.api.meta import ObjectMeta
from dra_operator.api.resource import BasicDevice, ResourcePool, ResourceSlice, ResourceSliceSpec
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

    @property
    def agrees(self) -> bool:
        return self.wanted == self.got

    @property
    def faults(self) -> tuple[str, ...]:
        if self.agrees:
            return ()
        wanted = f"{self.wanted} ({self.wanted_message})" if self.wanted_message else self.wanted
        got = f"{self.got} ({_first_line(self.message)})" if self.message else self.got
        return (f"wanted {wanted}, got {got}: {self.expression}",)


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


def outcome(expression: str, device: Device, features: Features = STORED) -> tuple[str, str, int | None]:
    """What we say: the outcome, the error's text, the cost."""
    try:
        selector = compile_selector(expression, features)
    except CELCompileError as error:
        return COMPILE_ERROR, str(error), None
    try:
        matched, cost = selector.measure(device.view)
    except (CELRuntimeError, UnsupportedAttribute) as error:
        return RUNTIME_ERROR, str(error), None
    return (MATCH if matched else NO_MATCH), "", cost


def _selector(vector: Json) -> Verdict:
    wanted = field(vector, "outcome", str)
    if wanted not in OUTCOMES:
        raise NoVectorError(f'there is no outcome "{wanted}", only {", ".join(OUTCOMES)}')
    expression = field(vector, "expression", str)
    got, message, cost = outcome(expression, device_of(vector["device"]))
    return Verdict(
        id=vector["id"],
        group=vector.get("group", ""),
        expression=expression,
        wanted=wanted,
        got=got,
        wanted_message=vector.get("message", ""),
        message=message,
        wanted_cost=vector.get("actualCost"),
        cost=cost,
    )


def _upstream_case(case: Json) -> Verdict:
    device = device_of({**case, "allowMultipleAllocations": case.get("allow")})
    expression = field(case, "expr", str)
    got, message, cost = outcome(expression, device, _features(case))
    wanted, wanted_message = _wanted(case)
    return Verdict(field(case, "name", str), "upstream", expression, wanted, got, wanted_message, message, None, cost)


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
