"""`make conformance`: what it says of folders of vectors, good ones and broken ones."""

from __future__ import annotations

import copy
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.__main__ import ALL_AGREE, NO_VECTOR, SOME_DIFFER, main
from tests.conformance.vectors import Json

ROOT = Path(__file__).parents[2]

DEVICE = {
    "driver": "gpu.example.com",
    "attributes": {"model": {"string": "a100"}},
    "capacity": {"memory": {"value": "40Gi"}},
}
MATCHES = {"group": "g", "expression": 'device.driver == "gpu.example.com"', "outcome": "match"}
DIFFERS = {"group": "g", "expression": 'device.driver == "gpu.example.com"', "outcome": "no_match"}
TABLE_CASE = {
    "name": "missing-attribute",
    "expr": 'device.attributes["gpu.example.com"].nope == 1',
    "expectMatchError": "no such key: nope",
    "expectMatch": False,
    "newEnv": False,
    "consumable": False,
    **DEVICE,
    "allow": None,
    "listOnly": None,
    "cost": "5",
}


def case(id_: str = "one-gpu") -> Json:
    """One claim for one of the two GPUs of node-1; node-2 has none. Go writes empty lists as null."""
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}}
    here = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}]}
    result = {"request": "gpu", "driver": "gpu.example.com", "pool": "node-1", "device": "gpu-0"}
    return {
        "id": id_,
        "deviceClasses": [{"metadata": {"name": "gpu"}, "spec": {}}],
        "resourceSlices": [
            {
                "metadata": {"name": "slice"},
                "spec": {
                    "driver": "gpu.example.com",
                    "nodeName": "node-1",
                    "pool": {"name": "node-1", "generation": 1, "resourceSliceCount": 1},
                    "devices": [{"name": "gpu-0"}, {"name": "gpu-1"}],
                },
            }
        ],
        "allocatedClaims": None,
        "claims": [
            {"metadata": {"name": "claim"}, "spec": {"devices": {"requests": [request], "constraints": None}}},
        ],
        "nodes": [{"metadata": {"name": "node-1"}}, {"metadata": {"name": "node-2"}}],
        "want": {
            "nodes": {
                "node-1": {
                    "outcome": "allocated",
                    "allocations": [{"devices": {"results": [result]}, "nodeSelector": here}],
                },
                "node-2": {"outcome": "unschedulable", "error": "cannot allocate all claims"},
            }
        },
    }


def changed(id_: str, *path: str | int, to: Json) -> Json:
    """The case with another value at a place."""
    other = case(id_)
    place = other
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return other


def lines(*vectors: Json) -> str:
    return "".join(f"{json.dumps(vector)}\n" for vector in vectors)


def run(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str]]:
    status = main([str(folder), *options])
    return status, capsys.readouterr().out.splitlines()


def test_every_kind_of_file_is_run_gzipped_or_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cel_selectors.jsonl").write_text(lines({"device": DEVICE}, MATCHES, MATCHES))
    (tmp_path / "cel_more.jsonl.gz").write_bytes(gzip.compress(lines({"device": DEVICE}, MATCHES).encode()))
    (tmp_path / "cel_table.json").write_text(json.dumps([TABLE_CASE]))
    (tmp_path / "cel_table.json.gz").write_bytes(gzip.compress(json.dumps([TABLE_CASE]).encode()))
    (tmp_path / "allocator_some.jsonl").write_text(lines(case()))
    (tmp_path / "allocator_some.jsonl.gz").write_bytes(gzip.compress(lines(case("a"), case("b")).encode()))
    (tmp_path / "README.md").write_text("no vectors")
    (tmp_path / "others.jsonl").write_text("not ours")

    assert run(tmp_path, capsys) == (
        ALL_AGREE,
        [
            "allocator_some.jsonl: passed 1 of 1",
            "allocator_some.jsonl.gz: passed 2 of 2",
            "cel_more.jsonl.gz: passed 1 of 1",
            "cel_selectors.jsonl: passed 2 of 2",
            "cel_table.json: passed 1 of 1",
            "cel_table.json.gz: passed 1 of 1",
            "conformance: 8 of 8",
        ],
    )


def test_a_selector_that_differs_says_what_was_wanted_and_what_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cel_selectors.jsonl").write_text(lines({"device": DEVICE}, MATCHES, DIFFERS))
    (tmp_path / "cel_table.json").write_text(json.dumps([{**TABLE_CASE, "expectMatchError": "", "expectMatch": True}]))

    assert run(tmp_path, capsys) == (
        SOME_DIFFER,
        [
            "cel_selectors.jsonl: passed 1 of 2",
            '  line 3: wanted no_match, got match: device.driver == "gpu.example.com"',
            "cel_table.json: passed 0 of 1",
            "  missing-attribute: wanted match, got runtime_error (no such key: nope): "
            'device.attributes["gpu.example.com"].nope == 1',
            "conformance: 1 of 3",
        ],
    )


def test_a_static_cost_counts_only_across_the_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    within, across = {**MATCHES, "estimatedCost": 900_000}, {**MATCHES, "estimatedCost": 1_000_001}
    (tmp_path / "cel_selectors.jsonl").write_text(lines({"device": DEVICE}, within, across))

    status, (first, fault, _) = run(tmp_path, capsys)

    assert (status, first) == (SOME_DIFFER, "cel_selectors.jsonl: passed 1 of 2")
    assert fault.strip().startswith("line 3: wanted a static cost of 1000001, got ")


