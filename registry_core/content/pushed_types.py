"""The media types under which a manifest may be pushed.

A manifest is served under the type that it was pushed with, by the host of the console, so a type that browsers run or
render could act on behalf of the user who opens it. Manifests are JSON of a type `application/…`; any of those is
accepted, known here or not, unless browsers interpret it.
"""

from __future__ import annotations

import re
from typing import Final

from registry_core.content.errors import ManifestInvalid

EXAMPLE: Final = "application/vnd.oci.image.manifest.v1+json"
_TYPE: Final = re.compile(r"(?i:application)/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_ACTIVE_SUFFIXES: Final = ("xml", "html", "javascript", "ecmascript")
# Documents, scripts, programs, certificates and profiles that browsers open, run or install.
_ACTIVE: Final = frozenset(
    {
        "hta", "http", "importmap+json", "java-archive", "manifest+json", "pdf", "pkcs10", "pkix-cert",
        "signed-exchange", "speculationrules+json", "vnd.adobe.flash.movie", "webbundle", "x-apple-aspen-config",
        "x-chrome-extension", "x-java-applet", "x-java-jnlp-file", "x-ms-application", "x-ms-xbap",
        "x-ns-proxy-autoconfig", "x-pdf", "x-shockwave-flash", "x-silverlight-2", "x-web-app-manifest+json",
        "x-x509-ca-cert", "x-x509-email-cert", "x-x509-user-cert", "x-xpinstall", "xml-dtd",
        "xml-external-parsed-entity", "xslt",
    }
)  # fmt: skip


def check_pushed_type(media_type: str) -> str:
    """The type, without its parameters, of a manifest that is being pushed. Raises ManifestInvalid."""
    if _TYPE.fullmatch(media_type) is None:
        raise ManifestInvalid(f"the Content-Type must be the manifest's media type, for example {EXAMPLE}")
    subtype = media_type.lower().partition("/")[2]
    if subtype in _ACTIVE or subtype.endswith(_ACTIVE_SUFFIXES):
        raise ManifestInvalid(
            f"a manifest cannot be pushed as {media_type}, which browsers open as a document or a program: "
            f"push it with its media type, for example {EXAMPLE}"
        )
    return media_type
