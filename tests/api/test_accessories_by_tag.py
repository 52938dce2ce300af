"""Which artifacts a tag of cosign's scheme makes accessories, which no list shows: none that is more than that."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.db import connection

from registry_core.content.models import Artifact
from registry_core.content.parsing import OCI_INDEX
from registry_core.content.repositories import RepositoryRef
from registry_core.content.tags import create_tag
from tests.api.conftest import Api
from tests.api.content import put, put_document
from tests.support.operations import BY_SYSTEM

BASE = "/projects/fleet/repositories/app/artifacts"
MIGRATION: Any = import_module("registry_core.content.migrations.0010_accessories_by_tag")


def listed(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    return {artifact["digest"]: artifact for artifact in answer.json()}


@pytest.mark.parametrize("tags", [(), ("v1",)])
def test_no_artifact_is_an_accessory_of_itself(sysadmin: Api, repository: RepositoryRef, tags: tuple[str, ...]) -> None:
    document = {"schemaVersion": 2, "manifests": []}
    digest = put_document(repository, document, media_type=OCI_INDEX)
    Artifact.objects.filter(digest=digest.raw).delete()
    put_document(repository, document, f"{str(digest).replace(':', '-')}.sig", *tags, media_type=OCI_INDEX)
    artifact = listed(sysadmin.get(f"{BASE}?with_accessory=true"))[str(digest)]
    assert artifact["accessories"] is None
    assert sysadmin.delete(f"{BASE}/{digest}").status_code == 200


def test_what_a_migration_took_for_accessories_is_listed_again(sysadmin: Api, repository: RepositoryRef) -> None:
    subject = put(repository, "v0")
    signature_tag = f"{str(subject).replace(':', '-')}.sig"
    signature, about_itself, tagged = put(repository, signature_tag), put(repository), put(repository, "v1")
    create_tag(repository=repository, tag=f"{str(subject).replace(':', '-')}.att", digest=tagged, cause=BY_SYSTEM)
    for digest, about in ((about_itself, about_itself), (tagged, subject)):
        Artifact.objects.filter(digest=digest.raw).update(accessory_of=about.raw, accessory_kind=5)
    assert set(listed(sysadmin.get(BASE))) == {str(subject)}
    with connection.cursor() as cursor:
        cursor.execute(MIGRATION.LISTED_AGAIN)
    assert set(listed(sysadmin.get(f"{BASE}?page=1"))) == {str(digest) for digest in (subject, about_itself, tagged)}
    assert Artifact.objects.get(digest=signature.raw).accessory_of == subject.raw
