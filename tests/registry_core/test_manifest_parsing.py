"""Manifests: whatever the bytes are, they are understood in one way or refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.content.errors import ManifestInvalid
from registry_core.content.parsing import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_DEPTH,
    MAX_ENTRIES,
    OCI_INDEX,
    OCI_MANIFEST,
    ParsedManifest,
    Role,
    parse_manifest,
)
from registry_core.digests import Digest

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
fields = st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests", "blobs", "subject",
                          "annotations", "artifactType"])  # fmt: skip


def descriptor(content: bytes = b"", media_type: str = LAYER, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)} | more


def image(**more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "config": descriptor(b"{}", CONFIG), "layers": [descriptor(b"layer")]} | more


def index(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "manifests": list(entries)} | more


def parse(document: object, content_type: str = OCI_MANIFEST) -> ParsedManifest:
    return parse_manifest(json.dumps(document).encode(), content_type=content_type)


def refusal(document: object, content_type: str = OCI_MANIFEST) -> str:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(content, content_type=content_type)
    return str(caught.value)


@given(st.binary(), st.text())
def test_any_bytes_are_refused_with_a_reason(content: bytes, content_type: str) -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(content, content_type=content_type)


@given(st.dictionaries(fields, json_values), st.sampled_from([OCI_MANIFEST, OCI_INDEX, "application/json"]))
def test_any_values_in_the_known_fields_are_stored_or_refused(more: dict[str, Any], content_type: str) -> None:
    content = json.dumps(image(**more), ensure_ascii=True).encode()
    try:
        manifest = parse_manifest(content, content_type=content_type)
    except ManifestInvalid:
        return
    assert manifest.content == content
    assert manifest.digest == Digest.of(content)


@given(st.dictionaries(st.text(min_size=1).map(lambda name: f"x-{name}"), json_values.filter(
    lambda value: "NaN" not in json.dumps(value) and "Infinity" not in json.dumps(value))),
    st.sampled_from([None, 1, "\t"]))  # fmt: skip
def test_unknown_fields_and_white_space_are_kept_byte_for_byte(more: dict[str, Any], indent: int | str | None) -> None:
    content = b" \n" + json.dumps(image() | more, indent=indent).encode() + b"\r\n\t"
    manifest = parse_manifest(content, content_type=OCI_MANIFEST)
    assert manifest.content == content
    assert [d.role for d in manifest.descriptors] == [Role.CONFIG, Role.LAYER]


@given(json_values)
def test_a_platform_is_one_that_the_database_takes_or_is_refused(platform: Any) -> None:
    try:
        manifest = parse(index(descriptor(b"m", OCI_MANIFEST, platform=platform)), OCI_INDEX)
    except ManifestInvalid:
        return
    assert json.dumps(manifest.descriptors[0].platform, allow_nan=False)


def test_a_number_beyond_every_float_in_a_platform_is_refused() -> None:
    content = json.dumps(index(descriptor(b"m", OCI_MANIFEST, platform={"os": 7})), allow_nan=False)
    assert "platform" in refusal(content.replace('"os": 7', '"os": 1e999').encode(), OCI_INDEX)


def test_image_has_config_and_layers_and_their_weight() -> None:
    manifest = parse(image())
    assert [(d.role, d.size_bytes) for d in manifest.descriptors] == [(Role.CONFIG, 2), (Role.LAYER, 5)]
    assert manifest.size_bytes == len(manifest.content) + 7
    assert manifest.artifact_type == CONFIG


def test_index_refers_to_manifests_and_a_build_cache_to_blobs() -> None:
    document = index(descriptor(b"m", OCI_MANIFEST), descriptor(b"l", "application/vnd.buildkit.cacheconfig.v0"))
    assert [d.role for d in parse(document, OCI_INDEX).descriptors] == [Role.MANIFEST, Role.BLOB]


def test_foreign_layers_are_told_apart() -> None:
    foreign = descriptor(b"w", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    assert [d.is_foreign for d in parse(image(layers=[foreign])).descriptors] == [False, True]


def test_subject_type_and_annotations_are_read() -> None:
    subject = descriptor(b"s", OCI_MANIFEST)
    manifest = parse(image(subject=subject, artifactType="a/b", annotations={"k": "ü\0"}))
    assert (manifest.subject, manifest.artifact_type) == (Digest.of(b"s"), "a/b")
    assert json.loads(manifest.annotations or b"") == {"k": "ü\0"}


def test_sha512_when_it_was_asked_for() -> None:
    content = json.dumps(image()).encode()
    manifest = parse_manifest(content, content_type=OCI_MANIFEST, algorithm="sha512")
    assert manifest.digest == Digest.of(content, "sha512")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not valid JSON"),
        (b"[]", "JSON object"),
        (b"\xff{}", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (json.dumps({}).encode("utf-16"), "not UTF-8"),
        (b'{"schemaVersion": 2, "schemaVersion": 2}', "twice"),
        (b'{"x": {"a": 1, "\\u0061": 2}}', "twice"),
        (b'{"x": NaN}', "not JSON"),
        (b'{"x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "opening braces and brackets"),
        (b'{"x": [' + b"0," * 100_000 + b"0]}", "commas and colons"),
        (b'{"x": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "nested deeper"),
        (b'{"x": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)  # fmt: skip
def test_documents_that_are_refused(content: bytes, reason: str) -> None:
    assert reason in refusal(content)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (image(manifests=[]), "not both"),
        (image(mediaType=OCI_INDEX), "the Content-Type says"),
        (image(mediaType=3), "mediaType is a string"),
        (image(schemaVersion=3), "schemaVersion must be 2"),
        (image(schemaVersion=1), "schema 1"),
        (image(config=None), "a config and a list of layers"),
        (image(layers={}), "a config and a list of layers"),
        (image(layers=[3]), r"layers[0] is not a descriptor"),
        (image(layers=[descriptor() | {"size": -1}]), "no valid size"),
        (image(layers=[descriptor() | {"size": True}]), "no valid size"),
        (image(layers=[descriptor() | {"size": 1.0}]), "no valid size"),
        (image(layers=[descriptor() | {"size": 1 << 63}]), "no valid size"),
        (image(layers=[descriptor() | {"mediaType": "a b/c"}]), "no valid mediaType"),
        (image(layers=[descriptor() | {"digest": "sha256:../../etc"}]), "layers[0]"),
        (image(subject={}), "subject has no valid mediaType"),
        (image(annotations={"a": 1}), "annotations are strings"),
        (image(artifactType="none"), "artifactType"),
        (image(layers=[descriptor()] * (MAX_ENTRIES + 1)), f"at most {MAX_ENTRIES}"),
        (image(layers=[descriptor()] * MAX_ENTRIES), f"at most {MAX_ENTRIES}"),
        (index(), "a config and a list of layers"),
    ],
)
def test_structures_that_are_refused(document: dict[str, Any], reason: str) -> None:
    assert reason in refusal(document)


def test_as_many_entries_as_are_allowed() -> None:
    assert len(parse(image(layers=[descriptor()] * (MAX_ENTRIES - 1))).descriptors) == MAX_ENTRIES


@pytest.mark.parametrize("content_type", ["", "text", "a/b c", "application/" + "x" * 200])
def test_a_content_type_that_is_none_is_refused(content_type: str) -> None:
    assert "Content-Type" in refusal(image(), content_type)


def test_the_content_type_may_have_parameters_and_stands_in_for_the_media_type() -> None:
    assert parse(image(), f"{OCI_MANIFEST}; charset=utf-8").media_type == OCI_MANIFEST
    assert parse(image(mediaType=DOCKER_MANIFEST), "").media_type == DOCKER_MANIFEST


def test_schema_1_is_refused_with_what_to_do() -> None:
    assert "Docker 1.10" in refusal({}, "application/vnd.docker.distribution.manifest.v1+prettyjws")


def test_an_index_without_manifests_is_refused() -> None:
    assert "list of manifests" in refusal({"schemaVersion": 2}, DOCKER_LIST)
