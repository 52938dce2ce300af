"""`/system/CVEAllowlist`: the vulnerabilities that are allowed in all projects without a list of their own."""

from __future__ import annotations

from typing import Final

from rest_framework.request import Request
from rest_framework.response import Response

from projects.api.project_messages import CVEAllowlist, CVEAllowlistRequest, allowlist_answer
from projects.system_allowlist import set_system_allowlist, system_allowlist
from registry_core.api.base import ApiView, done
from registry_core.api.messages import NEVER, api_time, parse_body
from registry_core.api.openapi import operation
from registry_core.api.permissions import SIGNED_IN, SYSADMIN

TAG: Final = "SystemCVEAllowlist"


class SystemAllowlistView(ApiView):
    """`/system/CVEAllowlist`."""

    access = {"GET": SIGNED_IN, "PUT": SYSADMIN}

    @operation("getSystemCVEAllowlist", TAG, answer=CVEAllowlist, errors=(401,))
    def get(self, _request: Request) -> Response:
        """Show the allowlist of the system."""
        stored = system_allowlist()
        changed = api_time(stored.updated_at) if stored else NEVER
        kept = stored.value if stored else None
        return Response(allowlist_answer(kept, project_id=0, made=changed, changed=changed))

    @operation("putSystemCVEAllowlist", TAG, body=CVEAllowlistRequest, errors=(400, 401, 403))
    def put(self, request: Request) -> Response:
        """Replace the allowlist of the system."""
        set_system_allowlist(allowlist=parse_body(request, CVEAllowlistRequest).kept(), cause=self.cause)
        return done()
