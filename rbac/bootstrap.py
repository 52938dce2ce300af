"""The first start: somebody must be able to sign in, and nobody by a known password."""

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
    """Create the first administrator; returns the password, or None when there is one already.

    Without a configured password a random one is written to DATA/secrets/admin.password (0600) before the user is made,
    so that it cannot be lost. Raises InvalidInput when the configured one is too weak.
    """
    if User.objects.filter(username=FIRST_ADMIN).exists() or User.objects.filter(is_sysadmin=True).exists():
        return None  # also where `admin` was deleted: nobody shall come back by the password of the first start
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
        return None  # another process was first
    return password


def _random_password() -> str:
    path = get_config().secrets_dir / "admin.password"
    return read_or_create_secret(path, make=lambda: f"Aa1-{secrets.token_urlsafe(_RANDOM_BYTES)}")
