"""What more there is to see of an artifact: an image's history, the files of a chart or a model.

Read from the blobs when someone asks for one of them, never for a list, and only from blobs of the same repository.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml
from django.db import connection

from projects.archives import FILE_MAX_BYTES, BadArchive, read_files
from registry_core.content.descriptions import CHART, CONFIG_MAX_BYTES, IMAGE, MODEL
from registry_core.content.models import Artifact, Blob
from registry_core.digests import Digest, DigestError
from registry_core.errors import InvalidInput, NotFound
from registry_core.storage.stores import store_named

JSON: Final = "application/json; charset=utf-8"
PLAIN: Final = "text/plain; charset=utf-8"
MARKDOWN: Final = "text/markdown; charset=utf-8"
FILE_PATH: Final = "org.cncf.model.filepath"
DEPENDENCIES_MAX: Final = 1000
_CHART_LAYERS: Final = frozenset(
    {"application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/tar+gzip", "application/x-tar"}
)
_MODEL_DOCUMENT: Final = "application/vnd.cncf.model.doc.v1."
Layer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Addition:
    """A text, and what kind of text."""

    content: bytes
    media_type: str


def addition_of(artifact: Artifact, name: str) -> Addition:
    """The addition of that name.

    Raises InvalidInput where artifacts of its kind have no such addition, NotFound where it has none, or BadArchive.
    """
    kind = artifact.manifest.kind
    read = _READERS.get((kind, name))
    if read is None:
        raise InvalidInput(f"artifacts of the kind {kind or 'UNKNOWN'} have no addition {name[:40]!r}")
    return read(artifact)


def _build_history(artifact: Artifact) -> Addition:
    config = _document(artifact).get("config")
    if not isinstance(config, dict):
        raise NotFound("an index has no history of its own: look at its children")
    document = _object(b"".join(_blob(artifact, config, limit_bytes=CONFIG_MAX_BYTES)))
    history = document.get("history")
    return Addition(json.dumps(history if isinstance(history, list) else []).encode(), JSON)


def _values(artifact: Artifact) -> Addition:
    return Addition(_chart_file(artifact, "values.yaml"), PLAIN)


def _chart_readme(artifact: Artifact) -> Addition:
    return Addition(_chart_file(artifact, "readme.md"), MARKDOWN)


def _dependencies(artifact: Artifact) -> Addition:
    """Those of Chart.yaml, or of requirements.yaml where the chart is of the first version."""
    files = _chart_files(artifact, {"chart.yaml", "requirements.yaml"})
    listed = _yaml_list(files.get("chart.yaml", b"")) or _yaml_list(files.get("requirements.yaml", b""))
    known = [{name: str(entry.get(name) or "") for name in ("name", "version", "repository")} for entry in listed]
    return Addition(json.dumps(known).encode(), JSON)


def _chart_file(artifact: Artifact, name: str) -> bytes:
    return _text(_chart_files(artifact, {name}).get(name, b""))


def _chart_files(artifact: Artifact, names: set[str]) -> dict[str, bytes]:
    """Files of the chart itself, by name in lower case; those of the charts in it are deeper."""
    layer = _layer(artifact, lambda layer: layer["mediaType"] in _CHART_LAYERS)

    def is_wanted(path: str) -> bool:
        return path.count("/") == 1 and path.partition("/")[2].lower() in names

    files = read_files(_blob(artifact, layer), is_wanted=is_wanted, at_most=len(names))
    return {path.partition("/")[2].lower(): content for path, content in files.items()}


def _license(artifact: Artifact) -> Addition:
    return Addition(_model_document(artifact, "license"), PLAIN)


def _model_readme(artifact: Artifact) -> Addition:
    return Addition(_model_document(artifact, "readme"), MARKDOWN)


def _model_document(artifact: Artifact, name: str) -> bytes:
    def is_it(path: str) -> bool:
        return path.rpartition("/")[2].lower().partition(".")[0] == name

    layer = _layer(artifact, lambda layer: layer["mediaType"].startswith(_MODEL_DOCUMENT) and is_it(_file_path(layer)))
    if layer["mediaType"].startswith(_MODEL_DOCUMENT + "tar"):
        return _text(next(iter(read_files(_blob(artifact, layer), is_wanted=is_it, at_most=1).values()), b""))
    return _text(b"".join(_blob(artifact, layer, limit_bytes=FILE_MAX_BYTES)))


def _files(artifact: Artifact) -> Addition:
    """The tree of the model's files, as the annotations of its layers name them."""
    root: dict[str, Any] = {}
    for layer in _layers(artifact):
        folders = [part for part in _file_path(layer).split("/") if part not in {"", ".", ".."}]
        if not folders or len(folders) > 64:
            continue
        _put_file(root, folders, layer["size"])
    return Addition(json.dumps(_tree(root)).encode(), JSON)


