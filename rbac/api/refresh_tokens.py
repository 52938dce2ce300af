"""`/users/{user_id}/refresh_tokens`: list and revoke the long-lived logins of a user's clients."""

from __future__ import annotations

from typing import Final

from rest_framework.request import Request
from rest_framework.response import Response

from rbac.api.users import OWN_OR_SYSADMIN, TAG, OneUserView
from rbac.models import RefreshToken
from rbac.services import refresh_tokens
from registry_core.api.base import done
from registry_core.api.messages import Answer, Time, api_time
from registry_core.api.openapi import CURSOR, PAGE, PAGE_SIZE, operation
from registry_core.api.paging import ListRules, listed
from registry_core.errors import NotFound

RULES: Final = ListRules(order=("-pk",))


class RefreshTokenAnswer(Answer, kw_only=True):
    """A long-lived login: the client, the address that it came from, and its expiry; not the token itself."""

    id: int
    device: str
    client: str
    creation_time: Time
    last_used_time: Time | None = None
    expires_time: Time


class RefreshTokensView(OneUserView):
    """`/users/{user_id}/refresh_tokens`."""

    access = {"GET": OWN_OR_SYSADMIN, "DELETE": OWN_OR_SYSADMIN}

    @operation("listRefreshTokens", TAG, parameters=[PAGE, PAGE_SIZE, CURSOR], answer=list[RefreshTokenAnswer])
    def get(self, request: Request, user_id: int) -> Response:
        """List the valid logins, newest first."""
        rows = refresh_tokens.living(self.user)
        return listed(request, rows, RULES, lambda found: [_answer(token) for token in found])

    @operation("deleteRefreshTokens", TAG)
    def delete(self, _request: Request, user_id: int) -> Response:
        """Revoke all of them. Bearer tokens that they fetched stay valid until they expire; sessions are not
        affected."""
        refresh_tokens.revoke_all(user=self.user, cause=self.cause)
        return done()


class RefreshTokenView(OneUserView):
    """`/users/{user_id}/refresh_tokens/{token_id}`."""

    access = {"DELETE": OWN_OR_SYSADMIN}

    @operation("deleteRefreshToken", TAG)
    def delete(self, _request: Request, user_id: int, token_id: int) -> Response:
        """Revoke one of them."""
        user = self.user
        token = refresh_tokens.living(user).filter(pk=token_id).first() if token_id < 1 << 63 else None
        if token is None:
            raise NotFound(f"this user has no refresh token {token_id}")
        refresh_tokens.revoke(user=user, token=token, cause=self.cause)
        return done()


def _answer(token: RefreshToken) -> RefreshTokenAnswer:
    return RefreshTokenAnswer(
        id=token.pk,
        device=token.device,
        client=token.client,
        creation_time=api_time(token.created_at),
        last_used_time=api_time(token.last_used_at) if token.last_used_at else None,
        expires_time=api_time(token.expires_at),
    )
