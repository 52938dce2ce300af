"""People, projects and content for the console's tests, made by the application's own operations where there is one."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone

from projects.services import create_project
from rbac.models import Role, User
from rbac.services.members import add_member
from rbac.services.users import create_user
from registry_core.content.models import Artifact, Manifest, Project, Repository, Tag
from registry_core.digests import Digest
from tests.support.operations import BY_SYSTEM

PASSWORD = "Chart-of-1436"
IMAGE = "application/vnd.oci.image.manifest.v1+json"

_addresses = itertools.count(1)


@pytest.fixture
def address() -> str:
    """A client address that no other test has: what is throttled here is throttled nowhere else."""
    number = next(_addresses)
    return f"192.0.{number // 250}.{number % 250 + 1}"


@pytest.fixture
def browser(address: str) -> Client:
    """A client that checks CSRF tokens, as a browser meets it, and gets the 500 page instead of the exception."""
    return Client(enforce_csrf_checks=True, raise_request_exception=False, REMOTE_ADDR=address)


@pytest.fixture
def ada(db: None) -> User:
    """A user without any membership."""
    return create_user(username="ada", password=PASSWORD, cause=BY_SYSTEM)


@pytest.fixture
def console(ada: User, client: Client) -> Client:
    """A client on which ada is signed in."""
    client.force_login(ada, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def project(ada: User) -> Project:
    """A private project of which ada is a developer."""
    made = create_project(name="fleet", is_public=False, cause=BY_SYSTEM)
    add_member(project=made, role=Role.DEVELOPER, cause=BY_SYSTEM, user=ada)
    return made


@pytest.fixture
def tagged(project: Project) -> Callable[..., Tag]:
    """Put a tag into the project: `tagged("app", "1.0")`."""

    def put(repository_name: str, tag: str, *, size_bytes: int = 3_500_000, media_type: str = IMAGE) -> Tag:
        repository, _ = Repository.objects.get_or_create(project=project, name=repository_name, deleted_at=None)
        content = f"{repository_name}:{tag}".encode()
        digest = Digest.of(content).raw
        artifact = Artifact.objects.create(
            repository=repository,
            manifest=Manifest.objects.create(digest=digest, content=content),
            digest=digest,
            media_type=media_type,
            size_bytes=size_bytes,
        )
        at = timezone.now() - datetime.timedelta(hours=3, minutes=5)
        return Tag.objects.create(repository=repository, artifact=artifact, name=tag, pushed_at=at)

    return put