ALLOCATIONS = ("want", "nodes", "node-1", "allocations", 0)


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        pytest.param(
            changed("x", "want", "nodes", "node-2", to={"outcome": "error", "error": "class not found"}),
            "x: node-2: wanted error, got unschedulable",
            id="another outcome",
        ),
        pytest.param(
            changed("x", "want", "nodes", "node-1", to={"outcome": "unschedulable"}),
            "x: node-1: wanted unschedulable, got allocated",
            id="an allocation where upstream has none",
        ),
        pytest.param(
            changed("x", *ALLOCATIONS, "devices", "results", 0, "request", to="gpu/large"),
            "x: node-1: wanted allocated, got one with a fault: chose",
            id="another subrequest",
        ),
        pytest.param(
            changed("x", *ALLOCATIONS, "devices", "results", 0, "adminAccess", to=True),
            "x: node-1: wanted allocated, got one with a fault: same devices, but",
            id="the same devices otherwise",
        ),
    ],
)
def test_a_case_agrees_only_if_all_its_nodes_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], vector: Json, said: str
) -> None:
    (tmp_path / "allocator_x.jsonl").write_text(lines(case(), vector))

    status, (first, fault, last) = run(tmp_path, capsys)

    assert (status, first, last) == (SOME_DIFFER, "allocator_x.jsonl: passed 1 of 2", "conformance: 1 of 2")
    assert fault.strip().startswith(said)


def test_another_device_will_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vector = changed("x", *ALLOCATIONS, "devices", "results", 0, "device", to="gpu-1")
    (tmp_path / "allocator_x.jsonl").write_text(lines(vector))

    assert run(tmp_path, capsys)[0] == ALL_AGREE


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "x"', "line 1: no JSON: "),
        pytest.param("[" * 100_000, "line 1: no JSON: ", id="nested deeply"),
        ("[]", "line 1: no vector: "),
        ("{}", 'line 1: no vector: the field "id" is missing'),
        (lines({"id": "x", "want": 7}), 'x: no vector: the field "want" cannot be 7'),
        (lines(changed("x", "claims", to={})), 'x: no vector: the field "claims" cannot be {}'),
        (lines(changed("x", "nodes", to=[])), "x: no vector: it has the nodes [], and answers for "),
        (lines(changed("x", "want", "nodes", "node-1", to={"outcome": "maybe"})), 'x: no vector: there is no outcome'),
        (lines({**case("x"), "features": {"partitionable": True}}), 'x: no vector: there is no feature "partition'),
        (lines(changed("x", "claims", 0, "spec", to=[])), "x: ended by ValidationError: "),
    ],
)  # fmt: skip
def test_a_broken_line_fails_by_name_and_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    (tmp_path / "allocator_x.jsonl").write_text(f"{line.rstrip()}\n{lines(case())}")

    status, (first, fault, last) = run(tmp_path, capsys)

    assert (status, first, last) == (SOME_DIFFER, "allocator_x.jsonl: passed 1 of 2", "conformance: 1 of 2")
    assert fault.strip().startswith(said)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("cel_x.jsonl", lines(MATCHES).encode(), "line 1: no vector: no device comes before it"),
        ("cel_x.jsonl", lines({"device": {}}, MATCHES).encode(), 'line 2: no vector: the field "driver" is missing'),
        ("cel_x.jsonl", lines({"device": DEVICE}, {**MATCHES, "outcome": "yes"}).encode(), "line 2: no vector: "),
        ("cel_x.jsonl", b"\xff\xfe\n", "line 1: no JSON: "),
        ("cel_x.json", b"{}", "the file: a list of vectors is needed, not {}"),
        ("cel_x.json", b"[7]", "item 1: no vector: "),
        ("cel_x.json.gz", b"not gzip", "line 1: the file cannot be read on from here: "),
        ("allocator_x.jsonl.gz", gzip.compress(lines(case()).encode())[:-20], "line 1: the file cannot be read on "),
    ],
)  # fmt: skip
def test_a_broken_file_fails_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)

    status, (first, fault, last) = run(tmp_path, capsys)

    assert (status, first, last) == (SOME_DIFFER, f"{name}: passed 0 of 1", "conformance: 0 of 1")
    assert fault.strip().startswith(said)


def test_a_limit_keeps_the_list_of_what_differs_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cel_x.jsonl").write_text(lines({"device": DEVICE}, *[DIFFERS] * 5))

    status, said = run(tmp_path, capsys, "--limit", "2")

    assert status == SOME_DIFFER
    assert [line.split(":")[0].strip() for line in said[1:-1]] == ["line 2", "line 3", "and 3 more (LIMIT=5 shows all)"]


def test_the_case_that_kubernetes_replaced_is_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replaced = {**copy.deepcopy(TABLE_CASE), "name": "includes-function-on-very-long-list-runtime-error"}
    (tmp_path / "cel_x.json").write_text(json.dumps([replaced, TABLE_CASE]))

    status, (first, note, _) = run(tmp_path, capsys)

    assert (status, first) == (ALL_AGREE, "cel_x.json: passed 1 of 1")
    assert note.strip().startswith("left out includes-function-on-very-long-list-runtime-error: ")


def test_a_folder_without_vectors_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "nowhere", capsys)[0] == NO_VECTOR

    (tmp_path / "notes.jsonl").write_text("{}\n")
    (tmp_path / "cel_x.jsonl").write_text(lines({"device": DEVICE}))

    status, said = run(tmp_path, capsys)

    assert (status, said[-1]) == (NO_VECTOR, "conformance: 0 of 0")


def test_make_finds_a_folder_from_where_its_caller_stands(tmp_path: Path) -> None:
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "allocator_x.jsonl").write_text(lines(case()))
    command = [sys.executable, "-m", "tests.conformance", "vectors", "--near", str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "conformance: 1 of 1"
