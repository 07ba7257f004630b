"""Objects of resource.k8s.io/v1, valid and invalid, each for one rule, and what the API server answers to them.

Pure data: the YAML files beside this one are lists of cases; whoever needs objects of which the verdict is known
(validation, schemas, admission) reads them by `load_corpus`. A case has

    name        of the case, and of its object unless that has one
    object      or `text`: JSON as it is sent, where a dict could not say it
    before      the object that is there already: the case is a change of it
    part        `status`: the change is one of the status
    deleting    the object that is there has a deletion timestamp
    namespace   labels of the namespace

The API server's answers are in `answers.jsonl`: for a refused object its errors, field by field, or its whole message.
They were recorded from Kubernetes 1.37 (`make validation-record`); a test compares them with a living one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parent
ANSWERS: Final = FOLDER / "answers.jsonl"
_FIELDS: Final = {"name", "object", "text", "before", "part", "deleting", "namespace"}


@dataclass(frozen=True)
class Answer:
    """Nothing if the object is good; else errors of fields, or the whole message."""

    errors: tuple[str, ...] = ()
    message: str = ""

    @property
    def accepted(self) -> bool:
        return not self.errors and not self.message

    @property
    def first_field(self) -> str:
        return self.errors[0].partition(": ")[0] if self.errors else ""


@dataclass(frozen=True)
class Case:
    name: str
    kind: str
    object: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    before: dict[str, Any] | None = None
    part: str = ""
    deleting: bool = False
    namespace: dict[str, str] = field(default_factory=dict)


def load_corpus() -> dict[str, Case]:
    """All cases by name."""
    cases: dict[str, Case] = {}
    for file in sorted(FOLDER.glob("*.yaml")):
        for entry in yaml.load(file.read_text(), Loader=yaml.CSafeLoader):
            case = _case(entry)
            if case.name in cases:
                raise ValueError(f"{file.name}: two cases are named {case.name}")
            cases[case.name] = case
    return cases


def load_answers() -> dict[str, Answer]:
    """The API server's recorded answers, by the names of the cases."""
    lines = map(json.loads, ANSWERS.read_text().splitlines())
    return {line["name"]: Answer(tuple(line.get("errors", ())), line.get("message", "")) for line in lines}


def save_answers(answers: dict[str, Answer]) -> None:
    """Record them; an accepted object has a line without errors."""
    lines = []
    for name, answer in answers.items():
        entry: dict[str, Any] = {"name": name}
        if answer.errors:
            entry["errors"] = answer.errors
        if answer.message:
            entry["message"] = answer.message
        lines.append(json.dumps(entry, ensure_ascii=False))
    ANSWERS.write_text("\n".join(lines) + "\n")


def _case(entry: dict[str, Any]) -> Case:
    unknown = set(entry) - _FIELDS
    if unknown:
        raise ValueError(f"case {entry['name']}: unknown fields {sorted(unknown)}")
    return Case(
        name=entry["name"],
        kind=entry["text"].partition('"kind":"')[2].partition('"')[0] if "text" in entry else entry["object"]["kind"],
        object=entry.get("object", {}),
        text=entry.get("text", ""),
        before=entry.get("before"),
        part=entry.get("part", ""),
        deleting=entry.get("deleting", False),
        namespace=entry.get("namespace", {}),
    )
