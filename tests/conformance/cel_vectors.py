"""Runs golden CEL vectors: what upstream's Go code said about a selector, against what ours says.

Two formats (`README.md` beside the vectors describes them): `cel_selectors.jsonl`, one device and many expressions, and
`cel_upstream_cases.json`, upstream's own table with a device each. `run(path)` yields a `Verdict` per vector, whichever
format the file has; outcomes are compared, texts and costs are only carried along.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version
from dra_operator.cel.device import AttributeValue, DeviceView
from dra_operator.cel.environment import STORED, Features
from dra_operator.cel.errors import CELCompileError, CELRuntimeError
from dra_operator.cel.selector import compile_selector

MATCH, NO_MATCH, COMPILE_ERROR, RUNTIME_ERROR = "match", "no_match", "compile_error", "runtime_error"

# v0.37.2 replaced this case of the older table the vectors were made from.
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


def run(path: Path) -> Iterator[Verdict]:
    """The verdicts on all vectors of a file."""
    return _run_upstream_cases(path) if path.suffix == ".json" else _run_selectors(path)


def outcome(expression: str, device: DeviceView, features: Features = STORED) -> tuple[str, str, int | None]:
    """What we say: the outcome, the error's text, the cost."""
    try:
        selector = compile_selector(expression, features)
    except CELCompileError as error:
        return COMPILE_ERROR, str(error), None
    try:
        matched, cost = selector.measure(device)
    except CELRuntimeError as error:
        return RUNTIME_ERROR, str(error), None
    return (MATCH if matched else NO_MATCH), "", cost


def _run_selectors(path: Path) -> Iterator[Verdict]:
    with path.open() as lines:
        device = _device(json.loads(next(lines))["device"])
        for number, line in enumerate(lines, start=2):
            vector = json.loads(line)
            got, message, cost = outcome(vector["expression"], device)
            yield Verdict(
                id=f"{path.name}:{number}",
                group=vector["group"],
                expression=vector["expression"],
                wanted=vector["outcome"],
                got=got,
                wanted_message=vector.get("message", ""),
                message=message,
                wanted_cost=vector.get("actualCost"),
                cost=cost,
            )


def _run_upstream_cases(path: Path) -> Iterator[Verdict]:
    for case in json.loads(path.read_text()):
        if case["name"] == REPLACED_UPSTREAM:
            continue
        device = _device({**case, "allowMultipleAllocations": case["allow"]})
        got, message, cost = outcome(case["expr"], device, _features(case))
        wanted, wanted_message = _wanted(case)
        if got == wanted and wanted_message not in message:
            got = f"{got}: {message}"  # the table asks for a substring of the message too
        yield Verdict(case["name"], "upstream", case["expr"], wanted, got, wanted_message, message, None, cost)


def _features(case: dict[str, Any]) -> Features:
    if not case["newEnv"]:
        return STORED
    return Features(list_type_attributes=case["listOnly"] != "false", consumable_capacity=bool(case["consumable"]))


def _wanted(case: dict[str, Any]) -> tuple[str, str]:
    if message := case.get("expectCompileError"):
        return COMPILE_ERROR, message
    if message := case.get("expectMatchError"):
        return RUNTIME_ERROR, message
    return (MATCH if case["expectMatch"] else NO_MATCH), ""


def _device(described: dict[str, Any]) -> DeviceView:
    return DeviceView(
        described["driver"],
        {name: _attribute(value) for name, value in described["attributes"].items()},
        {name: Quantity.from_json(value["value"]) for name, value in described["capacity"].items()},
        allow_multiple_allocations=bool(described.get("allowMultipleAllocations")),
    )


def _attribute(value: dict[str, Any]) -> AttributeValue:
    ((kind, content),) = value.items()
    match kind:
        case "version":
            return Version.parse(content)
        case "versions":
            return tuple(Version.parse(text) for text in content)
        case "bools" | "ints" | "strings":
            return tuple(content)
        case _:
            scalar: AttributeValue = content
            return scalar
