"""The file that says which simulated nodes there are: its mistakes are told, none of them takes the machine along."""

from __future__ import annotations

from pathlib import Path

import pytest

from dra_operator.sandbox.inventory import InventoryError, expand, read_inventory

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
)


def refusal(folder: Path, text: str) -> str:
    file = folder / "inventory.yaml"
    file.write_text(text)
    with pytest.raises(InventoryError) as caught:
        expand(read_inventory(file))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "once its aliases are expanded"),
        ("[" * 100_000, "nested deeper than 100 levels"),
        (f"nodes: [{{name: a, profile: l4, count: {'9' * 5_000}}}]", "a number of more than 400 digits"),
        ("nodes: [{name: a, profile: l4, count: 1000000000}]", "more than 50,000 nodes"),
        ("nodes: [{name: a, profile: l4, gpus: 1000000000}]", "node group 'a': more than 1,000,000 devices"),
        ("nodes: [{name: a, profile: l4, gpus: -1}]", "must not be negative"),
        ("nodes: [{name: a, profile: l40}]", "no profile 'l40'"),
        ("nodes: [{name: a, profile: ../../../etc/passwd}]", "no profile '../../../etc/passwd'"),
        ("nodes: [{name: a, profile: l4, gpu: 1}]", "unknown field `gpu`"),
        ("nodes: []\n---\nnodes: []", "has to be one document"),
        ("", "has to be one document"),
        ("nodes: [", "is no YAML"),
    ],
)
def test_a_mistake_in_the_file(tmp_path: Path, text: str, why: str) -> None:
    assert why in refusal(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="no such file"):
        read_inventory(tmp_path / "missing.yaml")
