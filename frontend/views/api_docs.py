"""The page that shows the REST API to people: what `/api/v2.0/openapi.json` says, made readable in the browser."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """Every operation with its parameters, body and answers. The schema is public, and so is the page."""
    return render(request, "frontend/api_docs.html")
