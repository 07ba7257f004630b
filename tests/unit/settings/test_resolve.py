"""Where a setting comes from, and what is said of one that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from dra_operator.agent.settings import AgentSettings
from dra_operator.controller.settings import Settings
from dra_operator.settings.model import (
    Address,
    Contradiction,
    Label,
    Model,
    Seconds,
    SecondsOrNone,
    SettingError,
    settings_of,
    text_of,
    variables_of,
)
from dra_operator.settings.resolve import Origin, Resolved, resolve


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"
    OFF = "off"


class Program(Model, frozen=True, kw_only=True):
    """Settings of every type that there is."""

    owner: Annotated[Label, Meta(description="Whose.", extra={"variables": ("OWNER",)})] = "me"
    colour: Annotated[Colour, Meta(description="Which.")] = Colour.RED
    pause: Annotated[Seconds, Meta(description="How long.")] = 1.5
    hold: Annotated[SecondsOrNone, Meta(description="How long, or not at all.")] = 0.0
    loud_mode: Annotated[bool, Meta(description="Whether.")] = False
    address: Annotated[Address, Meta(description="Where.")] = ""
    file: Annotated[Path | None, Meta(description="Which file.")] = None
    count: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="How many.")] = None

    def contradictions(self) -> Iterator[Contradiction]:
        if self.loud_mode and self.colour is Colour.BLUE:
            yield Contradiction("colour", "blue is never loud; leave loud-mode out")


class Strict(Model, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="Has to be given.")]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def read(config: Path | None = None, env: dict[str, str] | None = None, **flags: str) -> Resolved[Program]:
    return resolve(Program, flags=flags, config=config, environment=env or {})


def refused(config: Path | None = None, env: dict[str, str] | None = None, **flags: str) -> tuple[str, ...]:
    with pytest.raises(SettingError) as caught:
        read(config, env, **flags)
    return caught.value.problems


# --- where from ------------------------------------------------------------------------------------------------------


def test_a_flag_comes_before_the_environment_before_the_file_before_the_default(config: Path) -> None:
    config.write_text("owner: file\ncolour: blue\npause: 3\n")
    env = {"DRA_OPERATOR_OWNER": "env", "DRA_OPERATOR_COLOUR": "off"}

    found = read(config, env, owner="flag")

    assert (found.settings.owner, found.settings.colour, found.settings.pause) == ("flag", Colour.OFF, 3.0)
    assert found.settings.loud_mode is False
    origins = {key: (one.origin, one.place) for key, one in found.given.items()}
    assert origins == {
        "owner": (Origin.FLAG, "--owner"),
        "colour": (Origin.ENVIRONMENT, "DRA_OPERATOR_COLOUR"),
        "pause": (Origin.FILE, f"{config}, line 3"),
    }


def test_the_file_may_be_named_by_the_environment_and_the_flag_names_another(config: Path, tmp_path: Path) -> None:
    config.write_text("owner: one\n")
    other = tmp_path / "other.yaml"
    other.write_text("owner: two\n")
    env = {"DRA_OPERATOR_CONFIG": str(config)}

    assert read(None, env).settings.owner == "one"
    assert read(other, env).settings.owner == "two"


def test_our_own_variable_comes_before_the_one_that_others_set_too() -> None:
    assert read(None, {"OWNER": "theirs"}).settings.owner == "theirs"
    assert read(None, {"OWNER": "theirs", "DRA_OPERATOR_OWNER": "ours"}).settings.owner == "ours"


def test_what_is_empty_is_not_set(config: Path) -> None:
    config.write_text("owner:\ncolour: null\n")
    assert read(config, {"DRA_OPERATOR_PAUSE": ""}).given == {}
    config.write_text("")
    assert read(config).given == {}


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("colour", "off", Colour.OFF),  # which YAML 1.1 takes for a boolean
        ("loud_mode", "on", True),
        ("loud_mode", "No", False),
        ("loud_mode", "1", True),
        ("pause", "2", 2.0),
        ("hold", "0", 0.0),
        ("count", "0", 0),
        ("file", "/x y", Path("/x y")),
        ("address", ":8080", ":8080"),
        ("address", "[::1]:65535", "[::1]:65535"),
        ("address", "localhost:0", "localhost:0"),
        ("owner", "0", "0"),
    ],
)
def test_a_value_means_the_same_wherever_it_stands(config: Path, field: str, text: str, value: object) -> None:
    config.write_text(f"{field.replace('_', '-')}: {text if field != 'address' else repr(text)}\n")
    for found in (
        read(config),
        read(None, {f"DRA_OPERATOR_{field.upper()}": text}),
        read(None, None, **{field: text}),
    ):
        assert getattr(found.settings, field) == value


@pytest.mark.parametrize("model", [Settings, AgentSettings])
def test_every_default_is_a_value_that_may_be_given(model: type[Model]) -> None:
    flags = {one.field: one.default_text for one in settings_of(model) if one.default_text}
    if model is AgentSettings:
        flags["node_name"] = "n"
    found = resolve(model, flags=flags, environment={}).settings
    for one in settings_of(model):
        assert one.required or getattr(found, one.field) == one.default
        assert one.help.endswith("."), one.key


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("colour", "rad", 'is not one of red, blue, off; did you mean "red"?'),
        ("colour", "green", "is not one of red, blue, off"),
        ("pause", "0", "is not a number of seconds above 0"),
        ("pause", "5m", "is not a number of seconds above 0"),
        ("pause", "nan", "is not a number of seconds above 0"),
        ("pause", "inf", "is not a number of seconds above 0"),
        ("hold", "-1", "is not a number of seconds, or 0"),
        ("loud_mode", "very", "is not true or false"),
        ("count", "1.5", "is not a whole number"),
        ("count", "-1", "is not a whole number"),
        ("address", "8080", "is not host:port, for example :8080"),
        ("address", ":65536", "is not host:port, for example :8080"),
        ("address", "http://x:80", "is not host:port, for example :8080"),
        ("owner", "No Body", "is not a DNS label (a-z, 0-9, -)"),
        ("owner", "a\n", "is not a DNS label (a-z, 0-9, -)"),
    ],
)
def test_a_wrong_value_is_named_with_its_source_and_what_it_may_be(field: str, text: str, reason: str) -> None:
    key, variable = field.replace("_", "-"), f"DRA_OPERATOR_{field.upper()}"
    assert refused(None, {variable: text}) == (f"{key}: {text!r} (environment {variable}) {reason}",)
    assert refused(None, None, **{field: text}) == (f"{key}: {text!r} (flag --{key}) {reason}",)


def test_a_wrong_value_in_the_file_is_named_with_its_line(config: Path) -> None:
    config.write_text("# ours\ncolour: rad\npause: [1]\n")
    assert refused(config) == (
        f"{config}, line 3: pause: is a list or a mapping; it has to be a number of seconds above 0",
        f"colour: 'rad' ({config}, line 2) is not one of red, blue, off; did you mean \"red\"?",
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("color: red", 'line 1: color: is no setting; did you mean "colour"?'),
        ("loud_mode: true", 'line 1: loud_mode: is no setting; did you mean "loud-mode"?'),
        ("zzz: 1", "line 1: zzz: is no setting; there are address, colour, count"),
        ("owner: a\nowner: b", "line 2: owner: is there twice, first at "),
        ("- a", "holds no settings: write one `key: value` a line"),
        ("a: [", "line 1: is no YAML: "),
        ("[a]: b", "line 1: a key is the name of a setting"),
    ],
)
def test_a_file_that_says_something_else(config: Path, text: str, complaint: str) -> None:
    config.write_text(text)
    [problem] = refused(config)
    assert complaint in problem
    assert str(config) in problem


def test_a_file_that_is_not_there(config: Path) -> None:
    assert refused(config) == (
        f"config: {str(config)!r} cannot be read: No such file or directory; name an existing YAML file",
    )


def test_a_variable_that_nobody_reads_was_meant_to_do_something() -> None:
    assert refused(None, {"DRA_OPERATOR_COLOR": "red"}) == (
        "DRA_OPERATOR_COLOR='red' in the environment is no setting; did you mean \"DRA_OPERATOR_COLOUR\"?",
    )
    assert read(None, {"DRA_OPERATOR_SANDBOX_DIR": "/x", "COLOR": "red"}).given == {}


def test_variables_of_our_other_program_are_left_to_it() -> None:
    env = {"DRA_OPERATOR_NODE_NAME": "n", "DRA_OPERATOR_GPUS": "2"}
    found = resolve(Program, environment=env, others=lambda: variables_of(AgentSettings))
    assert found.given == {}


def test_what_has_to_be_given() -> None:
    with pytest.raises(SettingError, match="name: is not set; give --name, or DRA_OPERATOR_NAME"):
        resolve(Strict, environment={})


def test_all_problems_are_told_at_once() -> None:
    assert len(refused(None, {"DRA_OPERATOR_NONE": "1"}, colour="x", pause="y")) == 3


def test_settings_that_exclude_each_other(config: Path) -> None:
    config.write_text("colour: blue\n")
    assert refused(config, None, loud_mode="true") == (
        f"colour: 'blue' ({config}, line 1): blue is never loud; leave loud-mode out",
    )


def test_nobody_waits_to_be_handed_over_where_nothing_is_gated() -> None:
    with pytest.raises(SettingError, match=r"on-no-capacity: 'handover' .* with gate off no pod waits"):
        resolve(Settings, flags={"gate": "off", "on_no_capacity": "handover"}, environment={})


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        ({"source": "nvml", "profile": "l4"}, "profile"),
        ({"gpus": "2"}, "gpus"),
        ({"control": "/x"}, "control"),
        ({"source": "simulated"}, "source"),
        ({"profile": "l4", "devices": "/x"}, "devices"),
        ({"devices": "/x", "gpus": "2"}, "gpus"),
        ({"profile": "l4", "driver_root": "/x"}, "driver-root"),
    ],
)
def test_sources_of_the_agent_that_exclude_each_other(flags: dict[str, str], key: str) -> None:
    with pytest.raises(SettingError) as caught:
        resolve(AgentSettings, flags={"node_name": "n", **flags}, environment={})
    [problem] = caught.value.problems
    assert problem.startswith(f"{key}: ")


def test_text_is_what_a_file_would_say() -> None:
    assert [text_of(one) for one in (True, Colour.OFF, 60.0, 0.1, None, Path("/x"))] == [
        "true",
        "off",
        "60",
        "0.1",
        "",
        "/x",
    ]