def _put_file(root: dict[str, Any], path: list[str], size: int) -> None:
    folder = root
    for name in path[:-1]:
        inner = folder.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        folder = inner
    folder.setdefault(path[-1], size)


def _tree(folder: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "type": "directory", "children": _tree(inner)}
        if isinstance(inner, dict)
        else {"name": name, "type": "file", "size": inner}
        for name, inner in folder.items()
    ]


_READERS: Final[dict[tuple[str, str], Callable[[Artifact], Addition]]] = {
    (IMAGE, "build_history"): _build_history,
    (CHART, "values.yaml"): _values,
    (CHART, "readme.md"): _chart_readme,
    (CHART, "dependencies"): _dependencies,
    (MODEL, "license"): _license,
    (MODEL, "readme.md"): _model_readme,
    (MODEL, "files"): _files,
}


def _document(artifact: Artifact) -> dict[str, Any]:
    return _object(bytes(artifact.manifest.content))


def _object(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise BadArchive("the artifact's config is not JSON that can be read") from None
    return document if isinstance(document, dict) else {}


def _layers(artifact: Artifact) -> list[Layer]:
    layers: list[Layer] = _document(artifact).get("layers") or []
    return layers


def _layer(artifact: Artifact, is_it: Callable[[Layer], bool]) -> Layer:
    found = next(filter(is_it, _layers(artifact)), None)
    if found is None:
        raise NotFound("this artifact has no layer in which that would be")
    return found


def _file_path(layer: Layer) -> str:
    annotations = layer.get("annotations")
    path = annotations.get(FILE_PATH) if isinstance(annotations, dict) else None
    return path if isinstance(path, str) else ""


def _blob(artifact: Artifact, descriptor: Layer, *, limit_bytes: int | None = None) -> Iterator[bytes]:
    """The bytes of a blob of the artifact's repository. Raises NotFound, or BadArchive when there are too many."""
    try:
        digest = Digest.parse(str(descriptor.get("digest")))
    except DigestError:
        raise NotFound("the manifest does not say where that is") from None
    with connection.cursor() as cursor:
        cursor.execute(_BLOB, [digest.raw, Blob.State.LIVE, artifact.repository_id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound(f"this repository has no blob {digest}")
    if limit_bytes is not None and row[2] > limit_bytes:
        raise BadArchive(f"the blob {digest} is larger than {limit_bytes} bytes, which is too much to be shown")
    return store_named(row[0]).read(row[1])


_BLOB: Final = """
    SELECT blob.store, blob.storage_key, blob.size_bytes FROM content_blob AS blob
    JOIN content_repositoryblob AS link ON link.blob_id = blob.id
    WHERE blob.digest = %s AND blob.state = %s AND link.repository_id = %s
"""


def _text(content: bytes) -> bytes:
    """As UTF-8, whatever it was."""
    return content.decode("utf-8", errors="replace").encode()


def _yaml_list(content: bytes) -> list[dict[str, Any]]:
    try:
        document = yaml.load(content, Loader=_PlainLoader)  # noqa: S506 a safe loader without aliases
    except (yaml.YAMLError, ValueError, RecursionError):
        raise BadArchive("the chart's list of dependencies is not YAML that can be read") from None
    entries = document.get("dependencies") if isinstance(document, dict) else None
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return found[:DEPENDENCIES_MAX]


class _PlainLoader(yaml.SafeLoader):
    """Without aliases: a few lines of them unfold to more than memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)
