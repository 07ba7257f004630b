"""YAML and JSON from anyone: what is read, and where a mistake is said to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dra_operator.query.documents import MAX_DEPTH, InputError, parse_documents, read_documents


def parse(text: str) -> list[Any]:
    return [document.content for document in parse_documents(text.encode(), "file.yaml")]


def refusal(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(InputError) as caught:
        list(parse_documents(data, "file.yaml"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("text", "text"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("12", 12),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("40Gi", "40Gi"),
        ("1.2.3", "1.2.3"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("-", None),
        ("!!str 12", "12"),
        ("1_000", 1000),
    ],
)
def test_scalars_are_read_as_the_api_servers_tools_read_them(scalar: str, value: Any) -> None:
    [document] = parse(f"key: {scalar}") if scalar != "-" else [{"key": None}]
    assert document == {"key": value}


def test_documents_know_the_line_where_they_begin() -> None:
    found = list(parse_documents(b"# a comment\n---\na: 1\n---\n---\n\nb: 2\n", "file.yaml"))
    assert [(one.line, one.content) for one in found] == [(3, {"a": 1}), (7, {"b": 2})]


def test_json_is_read_and_so_is_yaml_in_flow_style() -> None:
    assert parse('{"a": [1, true, null]}') == [{"a": [1, True, None]}]
    assert parse("{a: [1, x]}") == [{"a": [1, "x"]}]


def test_anchors_aliases_and_merges() -> None:
    assert parse("a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}") == [
        {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 2}, "c": {"q": 3, "p": 1}}
    ]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: 1\nb: [1,\nc: 2\n", "file.yaml:", "is no YAML"),
        ("a:\n\tb: 1\n", "file.yaml:2:1", "is no YAML"),
        ("a: 1\nb: 2\na: 3\n", "file.yaml:3:1", "'a' is given twice"),
        ("a: *nobody\n", "file.yaml:1:4", "*nobody has no anchor"),
        ("a: &x [*x]\n", "file.yaml:1:8", "*x has no anchor that is complete"),
        ("[a]: 1\n", "file.yaml:1:", "a key has to be a scalar"),
        ("a: {<<: 1}\n", "file.yaml:1:9", "has to be a mapping"),
        ("{{ .Values.x }}\n", "file.yaml:1:", ""),
    ],
)
def test_a_mistake_is_told_with_file_line_and_column(text: str, where: str, what: str) -> None:
    message = refusal(text)
    assert message.startswith(where)
    assert what in message


def test_what_is_no_text_is_refused() -> None:
    assert refusal(b"a: 1\nb: \xff\n") == "file.yaml:2: is not UTF-8 text (byte 0xff)"
    assert "is not allowed" in refusal(b"a: \x00\n")


def test_a_bomb_of_aliases_is_refused_before_it_goes_off() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "once its aliases are expanded" in refusal("\n".join(lines))


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 5_000 + "x"])
def test_depth_is_bounded(text: str) -> None:
    assert f"deeper than {MAX_DEPTH} levels" in refusal(text)


@pytest.mark.parametrize("text", ["a: NUMBER", '{"a": NUMBER}', "a: -NUMBER.5", "a: 0xNUMBER"])
def test_a_number_that_is_none_any_more_is_refused(text: str) -> None:
    assert "a number of more than 400 digits" in refusal(text.replace("NUMBER", "9" * 5_000))


def test_text_may_be_of_digits(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"a: '{'9' * 5_000}'")
    [document] = read_documents([tmp_path])
    assert document.content == {"a": "9" * 5_000}


def test_deep_json_is_bounded_too() -> None:
    assert "levels" in refusal('{"a":' * 100_000)


def test_folders_give_their_manifests_in_order_and_others_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("n: 2")
    (tmp_path / "a.json").write_text('{"n": 1}')
    (tmp_path / "notes.txt").write_text("n: 0")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "c.yml").write_text("n: 3")

    assert [one.content["n"] for one in read_documents([tmp_path])] == [1, 2]
    assert [one.content["n"] for one in read_documents([tmp_path], recursive=True)] == [1, 2, 3]


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: no such file or folder"):
        list(read_documents([tmp_path / "nowhere.yaml"]))
    with pytest.raises(InputError, match="the folder has no"):
        list(read_documents([tmp_path]))
