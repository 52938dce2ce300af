"""How the console writes digests, sizes, types, counts and times."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django import template
from django.utils import timezone
from django.utils.timesince import timesince

from frontend.queries import COUNT_MAX
from registry_core.content.models import Artifact
from registry_core.digests import Digest

SHORT_HEX: Final = 12
_IMAGE_CONFIGS: Final = {
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
}
_NAMES: Final = {
    "application/vnd.oci.image.manifest.v1+json": "OCI image",
    "application/vnd.oci.image.index.v1+json": "OCI index",
    "application/vnd.docker.distribution.manifest.v2+json": "Docker image",
    "application/vnd.docker.distribution.manifest.list.v2+json": "Docker manifest list",
    "application/vnd.cncf.helm.config.v1+json": "Helm chart",
}

register = template.Library()


@register.filter
def digest(raw: bytes | memoryview) -> str:
    """A stored digest as clients write it: `sha256:…`."""
    return str(Digest(bytes(raw)))


@register.filter
def short_digest(raw: bytes | memoryview) -> str:
    """The digest's first characters, enough to tell two apart by eye."""
    algorithm, _, encoded = digest(raw).partition(":")
    return f"{algorithm}:{encoded[:SHORT_HEX]}"


@register.filter
def size(size_bytes: int) -> str:
    """A size in binary units, with one decimal from KiB on."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    amount = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} PiB"


@register.filter
def kind(artifact: Artifact) -> str:
    """What an artifact is: its own type when it has one, else that of its manifest; the common ones in two words."""
    has_own_type = artifact.artifact_type and artifact.artifact_type not in _IMAGE_CONFIGS
    name = artifact.artifact_type if has_own_type else artifact.media_type
    return _NAMES.get(name, name)


@register.filter
def bounded(count: int) -> str:
    """A count that stops at `COUNT_MAX`: `1,000+` stands for more."""
    return f"{COUNT_MAX:,}+" if count > COUNT_MAX else f"{count:,}"


@register.filter
def ago(at: datetime) -> str:
    """How long ago that was, in its largest unit; `just now` within a minute."""
    if timezone.now() - at < timedelta(minutes=1):
        return "just now"
    return f"{timesince(at, depth=1)} ago"
