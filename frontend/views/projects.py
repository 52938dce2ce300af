"""The list of projects."""

from django.http import HttpRequest, HttpResponse

from frontend.queries import projects_page
from frontend.views.shared import listing_of, page, render_list, subject_of


@page
def project_list(request: HttpRequest) -> HttpResponse:
    """The projects that the signed-in user may pull from."""
    listing = listing_of(request)
    return render_list(
        request,
        "projects/projects",
        {"listing": listing, "page": projects_page(subject_of(request), listing)},
    )
