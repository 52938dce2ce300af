"""The functions that the sandbox runs for this app, with their results and limits."""

from __future__ import annotations

from typing import Final

from registry_core.content.descriptions import CONFIG_MAX_BYTES
from registry_core.sandbox.reading import Limits, Reader

MANIFEST_MAX_BYTES: Final = 64 << 20  # the largest value of the setting manifest_limit_bytes
TEXT_MAX_BYTES: Final = 1 << 20
_MANIFEST: Final = Limits(input_bytes=MANIFEST_MAX_BYTES)
CHART_FILES: Final = Reader("projects.reading.files", "chart_files", dict[str, str])
DOCUMENT: Final = Reader("projects.reading.files", "document", str)
TEXT: Final = Reader("projects.reading.files", "text", str, Limits(input_bytes=TEXT_MAX_BYTES))
DEPENDENCIES: Final = Reader("projects.reading.dependencies", "dependencies", list[dict[str, str]])
HISTORY: Final = Reader(
    "projects.reading.json_documents", "history", bytes, Limits(input_bytes=CONFIG_MAX_BYTES, output_bytes=8 << 20)
)
MODEL_DOCUMENTS: Final = Reader("projects.reading.json_documents", "model_documents", list[tuple[str, str]], _MANIFEST)
MODEL_FILES: Final = Reader("projects.reading.json_documents", "model_files", bytes, _MANIFEST)
