"""One project: its repositories."""

from django.http import HttpRequest, HttpResponse

from frontend.queries import repositories_page, visible_project
from frontend.views.shared import listing_of, page, render_list, subject_of


@page
def repository_list(request: HttpRequest, project: str) -> HttpResponse:
    """The repositories of a project. 404 also when it is private and the user may not see it."""
    listing = listing_of(request)
    shown = visible_project(subject_of(request), project)
    return render_list(
        request,
        "projects/repositories",
        {"project": shown, "listing": listing, "page": repositories_page(shown, listing)},
    )
