"""Refresh tokens: long-lived logins of single clients, independent of the browser session."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from rbac.events import RefreshTokenCreated, RefreshTokenRevoked
from rbac.models import RefreshToken, User
from rbac.services.failures import REFRESH_TOKEN, report_failure
from rbac.services.secret_hashes import generate_secret, hash_generated
from registry_core.access import Authority, Cause, Subject, SubjectKind, Unauthenticated
from registry_core.errors import NotFound
from registry_core.events.outbox import emit

LIFE: Final = timedelta(days=90)


def issue(*, authority: Authority, device: str, cause: Cause) -> str:
    """A new refresh token for the subject of `cause`, which has just authenticated: for 90 days, or until the password
    changes."""
    token, subject = generate_secret(), cause.subject
    device, client = device.replace("\x00", "")[:255], cause.client[:64]
    with transaction.atomic():
        RefreshToken.objects.create(
            subject_kind=int(subject.kind),
            subject_id=subject.id,
            hash=hash_generated(token),
            credential_version=authority.credential_version(subject),
            device=device,
            client=client,
            expires_at=timezone.now() + LIFE,
        )
        emit(RefreshTokenCreated(name=device or "a client", days=LIFE.days), cause=cause)
    return token


def redeem(*, authority: Authority, token: str, client: str) -> Subject:
    """The subject of a valid refresh token, presented from the address `client`. Raises Unauthenticated."""
    row = RefreshToken.objects.filter(hash=hash_generated(token), revoked_at=None, expires_at__gt=Now()).first()
    subject = authority.subject(kind=SubjectKind(row.subject_kind), id=row.subject_id) if row else None
    if row is None or subject is None or authority.credential_version(subject) != row.credential_version:
        report_failure(username=REFRESH_TOKEN, client=client)
        raise Unauthenticated("the refresh token has expired or was revoked: log in again")
    RefreshToken.objects.filter(pk=row.pk).update(last_used_at=Now())
    return subject


def living(user: User) -> QuerySet[RefreshToken]:
    """The valid refresh tokens of a user."""
    return RefreshToken.objects.filter(
        subject_kind=SubjectKind.USER,
        subject_id=user.pk,
        credential_version=user.credential_version,
        revoked_at=None,
        expires_at__gt=Now(),
    )


@transaction.atomic
def revoke(*, user: User, token: RefreshToken, cause: Cause) -> None:
    """Revoke one refresh token of a user; bearer tokens that it fetched stay valid until they expire.

    Raises NotFound if it is already revoked.
    """
    if not living(user).filter(pk=token.pk).update(revoked_at=Now()):
        raise NotFound("this refresh token does not exist any more")
    _emit_revoked(user, token.device or "a client", cause)


@transaction.atomic
def revoke_all(*, user: User, cause: Cause) -> None:
    """Revoke all refresh tokens of a user."""
    ended = living(user).update(revoked_at=Now())
    if ended:
        _emit_revoked(user, f"all {ended}", cause)


def _emit_revoked(user: User, what: str, cause: Cause) -> None:
    emit(RefreshTokenRevoked(name=what, user=user.username), cause=cause)
