"""Writes crds/ and the admission policies beside them, from the types and rules of `dra_operator.validation`.

python -m tools.crds          writes the files
python -m tools.crds --check  ends with 1 if one is not as it would be written
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import yaml
from tools.crds.kinds import DEFINITIONS
from tools.crds.policies import POLICIES, defaults

ROOT: Final = Path(__file__).parents[2]
_MADE: Final = "# Made by `make manifests` from operator/dra_operator/validation; edit that instead.\n"
_WIDTH: Final = 120


class _Dumper(yaml.SafeDumper):
    """The same part twice is written twice: a reader and kubectl see all of it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def files() -> dict[str, str]:
    """Texts by path."""
    found = {f"crds/{each.kind.plural}.yaml": _text(each.manifest()) for each in DEFINITIONS}
    listed = "".join(f"  - {Path(name).name}\n" for name in sorted(found))
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    return {
        **found,
        "crds/kustomization.yaml": _MADE + head + listed,
        "manifests/components/crd/policies.yaml": _text(*(each for policy in POLICIES for each in policy.manifests())),
        "manifests/components/crd/defaults.yaml": _text(*defaults()),
    }


def _text(*manifests: Any) -> str:
    return _MADE + "---\n".join(
        yaml.dump(each, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True) for each in manifests
    )


def main() -> None:
    wanted = files()
    folder = ROOT / "crds"
    present = {f"crds/{path.name}" for path in folder.glob("*.yaml")}
    if "--check" in sys.argv[1:]:
        stale = [
            name for name, text in wanted.items() if not (ROOT / name).exists() or (ROOT / name).read_text() != text
        ]
        if stale := sorted({*stale, *(present - wanted.keys())}):
            sys.exit(f"crds: not up to date: {', '.join(stale)}; run: make manifests")
        return
    for name in present - wanted.keys():
        (ROOT / name).unlink()
    for name, text in wanted.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text)


if __name__ == "__main__":
    main()
