"""Manifests: whatever the bytes are, they are understood in one way or refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.content.descriptors import presentable
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


class Platform(msgspec.Struct, rename={"os_version": "os.version", "os_features": "os.features"}):
    """A platform as clients with types read it."""

    architecture: str | None = None
    os: str | None = None
    os_version: str | None = None
    os_features: list[str] | None = None
    variant: str | None = None
    features: list[str] | None = None


class ReadByOthers(msgspec.Struct, rename="camel"):
    """A descriptor as clients with types read it."""

    media_type: str
    digest: str
    size: int
    artifact_type: str | None = None
    annotations: dict[str, str] | None = None
    urls: list[str] | None = None
    data: bytes | None = None
    platform: Platform | None = None


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
        (image(mediaType=3), "mediaType must be a string"),
        (image(schemaVersion=3), "schemaVersion must be 2"),
        (image(schemaVersion=1), "schema 1"),
        (image(config=None), "must have a config"),
        (image(layers={}), "layers is a list"),
        (image(layers=[3]), r"layers[0] is not a descriptor"),
        (image(layers=[descriptor() | {"size": -1}]), "no valid size"),
        (image(layers=[descriptor() | {"size": True}]), "no valid size"),
        (image(layers=[descriptor() | {"size": 1.0}]), "no valid size"),
        (image(layers=[descriptor() | {"size": 1 << 63}]), "no valid size"),
        (image(layers=[descriptor() | {"mediaType": ""}]), "layers[0].mediaType is not a media type"),
        (image(layers=[descriptor() | {"mediaType": " "}]), "layers[0].mediaType"),
        (image(layers=[descriptor() | {"mediaType": None}]), "layers[0].mediaType"),
        (image(layers=[descriptor() | {"mediaType": "a/b\n"}]), "layers[0].mediaType"),
        (image(layers=[descriptor() | {"mediaType": "a/\ud800"}]), "layers[0].mediaType"),
        (image(layers=[descriptor() | {"mediaType": "a/" + "b" * 254}]), "longer than 255 characters"),
        (image(layers=[descriptor() | {"digest": "sha256:../../etc"}]), "layers[0]"),
        (image(subject={}), "subject.mediaType is not a media type"),
        (image(annotations={"a": 1}), "annotations must map"),
        (image(artifactType="a\0b"), "artifactType"),
        (image(artifactType=["a"]), "artifactType"),
        (image(artifactType=0), "artifactType"),
        (image(layers=[descriptor()] * (MAX_ENTRIES + 1)), f"at most {MAX_ENTRIES}"),
        (image(layers=[descriptor()] * MAX_ENTRIES), f"at most {MAX_ENTRIES}"),
        (index(), "must have a config"),
    ],
)
def test_structures_that_are_refused(document: dict[str, Any], reason: str) -> None:
    assert reason in refusal(document)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"artifactType": ["a"]}, "manifests[0].artifactType"),
        ({"artifactType": {"a": 1}}, "manifests[0].artifactType"),
        ({"artifactType": 5}, "manifests[0].artifactType"),
        ({"artifactType": 0}, "manifests[0].artifactType"),
        ({"artifactType": "a\0"}, "manifests[0].artifactType"),
        ({"annotations": ["a"]}, "manifests[0].annotations"),
        ({"annotations": {"a": 1}}, "manifests[0].annotations"),
        ({"annotations": "a"}, "manifests[0].annotations"),
        ({"urls": "http://a"}, "manifests[0].urls"),
        ({"urls": [1]}, "manifests[0].urls"),
        ({"data": 1}, "manifests[0].data"),
        ({"data": "not base64"}, "manifests[0].data"),
        ({"data": "YQ"}, "manifests[0].data"),
        ({"platform": []}, "manifests[0] has no valid platform"),
        ({"platform": {"architecture": 1}}, "manifests[0] has no valid platform"),
        ({"platform": {"os": False}}, "manifests[0] has no valid platform"),
        ({"platform": {"os.features": "win32k"}}, "manifests[0] has no valid platform"),
        ({"platform": {"os.features": [1]}}, "manifests[0] has no valid platform"),
    ],
)
def test_fields_of_descriptors_that_others_could_not_read_are_refused(odd: dict[str, Any], reason: str) -> None:
    assert reason in refusal(index(descriptor(b"m", OCI_MANIFEST) | odd), OCI_INDEX)
    layer = refusal(image(layers=[descriptor() | odd]))
    assert reason.replace("manifests", "layers") in layer
    assert presentable(descriptor() | odd) is None


def test_fields_of_descriptors_that_are_null_are_not_there() -> None:
    nothing = dict.fromkeys(["artifactType", "annotations", "urls", "data", "platform"])
    given = descriptor(b"m", OCI_MANIFEST, **nothing)
    assert (
        parse(index(given), OCI_INDEX).descriptors
        == parse(index(descriptor(b"m", OCI_MANIFEST)), OCI_INDEX).descriptors
    )
    assert presentable(given) == descriptor(b"m", OCI_MANIFEST)
    odd = descriptor(annotations={"a": "b", "c": None}, platform={"os": None, "os.features": None}, ARTIFACTTYPE=[1])
    assert presentable(odd) == descriptor(annotations={"a": "b"}, platform={"os": None, "os.features": None})


@pytest.mark.parametrize(
    "media_type",
    ["text/plain; charset=utf-8", "application/vnd.dev.sigstore.bundle+json;version=0.2", "wasm", "a b/c", "ü/é", "/",
     "x" * 255],
)  # fmt: skip
def test_a_media_type_that_the_registry_does_not_know_is_kept_as_it_is(media_type: str) -> None:
    manifest = parse(image(config=descriptor(b"{}", media_type), layers=[descriptor(b"", media_type)]))
    assert [d.media_type for d in manifest.descriptors] == [media_type] * 2
    assert manifest.artifact_type == media_type
    assert parse(image(artifactType=media_type, subject=descriptor(b"s", media_type))).artifact_type == media_type


@pytest.mark.parametrize("artifact_type", [None, ""])
def test_an_artifact_type_that_says_nothing_is_none(artifact_type: str | None) -> None:
    assert parse(image(artifactType=artifact_type)).artifact_type == CONFIG


def test_annotations_that_are_null_are_left_out_of_what_is_shown() -> None:
    assert json.loads(parse(image(annotations={"a": None, "b": ""})).annotations or b"") == {"b": ""}
    assert parse(image(annotations={"a": None})).annotations is None
    assert parse(image(annotations=None)).annotations is None


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_an_image_may_have_no_layers(media_type: str) -> None:
    without = {name: value for name, value in image().items() if name != "layers"}
    for document in (without, image(layers=None), image(layers=[])):
        assert [d.role for d in parse(document, media_type).descriptors] == [Role.CONFIG]


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_an_index_may_be_empty(media_type: str) -> None:
    for document in (index(), index() | {"manifests": None}):
        assert parse(document, media_type).descriptors == ()


@given(json_values)
def test_whatever_a_descriptor_has_it_is_refused_or_can_be_shown(value: Any) -> None:
    for name in ("mediaType", "digest", "size", "artifactType", "annotations", "urls", "data", "platform", "other"):
        entry = descriptor(b"m", OCI_MANIFEST) | {name: value}
        try:
            parse(index(entry), OCI_INDEX)
        except ManifestInvalid:
            continue
        shown = presentable(entry)
        assert shown is not None
        assert msgspec.convert(shown, ReadByOthers)


def test_as_many_entries_as_are_allowed() -> None:
    assert len(parse(image(layers=[descriptor()] * (MAX_ENTRIES - 1))).descriptors) == MAX_ENTRIES


@pytest.mark.parametrize("content_type", ["", "text", "a/b c", "application/" + "x" * 200, f"{OCI_MANIFEST},text/html"])
def test_a_content_type_that_is_none_is_refused(content_type: str) -> None:
    assert "Content-Type" in refusal(image(), content_type)


ACTIVE_TYPES = [
    "text/html", "TEXT/HTML", "text/html; charset=utf-8", "image/svg+xml", "image/svg+xml;x=1", "application/xhtml+xml",
    "Application/XHTML+XML", "text/xml", "application/xml", "application/rss+xml", "application/vnd.mozilla.xul+xml",
    "text/javascript", "application/javascript", "application/x-javascript", "application/ecmascript", "text/css",
    "application/pdf", "application/x-shockwave-flash", "application/signed-exchange;v=b3", "application/hta",
    "application/x-xpinstall", "application/x-x509-ca-cert", "multipart/x-mixed-replace", "message/rfc822",
    "text/plain", "image/png", "video/mp4", "font/woff2", "model/vrml", "x-world/x-vrml", "*/*", "application/*",
]  # fmt: skip


@pytest.mark.parametrize("media_type", ACTIVE_TYPES)
def test_a_type_that_browsers_do_something_about_is_refused_at_the_push(media_type: str) -> None:
    """As the Content-Type, and as the manifest's own mediaType where there is no other."""
    assert "for example application/vnd.oci.image.manifest.v1+json" in refusal(image(), media_type)
    assert "for example application/vnd.oci.image.manifest.v1+json" in refusal(image(mediaType=media_type), "")


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "application/octet-stream", "application/vnd.example", "application/vnd.example.thing.v1+json",
     "application/vnd.in-toto+json", "application/vnd.acme.rocket.xmlish+json", "Application/Vnd.Example"],
)  # fmt: skip
def test_an_unknown_type_is_welcome(media_type: str) -> None:
    assert parse(image(), media_type).media_type == media_type


def test_a_manifest_may_state_its_type_with_parameters() -> None:
    stated = "application/vnd.example+json;version=2"
    assert parse(image(mediaType=stated), stated).media_type == "application/vnd.example+json"


def test_the_content_type_may_have_parameters_and_stands_in_for_the_media_type() -> None:
    assert parse(image(), f"{OCI_MANIFEST}; charset=utf-8").media_type == OCI_MANIFEST
    assert parse(image(mediaType=DOCKER_MANIFEST), "").media_type == DOCKER_MANIFEST


def test_schema_1_is_refused_with_what_to_do() -> None:
    assert "Docker 1.10" in refusal({}, "application/vnd.docker.distribution.manifest.v1+prettyjws")


def test_an_index_without_manifests_is_refused() -> None:
    assert "list of manifests" in refusal({"schemaVersion": 2}, DOCKER_LIST)
