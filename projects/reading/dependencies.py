"""The dependencies of a Helm chart: from Chart.yaml, or from requirements.yaml of a chart of API version 1."""

from __future__ import annotations

import yaml

from projects.reading.files import chart_files
from registry_core.sandbox.errors import Damaged, TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from registry_core.sandbox.child import Input

YAML_MAX_BYTES = 64 << 10
_FIELDS = ("name", "version", "repository")


def dependencies(source: Input) -> list[dict[str, str]]:
    """The dependencies in their order. Raises TooLarge or Damaged."""
    files = chart_files(source, names=["chart.yaml", "requirements.yaml"])
    listed = _listed(files.get("chart.yaml", "")) or _listed(files.get("requirements.yaml", ""))
    return [{name: _scalar(entry.get(name)) for name in _FIELDS} for entry in listed]


def _listed(text: str) -> list[dict[str, Any]]:
    if len(text) > YAML_MAX_BYTES:
        raise TooLarge(f"the chart's YAML is larger than {YAML_MAX_BYTES} bytes")
    try:
        document = yaml.load(text, Loader=_TextLoader)  # noqa: S506 it makes nothing but text, lists and dicts
    except yaml.YAMLError:
        raise Damaged("the chart's list of dependencies is not YAML that can be read") from None
    entries = document.get("dependencies") if isinstance(document, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _scalar(value: object) -> str:
    return value if isinstance(value, str) else ""


class _TextLoader(yaml.BaseLoader):
    """Reads all scalars as text, ignores tags, and refuses aliases: a few lines of aliases can expand to more than fits
    into memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)
