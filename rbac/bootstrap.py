"""The first start: creates the administrator, with a password that nobody can know in advance."""

from __future__ import annotations

import secrets
from typing import Final

from rbac.models import User
from rbac.services.users import FIRST_ADMIN, create_user
from registry_core.access import of_system
from registry_core.config import get_config
from registry_core.errors import AlreadyExists
from registry_core.machine.secretfiles import read_or_create_secret

_RANDOM_BYTES: Final = 18


def ensure_admin() -> str | None:
    """Create the first administrator. Returns the password, or None if an administrator exists.

    Without a configured password a random one is written to DATA/secrets/admin.password (0600) before the user is
    created, so that it cannot be lost. Raises InvalidInput if the configured password is too weak.
    """
    if User.objects.filter(username=FIRST_ADMIN).exists() or User.objects.filter(is_sysadmin=True).exists():
        return None  # also if `admin` was deleted: the first password must not restore access
    configured = get_config().admin_password
    password = configured.get_secret_value() if configured else _random_password()
    try:
        create_user(
            username=FIRST_ADMIN,
            password=password,
            realname="system admin",
            is_sysadmin=True,
            cause=of_system("first-start"),
        )
    except AlreadyExists:
        return None  # another process created it first
    return password


def _random_password() -> str:
    path = get_config().secrets_dir / "admin.password"
    return read_or_create_secret(path, make=lambda: f"Aa1-{secrets.token_urlsafe(_RANDOM_BYTES)}")
