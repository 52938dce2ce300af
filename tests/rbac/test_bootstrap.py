"""The first administrator: never a known password, never twice."""

from __future__ import annotations

import stat

import pytest
from pydantic import SecretStr

from rbac import bootstrap
from rbac.bootstrap import ensure_admin
from rbac.models import User
from rbac.services.users import set_password
from registry_core.access import authority
from registry_core.config import get_config
from tests.support.operations import on_behalf_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def without_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    User.objects.all().delete()
    (get_config().secrets_dir / "admin.password").unlink(missing_ok=True)
    configure(monkeypatch, None)


def configure(monkeypatch: pytest.MonkeyPatch, password: str | None) -> None:
    config = get_config().model_copy(update={"admin_password": SecretStr(password) if password else None})
    monkeypatch.setattr(bootstrap, "get_config", lambda: config)


def test_random_password_lies_in_a_private_file_until_it_is_changed() -> None:
    password = ensure_admin()
    path = get_config().secrets_dir / "admin.password"
    assert password == path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    subject = authority().authenticate(username="admin", secret=password or "", client="192.0.2.1")
    admin = User.objects.get(pk=subject.id)
    assert admin.is_sysadmin
    set_password(user=admin, password="Another1Password", cause=on_behalf_of(subject))
    assert not path.exists()


def test_second_start_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_admin()
    configure(monkeypatch, "Other1Password")
    assert ensure_admin() is None


def test_configured_password_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, "Configured1Password")
    assert ensure_admin() == "Configured1Password"
    assert not (get_config().secrets_dir / "admin.password").exists()
