"""Refresh tokens: long-lived logins of single clients, independent of the browser session."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models.functions import Now
from django.utils import timezone

from rbac.models import RefreshToken
from rbac.services.secret_hashes import generate_secret, hash_generated
from registry_core.access import Authority, Subject, SubjectKind, Unauthenticated

LIFE: Final = timedelta(days=90)


def issue(*, authority: Authority, subject: Subject, device: str, client: str) -> str:
    """A new refresh token for a subject that has just authenticated: for 90 days, or until the password changes."""
    token = generate_secret()
    RefreshToken.objects.create(
        subject_kind=int(subject.kind),
        subject_id=subject.id,
        hash=hash_generated(token),
        credential_version=authority.credential_version(subject),
        device=device.replace("\x00", "")[:255],
        client=client[:64],
        expires_at=timezone.now() + LIFE,
    )
    return token


def redeem(*, authority: Authority, token: str) -> Subject:
    """The subject of a living refresh token. Raises Unauthenticated."""
    row = RefreshToken.objects.filter(hash=hash_generated(token), revoked_at=None, expires_at__gt=Now()).first()
    if row is None:
        raise _refused()
    subject = authority.subject(kind=SubjectKind(row.subject_kind), id=row.subject_id)
    if subject is None or authority.credential_version(subject) != row.credential_version:
        raise _refused()
    RefreshToken.objects.filter(pk=row.pk).update(last_used_at=Now())
    return subject


def revoke(*, token: RefreshToken) -> None:
    """End one login; bearer tokens that it fetched live on until they expire."""
    RefreshToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=Now())


def _refused() -> Unauthenticated:
    return Unauthenticated("the refresh token is expired or revoked: log in again")
