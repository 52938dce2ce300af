"""Who asks: a client for each kind of caller, with credentials that the registry really checks."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from projects.services import create_project
from rbac.models import Role, User
from rbac.services.members import add_member
from rbac.services.users import create_user
from registry_core.api import authentication
from registry_core.content.models import Project
from registry_core.content.repositories import RepositoryRef
from tests.api.content import repository_of
from tests.support.operations import BY_SYSTEM

PASSWORD = "Portolan-1"
ROOT = "/api/v2.0"


@dataclass(frozen=True)
class Api:
    """The API as one caller sees it. Paths are below `/api/v2.0`; bodies are JSON."""

    client: Client
    headers: dict[str, str]

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(ROOT + path, headers=self.headers | headers)

    def head(self, path: str, **headers: str) -> Any:
        return self.client.head(ROOT + path, headers=self.headers | headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self._send("POST", path, body, headers)

    def put(self, path: str, body: Any = None, **headers: str) -> Any:
        return self._send("PUT", path, body, headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Any:
        return self._send("PATCH", path, body, headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self.client.delete(ROOT + path, headers=self.headers | headers)

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        send = getattr(self.client, method.lower())
        return send(ROOT + path, data=body, content_type="application/json", headers=self.headers | headers)


def api_as(name: str, secret: str) -> Api:
    """The API for whoever has these Basic credentials."""
    encoded = base64.b64encode(f"{name}:{secret}".encode()).decode()
    return Api(Client(), {"Authorization": f"Basic {encoded}"})


@pytest.fixture
def checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that were right are not checked again, for tests of hundreds of requests by the same few callers.

    Nothing is cached of what a transaction has not committed, and a test is one: else each request would sign in anew.
    """
    monkeypatch.setattr(authentication, "_checked", functools.cache(authentication._checked))


@pytest.fixture
def anonymous(db: None) -> Api:
    return Api(Client(), {})


@pytest.fixture
def make_user(db: None) -> Callable[..., User]:
    """Make a user with `PASSWORD`."""

    def make(name: str, **values: Any) -> User:
        return create_user(username=name, password=PASSWORD, email=f"{name}@example.org", cause=BY_SYSTEM, **values)

    return make


@pytest.fixture
def sysadmin(make_user: Callable[..., User]) -> Api:
    make_user("root-admin", is_sysadmin=True)
    return api_as("root-admin", PASSWORD)


@pytest.fixture
def user(make_user: Callable[..., User]) -> Api:
    """Somebody who is a member of nothing."""
    make_user("somebody")
    return api_as("somebody", PASSWORD)


@pytest.fixture
def member(make_user: Callable[..., User]) -> Callable[[Project, Role], Api]:
    """Make a user with a role in a project."""

    def make(project: Project, role: Role) -> Api:
        name = f"{role.label.lower()}-of-{project.name}"
        add_member(project=project, role=role, cause=BY_SYSTEM, user=make_user(name))
        return api_as(name, PASSWORD)

    return make


@pytest.fixture
def project(db: None) -> Project:
    """A private project."""
    return create_project(name="fleet", is_public=False, cause=BY_SYSTEM)


@pytest.fixture
def repository(project: Project) -> RepositoryRef:
    """A repository of the project."""
    return repository_of(project, "app")
