"""Validation of descriptors, when they are pushed and when they are shown. OCI image-spec, "Content Descriptors".

The registry can store content of any media type, so nearly every text is accepted as one. The types of the fields are
checked, though: descriptors appear in lists of referrers, and one that a client cannot parse would hide all others from
it. A null field counts as absent.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from typing import Any, Final

from registry_core.content.errors import ManifestInvalid
from registry_core.digests import Digest, DigestError

TYPE_MAX_CHARS: Final = 255
SIZE_MAX: Final = (1 << 63) - 1
FIELDS: Final = ("mediaType", "digest", "size", "artifactType", "urls", "annotations", "data", "platform")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HALF_OF_A_PAIR: Final = re.compile("[\ud800-\udfff]")
_PLATFORM_TEXTS: Final = ("architecture", "os", "os.version", "variant")
_PLATFORM_LISTS: Final = ("os.features", "features")


def check_media_type(value: object, where: str) -> str:
    """The media type: any text without control characters, even without a slash. Raises ManifestInvalid."""
    if not isinstance(value, str) or not value.strip() or _CONTROL.search(value):
        raise ManifestInvalid(f"{where} is not a media type: use text without control characters")
    if len(value) > TYPE_MAX_CHARS:
        raise ManifestInvalid(f"{where} is longer than {TYPE_MAX_CHARS} characters")
    return value


def check_descriptor(entry: object, where: str) -> dict[str, Any]:
    """The descriptor, with all fields of the correct type. Raises ManifestInvalid, which names the wrong field."""
    if not isinstance(entry, dict):
        raise ManifestInvalid(f"{where} is not a descriptor")
    check_media_type(entry.get("mediaType"), f"{where}.mediaType")
    _check_size(entry.get("size"), where)
    check_digest(entry.get("digest"), where)
    if entry.get("artifactType"):
        check_media_type(entry["artifactType"], f"{where}.artifactType")
    if len(entry) > len(("mediaType", "digest", "size")):
        _check_optional(entry, where)
    return entry


def check_digest(value: object, where: str) -> Digest:
    """The digest. Raises ManifestInvalid."""
    try:
        return Digest.parse(value if isinstance(value, str) else "")
    except DigestError as error:
        raise ManifestInvalid(f"{where}: {error}") from None


def check_annotations(value: object, where: str) -> dict[str, str]:
    """The annotations without null values. Raises ManifestInvalid if a value is not text."""
    if not value:
        return {}
    if not isinstance(value, dict) or not all(text is None or isinstance(text, str) for text in value.values()):
        raise ManifestInvalid(f"{where}annotations must map names to strings")
    return {name: text for name, text in value.items() if text is not None}


def presentable(entry: object) -> dict[str, Any] | None:
    """The descriptor with the fields of the specification, readable by every client; None if it is not a descriptor.

    For descriptors stored by any release. Other fields are left out: some clients do not distinguish `ARTIFACTTYPE`
    from `artifactType`.
    """
    try:
        checked = check_descriptor(entry, "")
    except ManifestInvalid:
        return None
    known = {name: checked[name] for name in FIELDS if checked.get(name) not in (None, "")}
    if "annotations" in known:
        known["annotations"] = check_annotations(known["annotations"], "")
    return known


def is_storable(value: object) -> bool:
    """Whether jsonb can store it: no NUL, no lone surrogate, no number beyond a float's range (such as 1e999)."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return False
    return "\\u0000" not in text and _HALF_OF_A_PAIR.search(text) is None


def _check_size(size: object, where: str) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= SIZE_MAX:
        raise ManifestInvalid(f"{where} has no valid size")


def _check_optional(entry: dict[str, Any], where: str) -> None:
    if entry.get("artifactType") is not None and not isinstance(entry["artifactType"], str):
        raise ManifestInvalid(f"{where}.artifactType is not a media type")
    check_annotations(entry.get("annotations"), f"{where}.")
    if entry.get("urls") is not None and not _is_list_of_text(entry["urls"]):
        raise ManifestInvalid(f"{where}.urls must be a list of strings")
    if entry.get("data") is not None and not _is_base64(entry["data"]):
        raise ManifestInvalid(f"{where}.data must be base64")
    if entry.get("platform") is not None:
        _check_platform(entry["platform"], where)


def _check_platform(platform: object, where: str) -> None:
    is_valid = (
        isinstance(platform, dict)
        and all(isinstance(platform.get(name, ""), str | None) for name in _PLATFORM_TEXTS)
        and all(platform.get(name) is None or _is_list_of_text(platform[name]) for name in _PLATFORM_LISTS)
        and is_storable(platform)
    )
    if not is_valid:
        raise ManifestInvalid(f"{where} has no valid platform: architecture and os are strings, os.features a list")


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_base64(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
