"""Failed sign-ins, recorded in the audit log from every way of signing in.

The client is not authenticated, so a flood of failures must not fill the outbox: see `registry_core.events.repeated`.
"""

from __future__ import annotations

from rbac.events import UserSignInFailed
from registry_core.access import ANONYMOUS, of_many
from registry_core.events.outbox import emit
from registry_core.events.repeated import Place, Repeated
from registry_core.http.callers import network_of

REFRESH_TOKEN = "a refresh token"  # noqa: S105 what stands in the place of a name


def report_failure(*, username: str, client: str) -> None:
    """Record a failed attempt from the address `client` to sign in with a name."""
    name = username.replace("\x00", "")[:255] or "-"
    _failures.note(origin=network_of(client)[:64], name=name)


def _write(place: Place, times: int) -> None:
    emit(UserSignInFailed(username=place.name, times=times), cause=of_many(ANONYMOUS, place.origin))


_failures = Repeated(_write)
