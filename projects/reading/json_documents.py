"""JSON documents: the history of an image, and the files of a model."""

from __future__ import annotations

import json

from projects.reading.files import is_called
from registry_core.sandbox.errors import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from registry_core.sandbox.child import Input

_FILE_PATH = "org.cncf.model.filepath"
_DOCUMENT = "application/vnd.cncf.model.doc.v1."
_DEPTH_MAX = 64


def history(source: Input) -> bytes:
    """The history of an image's config, as JSON. Raises TooLarge or Damaged."""
    found = _object(source).get("history")
    return json.dumps(found if isinstance(found, list) else []).encode()


def model_documents(source: Input, *, name: str) -> list[tuple[str, str]]:
    """Media type and digest of the layers of a model's manifest that hold the document `name`. Raises as `history`."""
    documents = [layer for layer in _layers(source) if str(layer.get("mediaType")).startswith(_DOCUMENT)]
    return [(layer["mediaType"], str(layer.get("digest"))) for layer in documents if is_called(_path(layer), name)]


def model_files(source: Input) -> bytes:
    """The tree of a model's files, as JSON, from the annotations of its layers. Raises as `history`."""
    root: dict[str, Any] = {}
    for layer in _layers(source):
        path = [part for part in _path(layer).split("/") if part not in {"", ".", ".."}]
        if path:
            # Deeper files are shown at this level, under the rest of their path.
            folders, rest = path[: _DEPTH_MAX - 1], path[_DEPTH_MAX - 1 :]
            _put_file(root, [*folders, "/".join(rest)] if rest else folders, layer.get("size"))
    return json.dumps(_tree(root)).encode()


def _put_file(root: dict[str, Any], path: list[str], size: object) -> None:
    folder = root
    for name in path[:-1]:
        inner = folder.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        folder = inner
    folder.setdefault(path[-1], size if isinstance(size, int) else 0)


def _tree(folder: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "type": "directory", "children": _tree(inner)}
        if isinstance(inner, dict)
        else {"name": name, "type": "file", "size": inner}
        for name, inner in folder.items()
    ]


def _layers(source: Input) -> list[dict[str, Any]]:
    layers = _object(source).get("layers")
    return [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []


def _path(layer: dict[str, Any]) -> str:
    annotations = layer.get("annotations")
    path = annotations.get(_FILE_PATH) if isinstance(annotations, dict) else None
    return path if isinstance(path, str) else ""


def _object(source: Input) -> dict[str, Any]:
    try:
        document = json.loads(source.read_all(), parse_constant=_no_constant)
    except ValueError:
        raise Damaged("it is not JSON that can be read") from None
    return document if isinstance(document, dict) else {}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
