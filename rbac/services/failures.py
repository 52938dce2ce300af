"""Failed sign-ins, told to the audit log by whichever way they came.

Nobody is signed in yet when one fails, so a flood of them must not fill the outbox: `registry_core.events.repeated`.
"""

from __future__ import annotations

from rbac.events import UserSignInFailed
from registry_core.access import ANONYMOUS, of_many
from registry_core.events.outbox import emit
from registry_core.events.repeated import Place, Repeated
from registry_core.http.callers import network_of

REFRESH_TOKEN = "a refresh token"  # noqa: S105 what stands in the place of a name


def tell_failure(*, username: str, client: str) -> None:
    """Tell that somebody at the address `client` tried to sign in under a name and did not succeed."""
    name = username.replace("\x00", "")[:255] or "-"
    _failures.note(origin=network_of(client)[:64], name=name)


def _write(place: Place, times: int) -> None:
    emit(UserSignInFailed(username=place.name, times=times), cause=of_many(ANONYMOUS, place.origin))


_failures = Repeated(_write)
