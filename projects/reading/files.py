"""Single files of an archive, as text."""

from __future__ import annotations

from registry_core.sandbox.archives import FILE, Archive
from registry_core.sandbox.errors import TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from registry_core.sandbox.child import Input

_UNPACKED_MAX_BYTES = 128 << 20
_ENTRIES_MAX = 10_000
_FILE_MAX_BYTES = 1 << 20


def chart_files(source: Input, *, names: list[str]) -> dict[str, str]:
    """Files of a Helm chart, by lower-case name. Files of charts inside it are ignored."""

    def wanted(path: str) -> str | None:
        name = path.partition("/")[2].lower()
        return name if path.count("/") == 1 and name in names else None

    return {name: as_text(content) for name, content in first_files(source, wanted, at_most=len(names)).items()}


def document(source: Input, *, name: str) -> str:
    """The first file named `name`, with any extension and in any folder; empty if there is none."""

    def wanted(path: str) -> str | None:
        return name if is_called(path, name) else None

    return as_text(first_files(source, wanted, at_most=1).get(name, b""))


def text(source: Input) -> str:
    """The content as text."""
    return as_text(source.read_all())


def first_files(source: Input, wanted: Callable[[str], str | None], *, at_most: int) -> dict[str, bytes]:
    """The first regular file for each name that `wanted` returns for a path. Raises TooLarge or Damaged."""
    found: dict[str, bytes] = {}
    archive = Archive(source, unpacked_bytes=_UNPACKED_MAX_BYTES, entries=_ENTRIES_MAX)
    for entry in archive:
        name = wanted(entry.path) if entry.kind == FILE and entry.path else None
        if name is not None and name not in found:
            if entry.size_bytes > _FILE_MAX_BYTES:
                raise TooLarge(f"{entry.path[:100]} is larger than {_FILE_MAX_BYTES} bytes")
            found[name] = archive.content(_FILE_MAX_BYTES)
        if len(found) == at_most:
            break
    return found


def is_called(path: str, name: str) -> bool:
    """Whether the file's name without extension is `name`, in any folder."""
    return path.rpartition("/")[2].lower().partition(".")[0] == name


def as_text(content: bytes) -> str:
    """Decoded as UTF-8, with invalid bytes replaced."""
    return content.decode("utf-8", errors="replace")
