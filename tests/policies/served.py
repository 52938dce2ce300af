"""A policy and a provider in a server under test. What the policy refuses, and what it was asked, are files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from registry_core.access import Cause
from registry_core.content.errors import Refused
from registry_core.content.manifests import put_manifest
from registry_core.content.parsing import OCI_MANIFEST, parse_manifest
from registry_core.content.policies import Missing, Policies, Policy, Provider
from registry_core.content.policy_contexts import Context, Moment, PullContext
from registry_core.content.repositories import ensure_repository, nothing_to_ask
from registry_core.content.uploads import claim_upload, start_upload
from registry_core.digests import Digest
from registry_core.http import threads

REFUSAL: Final = "the policy of this test does not allow it"
GENERATION: Final = "policy:served"
REFUSED: Final = "refused"
ASKED: Final = "asked"
SUPPLIED: Final = "supplied"
BLOB: Final = b'{"architecture":"amd64","os":"linux"}'
MANIFEST: Final = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": str(Digest.of(BLOB)),
            "size": len(BLOB),
        },
        "layers": [],
    }
).encode()


def register(policies: Policies) -> None:
    """What the entry point names."""
    folder = Path(os.environ["TEST_POLICY_FOLDER"])
    policies.register(Served(folder))
    policies.register_provider(Supplier(folder))


class Served(Policy):
    """Refuses the moments whose names are in the file REFUSED, and writes each context to the file ASKED."""

    name = "served"
    moments = frozenset(Moment)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def depends_on(self, context: PullContext) -> tuple[str, ...]:
        return (*super().depends_on(context), GENERATION)

    def check(self, context: Context) -> None:
        line = json.dumps({"moment": context.moment, "project": context.project.name, **_plain(context)})
        with (self._folder / ASKED).open("a") as asked:
            asked.write(line + "\n")
        if context.moment in (self._folder / REFUSED).read_text().split():
            raise Refused(REFUSAL)


class Supplier(Provider):
    """Has one manifest, under the tag `latest`, and its blob."""

    name = "supplier"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def supply(self, missing: Missing) -> bool:
        wanted = {"latest", Digest.of(MANIFEST)} if missing.kind == "manifest" else {Digest.of(BLOB)}
        return missing.reference in wanted and await threads.run(self._store, missing)

    def _store(self, missing: Missing) -> bool:
        with (self._folder / SUPPLIED).open("a") as supplied:
            supplied.write(f"{missing.kind} {missing.name} {missing.reference} {missing.cause.subject.name}\n")
        cause = missing.cause.because("proxy")
        repository = missing.repository or ensure_repository(
            project=missing.project, name=missing.name, cause=cause, ask_for_content=nothing_to_ask
        )
        token = start_upload(repository=repository, cause=cause, digest=Digest.of(BLOB), size_bytes=len(BLOB)).token
        session = claim_upload(repository=repository, by=cause.subject, token=token)
        session.write(BLOB)
        session.commit(Digest.of(BLOB))
        if missing.kind == "manifest":
            manifest = parse_manifest(MANIFEST, content_type=OCI_MANIFEST)
            put_manifest(repository=repository, manifest=manifest, tags=["latest"], cause=cause)
        return True


def _plain(value: Any) -> Any:
    """What JSON can say of a context."""
    if isinstance(value, Cause):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)} | {
            "subject": value.subject.name
        }
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, int | str) else str(value)
