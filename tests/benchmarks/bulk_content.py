"""What a bulk load is made of: projects of repositories of artifacts, of the kinds that a registry really holds.

Everything follows from the set's name and a number, so that the same artifacts can be loaded as rows here and pushed
through the registry's operations there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from registry_core.content.parsing import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, ParsedManifest, parse_manifest
from registry_core.digests import Digest
from tests.benchmarks.scale import DataSet

BASE_LAYERS = 40  # that the images of all repositories share
SHARED_IMAGES = 100  # that many repositories hold under the same digest
_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
_HELM_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_EMPTY = "application/vnd.oci.empty.v1+json"
_SIGNATURE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_SBOM = "application/spdx+json"


@dataclass(frozen=True)
class LoadedBlob:
    """A blob: its bytes, which a bulk load never stores, and their digest."""

    content: bytes

    @cached_property
    def digest(self) -> Digest:
        return Digest.of(self.content)

    def descriptor(self, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": str(self.digest), "size": len(self.content)}


@dataclass(frozen=True)
class LoadedArtifact:
    """An artifact as somebody would push it: first its blobs, then its manifest under its tags."""

    manifest: ParsedManifest
    blobs: tuple[LoadedBlob, ...]
    tags: tuple[str, ...]

    @property
    def config(self) -> bytes | None:
        """The bytes of its config; None when its manifest has none."""
        wanted = self.manifest.config.digest if self.manifest.config else None
        return next((blob.content for blob in self.blobs if blob.digest == wanted), None)


class BulkContent:
    """The artifacts of a data set."""

    def __init__(self, data_set: DataSet) -> None:
        self._set = data_set
        self._base = [LoadedBlob(self._words("base layer", number) * 3) for number in range(BASE_LAYERS)]
        self._empty = LoadedBlob(b"{}")
        self._shared = [self._shared_image(number) for number in range(SHARED_IMAGES)]
        self._kinds: tuple[Callable[[str, list[ParsedManifest]], tuple[ParsedManifest, tuple[LoadedBlob, ...]]], ...]
        self._kinds = (
            self._image, self._image, self._index, self._signature, self._docker_image,
            self._chart, self._image, self._sbom, self._image,
        )  # fmt: skip

    def projects(self) -> list[str]:
        """The names of the projects."""
        return self._set.project_names()

    def repositories(self) -> list[str]:
        """The names of the repositories in each project, without the project's."""
        return self._set.repository_names()

    def common_blobs(self) -> list[LoadedBlob]:
        """The blobs that every set has."""
        return [*self._base, self._empty]

    def artifacts(self, project: str, repository: str) -> Iterator[LoadedArtifact]:
        """The artifacts of one repository, in the order in which they can be pushed."""
        pushed: list[ParsedManifest] = []
        for number in range(self._set.artifacts):
            place = f"{project}/{repository}#{number}"
            turn, kind = divmod(number, len(self._kinds) + 1)
            if kind < len(self._kinds):
                manifest, blobs = self._kinds[kind](place, pushed)
            elif turn < SHARED_IMAGES:
                manifest, blobs = self._shared[(_hash(f"{project}/{repository}") + turn) % SHARED_IMAGES]
            else:  # a repository holds an image once
                manifest, blobs = self._image(place, pushed)
            pushed.append(manifest)
            yield LoadedArtifact(manifest, blobs, self._tags(number))

    def _tags(self, number: int) -> tuple[str, ...]:
        return tuple(f"v{number // 100}.{number % 100}.{patch}" for patch in range(self._set.tags))

    def _image(self, place: str, _pushed: list[ParsedManifest]) -> tuple[ParsedManifest, tuple[LoadedBlob, ...]]:
        return self._built(place, OCI_MANIFEST, _OCI_CONFIG, _OCI_LAYER)

    def _docker_image(self, place: str, _pushed: list[ParsedManifest]) -> tuple[ParsedManifest, tuple[LoadedBlob, ...]]:
        return self._built(place, DOCKER_MANIFEST, _DOCKER_CONFIG, _DOCKER_LAYER)

    def _shared_image(self, number: int) -> tuple[ParsedManifest, tuple[LoadedBlob, ...]]:
        return self._built(f"{self._set.name} shared {number}", OCI_MANIFEST, _OCI_CONFIG, _OCI_LAYER)

    def _built(
        self, place: str, media_type: str, config_type: str, layer_type: str
    ) -> tuple[ParsedManifest, tuple[LoadedBlob, ...]]:
        """An image of two layers that others have too and one of its own."""
        first = _hash(place) % (BASE_LAYERS - 1)
        config, own = LoadedBlob(_json({"architecture": "amd64", "of": place})), LoadedBlob(self._words(place, 1))
        layers = (self._base[first], self._base[first + 1], own)
        document = {
            "config": config.descriptor(config_type),
            "layers": [layer.descriptor(layer_type) for layer in layers],
            "annotations": {"org.opencontainers.image.source": f"https://git.example.org/{place}"},
        }
        return _manifest(document, media_type), (config, *layers)

    def _index(self, _place: str, pushed: list[ParsedManifest]) -> tuple[ParsedManifest, tuple[LoadedBlob, ...]]:
        platforms = ("amd64", "arm64")
        entries = [
            _about(child) | {"platform": {"os": "linux", "architecture": platform}}
            for child, platform in zip(pushed[-2:], platforms, strict=True)
        ]
        return _manifest({"manifests": entries}, OCI_INDEX), ()

    def _chart(self, place: str, _pushed: list[ParsedManifest]) -> tuple[ParsedManifest, tuple[LoadedBlob, ...]]:
        config, chart = LoadedBlob(_json({"name": place})), LoadedBlob(self._words(place, 2))
        document = {"config": config.descriptor(_HELM_CONFIG), "layers": [chart.descriptor(_HELM_LAYER)]}
        return _manifest(document, OCI_MANIFEST), (config, chart)

    def _signature(self, place: str, pushed: list[ParsedManifest]) -> tuple[ParsedManifest, tuple[LoadedBlob, ...]]:
        return self._accessory(place, pushed[-1], _SIGNATURE)

    def _sbom(self, place: str, pushed: list[ParsedManifest]) -> tuple[ParsedManifest, tuple[LoadedBlob, ...]]:
        return self._accessory(place, pushed[-1], _SBOM)

    def _accessory(
        self, place: str, subject: ParsedManifest, artifact_type: str
    ) -> tuple[ParsedManifest, tuple[LoadedBlob, ...]]:
        content = LoadedBlob(self._words(place, 3))
        document = {
            "artifactType": artifact_type,
            "config": self._empty.descriptor(_EMPTY),
            "layers": [content.descriptor(artifact_type)],
            "subject": _about(subject),
        }
        return _manifest(document, OCI_MANIFEST), (self._empty, content)

    def _words(self, what: str, number: int) -> bytes:
        return f"{self._set.name} {what} {number} ".encode() * 4


def _about(manifest: ParsedManifest) -> dict[str, Any]:
    return {"mediaType": manifest.media_type, "digest": str(manifest.digest), "size": len(manifest.content)}


def _manifest(document: dict[str, Any], media_type: str) -> ParsedManifest:
    return parse_manifest(_json({"schemaVersion": 2, "mediaType": media_type, **document}), content_type=media_type)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _hash(text: str) -> int:
    return sum(text.encode()) * 31 + len(text)
