"""The reference of settings for people: docs/settings.md, a sample portolan.yml, and `portolan settings --explain`.

All of it is generated from the fields of `registry_core.config.Config`.
"""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from registry_core.config import Config, Setting
from registry_core.config.sources import PREFIX

_UNITS: Final = {"_s": "seconds", "_ms": "milliseconds", "_bytes": "bytes", "_days": "days", "_percent": "per cent"}
_LIMITS: Final = {"ge": "at least", "le": "at most"}
_WIDTH: Final = 120
_HEAD: Final = """\
# Settings

Made from `registry_core/config/__init__.py` by `make settings`; do not edit. How they are set is in the
[administrator's guide](admin-guide.md#settings): the variable of a setting is `PORTOLAN_` and its name in capitals. A
secret can be read from a file, which `PORTOLAN_<NAME>_FILE` names.

| setting | kind | default | what for |
|---|---|---|---|
"""
_SAMPLE_HEAD: Final = """\
# All settings of Portolan with their defaults; a line without # counts. Variables PORTOLAN_<NAME> go before this file.
# Relative paths are relative to the folder of this file.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting: its key, purpose, type and limits. `default` is empty if there is none."""

    key: str
    description: str
    kind: str
    default: str
    is_secret: bool


def entries() -> Iterator[Entry]:
    """Every setting, in the order of the fields."""
    for key, field in Config.model_fields.items():
        is_secret = SecretStr in get_args(field.annotation)
        # The result of a default factory differs between machines; such a setting's description states its default.
        default = "" if field.default_factory else _default(field.default)
        yield Entry(key, field.description or "", _kind(key, field), default, is_secret)


def markdown() -> str:
    """docs/settings.md."""
    return _HEAD + "".join(
        f"| `{entry.key}` | {_cell(_kind_of(entry))} | {f'`{entry.default}`' if entry.default else '-'} "
        f"| {_cell(entry.description)} |\n"
        for entry in entries()
    )


def sample() -> str:
    """deploy/portolan.yml: every setting is commented out."""
    return _SAMPLE_HEAD + "".join(
        "\n" + "\n".join(_comment(f"{entry.description} {_kind_of(entry).capitalize()}."))
        + f"\n#{entry.key}: {entry.default}".rstrip() + "\n"
        for entry in entries()
    )  # fmt: skip


def explained(settings: list[Setting]) -> str:
    """Each setting with its value, the value's origin, and its purpose."""
    by_key = {entry.key: entry for entry in entries()}
    return "\n".join(
        "\n".join(
            [
                f"{setting.key} = {setting.value}  ({setting.source})",
                *textwrap.wrap(by_key[setting.key].description, 96, initial_indent="    ", subsequent_indent="    "),
                f"    {_kind_of(by_key[setting.key])}; default: {by_key[setting.key].default or 'none'}",
                f"    {PREFIX}{setting.key.upper()}\n",
            ]
        )
        for setting in settings
    )


def write() -> None:
    """Write the generated files of the repository."""
    root = Path(__file__).parents[2]
    (root / "docs" / "settings.md").write_text(markdown())
    (root / "deploy" / "portolan.yml").write_text(sample())


def _kind_of(entry: Entry) -> str:
    return f"{entry.kind}, secret" if entry.is_secret else entry.kind


def _kind(key: str, field: FieldInfo) -> str:
    """The type of the setting, with unit and limits."""
    kind = type_name(field.annotation)
    unit = next((unit for suffix, unit in _UNITS.items() if key.endswith(suffix)), None)
    limits = [
        f"{word} {getattr(rule, name)}"
        for rule in field.metadata
        for name, word in _LIMITS.items()
        if getattr(rule, name, None) is not None
    ]
    return ", ".join([unit if unit and kind == "number" else kind, *limits])


def type_name(annotation: Any) -> str:
    """What people call the values of an annotation."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(str(argument) for argument in arguments)
    if origin in {Union, types.UnionType}:
        return type_name(next(argument for argument in arguments if argument is not types.NoneType))
    names = {
        int: "number",
        bool: "true or false",
        Path: "path",
        tuple: "list",
        list: "list",
        dict: "object",
        Mapping: "object",
    }
    return names.get(origin or annotation, "text")


def _default(value: Any) -> str:
    """The default; empty also if it is computed when a process starts: the description states it."""
    if value is PydanticUndefined or value is None or value == () or value == "":
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


if __name__ == "__main__":
    write()
