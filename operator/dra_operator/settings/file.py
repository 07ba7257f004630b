"""A settings file: YAML, one key per setting, spelled as the flag is without its dashes.

    gate: policy
    on-no-capacity: handover
    handover-after: 60

Values are taken as they are written and read by the same rules as flags, so `gate: off` is the word and no boolean.
A key that is null, or is followed by nothing, is not set.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from dra_operator.settings.model import SettingError

_NULL: Final = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the file."""

    key: str
    text: str | None
    """None where it is no scalar: nothing that a setting could be."""
    place: str


def read_file(path: Path) -> list[Entry]:
    """Raises `SettingError` if there is no such file, or it holds something else."""
    try:
        root = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise SettingError(f"{path}{line}: is no YAML: {error.problem}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingError(f"config: {str(path)!r} cannot be read: {reason}; name an existing YAML file") from None
    if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == _NULL):
        return []
    if not isinstance(root, yaml.MappingNode):
        raise SettingError(f"{path}: holds no settings: write one `key: value` a line")
    entries: dict[str, Entry] = {}
    for key, value in root.value:
        place = f"{path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise SettingError(f"{place}: a key is the name of a setting")
        if key.value in entries:
            raise SettingError(f"{place}: {key.value}: is there twice, first at {entries[key.value].place}")
        if value.tag != _NULL:
            text = value.value if isinstance(value, yaml.ScalarNode) else None
            entries[key.value] = Entry(key.value, text, place)
    return list(entries.values())
