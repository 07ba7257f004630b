"""Writes the generated pages of docs/reference: commands, reason codes, metrics, attributes of devices.

python tools/docs.py          writes them
python tools/docs.py --check  ends with 1 if one is not as it would be written
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from dra_operator.agent import described
from dra_operator.agent.gpu import Naming
from dra_operator.agent.mig import Partition, partition_device
from dra_operator.agent.profiles import Identity, load_profile, profile_names
from dra_operator.agent.settings import AgentSettings
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import BasicDevice
from dra_operator.cli.main import COMMANDS
from dra_operator.controller.metrics import Metrics
from dra_operator.controller.settings import Settings
from dra_operator.lifecycle.view import View
from dra_operator.settings.model import settings_of

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
_SOURCE = ROOT / "operator" / "dra_operator" / "api" / "reasons.py"
_MADE = "<!-- Made by `make docs`; edit the code instead. -->\n"


def pages() -> dict[str, str]:
    """Text by file name."""
    return {
        "cli.md": "".join(_cli()),
        "settings.md": "".join(_settings()),
        "reasons.md": "".join(_reasons()),
        "metrics.md": "".join(_metrics()),
        "attributes.md": "".join(_attributes()),
    }


def _cli() -> Iterator[str]:
    yield f"# Commands\n\n{_MADE}\n"
    yield "Exit codes: 0 it is well, 1 something waits or is wrong, 2 the input cannot be used.\n"
    for name in COMMANDS:
        yield f"\n## dra-operator {name}\n\n```text\n{_help(name)}\n```\n"


def _settings() -> Iterator[str]:
    yield f"# Settings\n\n{_MADE}\n"
    yield (
        "A setting is given as a flag, as an environment variable, or in a YAML file that `--config FILE` (or "
        "`DRA_OPERATOR_CONFIG`)\nnames; the first of these that says something counts, then the default. In the file "
        "a key is the flag without its dashes:\n\n"
        "```yaml\non-no-capacity: handover\nhandover-after: 120\n```\n\n"
        "`--print-config` prints what is in force and where each value comes from (`-o json`, `-o yaml`), and does "
        "nothing else.\nWhat cannot be is refused with exit code 2: unknown keys and variables, values of the wrong "
        "kind or out of range, and\nsettings that exclude each other. An empty variable, and a key without a value, "
        "are not set. Times are in seconds.\n"
    )
    for title, model in (("dra-operator run", Settings), ("dra-operator agent", AgentSettings)):
        yield f"\n## {title}\n\n| flag and key | variable | value | default | what |\n|---|---|---|---|---|\n"
        for one in settings_of(model):
            variables = ", ".join(f"`{name}`" for name in one.variables)
            default = "**required**" if one.required else f"`{one.default_text}`" if one.default_text else ""
            yield f"| `{one.flag}` | {variables} | {one.expected} | {default} | {one.help} |\n"


def _help(name: str) -> str:
    module, attribute, _ = COMMANDS[name]
    target = getattr(importlib.import_module(module), attribute)
    app = target
    if not isinstance(target, typer.Typer):
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command()(target)
    else:
        app.rich_markup_mode = None
    result = CliRunner().invoke(app, ["--help"], prog_name=f"dra-operator {name}", terminal_width=100)
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def _reasons() -> Iterator[str]:
    yield f"# Reason codes\n\n{_MADE}\n"
    yield (
        "What a pod is told: the reason of its condition `dra-operator.io/DevicesAllocated` and of its Events, and the "
        "code in the\nanswers of `explain` and `simulate`. The sentence beside it has the facts: names and counts.\n\n"
    )
    yield "| code | what it means, and what helps |\n|---|---|\n"
    meanings = reason_meanings()
    for reason in Reason:
        yield f"| `{reason.value}` | {' '.join(meanings[reason.name].split())} |\n"


def reason_meanings() -> Mapping[str, str]:
    """The text below each member of the enum: what a comment would be, kept where the code is."""
    found: dict[str, str] = {}
    [body] = [one.body for one in ast.parse(_SOURCE.read_text()).body if isinstance(one, ast.ClassDef)]
    for member, text in pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            name: Any = member.targets[0]
            found[name.id] = str(text.value.value)
    return found


def _metrics() -> Iterator[str]:
    yield f"# Metrics\n\n{_MADE}\n"
    yield "Served at `/metrics` of `--metrics-address`. Labels are bounded: no names of pods or claims.\n\n"
    yield "| name | type | labels | what |\n|---|---|---|---|\n"
    metrics = Metrics(View())
    metrics.watch_queue(lambda: 0, lambda: 0)
    metrics.watch_requests(lambda: 0)
    for family in sorted(metrics.registry.collect(), key=lambda one: one.name):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"| `{name}` | {family.type} | {_labels(metrics, family.name)} | {_text(family.documentation)} |\n"


def _text(documentation: str) -> str:
    return documentation.replace("<", "&lt;").replace(">", "&gt;")


def _labels(metrics: Metrics, name: str) -> str:
    collectors: Any = metrics.registry._collector_to_names
    for collector, names in collectors.items():
        if name in names and hasattr(collector, "_labelnames"):
            return ", ".join(f"`{label}`" for label in collector._labelnames)
    family = next(one for one in metrics.registry.collect() if one.name == name)
    return ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ()))


def _attributes() -> Iterator[str]:
    yield f"# Attributes and capacities of GPUs\n\n{_MADE}\n"
    yield (
        "What the node agent publishes of each device. In selectors they go by the driver's name:\n"
        "`device.attributes['gpu.dra-operator.io'].productName`; those with a domain by that:\n"
        "`device.attributes['resource.kubernetes.io'].numaNode`. What a GPU cannot tell is left out, so ask with `.?`\n"
        "or `in` where your cluster has such. Versions compare by `.compareTo(semver('570.0.0'))`, amounts by\n"
        "`.compareTo(quantity('40Gi'))`.\n"
    )
    types = attribute_types()
    yield "\n## Attributes\n\n| name | type | unit | what | source |\n|---|---|---|---|---|\n"
    yield from (_row(name, types[name], one) for name, one in described.ATTRIBUTES.items())
    yield (
        "\nUnder NVIDIA's names (`--attributes=nvidia`, or `--driver-name gpu.nvidia.com`) whole GPUs have also:\n\n"
        "| name | type | unit | what | source |\n|---|---|---|---|---|\n"
    )
    yield from (_row(name, types[name], one) for name, one in described.NVIDIA_ATTRIBUTES.items())
    yield "\n## Capacities\n\n| name | type | unit | what | source |\n|---|---|---|---|---|\n"
    yield from (_row(name, "quantity", one) for name, one in described.CAPACITIES.items())
    yield "\nUnder NVIDIA's names partitions that exist have also:\n\n"
    yield "| name | type | unit | what | source |\n|---|---|---|---|---|\n"
    yield from (_row(name, "quantity", one) for name, one in described.NVIDIA_CAPACITIES.items())


def attribute_types() -> Mapping[str, str]:
    """By name, as the profiles' devices have them."""
    types: dict[str, str] = {}
    for device in all_devices():
        for name, value in (device.attributes or {}).items():
            kind = "version" if value.version_value is not None else "string"
            types[name] = "int" if value.int_value is not None else kind
    return types


def all_devices() -> Iterator[BasicDevice]:
    """Of every kind that the agent can publish, a partition that exists included."""
    for name in profile_names():
        profile = load_profile(name)
        if profile.gpu is None:
            continue
        for naming in Naming:
            yield from profile.devices_of("node", naming=naming).devices
            if profile.partitions:
                made = Partition(profile=profile.partitions[0], start=profile.partitions[0].starts[0], uuid="MIG-0")
                yield partition_device(profile.gpu_of(Identity("node", 0)), made, naming)


def _row(name: str, type_: str, one: described.Description) -> str:
    return f"| `{name}` | {type_} | {one.unit} | {one.meaning} | {_text(one.source)} |\n"


def main() -> int:
    os.environ["COLUMNS"] = "100"
    wrong = []
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        file = FOLDER / name
        if "--check" in sys.argv:
            if not file.exists() or file.read_text() != text:
                wrong.append(str(file.relative_to(ROOT)))
        else:
            file.write_text(text)
    if wrong:
        print(f"out of date: {', '.join(wrong)}; run `make docs`")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
